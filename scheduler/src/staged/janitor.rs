//! Cleans up after jobs: cancels what still runs and removes shuffle files, whichever way a job ended.

use std::sync::Arc;
use std::time::Duration;

use polarway_common::Error;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::ballista::Ballista;
use crate::peers::{PeerAddress, Peers};

/// Jobs waiting to be cleaned up.
const WAITING: usize = 8192;

/// A task that was cancelled may write for a moment longer; its files are removed again after this.
const SECOND_SWEEP: Duration = Duration::from_secs(2);

/// How often jobs are looked for that nobody waits for.
const ORPHAN_ROUND: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Errand {
    job_id: String,
    finished: bool,
    after: Duration,
}

/// Takes errands from anywhere, also from `Drop`.
#[derive(Debug, Clone)]
pub struct Janitor {
    errands: mpsc::Sender<Errand>,
}

/// A job's files; dropped, it sends for the janitor.
#[derive(Debug)]
pub struct JobGuard {
    janitor: Janitor,
    job_id: String,
    finished: bool,
    linger: Duration,
}

impl JobGuard {
    pub fn new(janitor: Janitor, job_id: String) -> Self {
        Self { janitor, job_id, finished: false, linger: Duration::ZERO }
    }

    /// The job has ended by itself: nothing is left to cancel.
    pub fn finished(&mut self) {
        self.finished = true;
    }

    /// Keeps the files for clients that read them from the executors.
    pub fn linger(&mut self, time: Duration) {
        self.linger = time;
    }
}

impl Drop for JobGuard {
    fn drop(&mut self) {
        let errand =
            Errand { job_id: std::mem::take(&mut self.job_id), finished: self.finished, after: self.linger };
        if let Err(error) = self.janitor.errands.try_send(errand) {
            tracing::error!(%error, "a job could not be cleaned up");
        }
    }
}

impl Janitor {
    /// A janitor and its work, which the caller spawns.
    pub fn new(
        ballista: Ballista,
        peers: Arc<Peers>,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = Result<(), Error>>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self { errands: sender }, work(ballista, peers, receiver, stop))
    }
}

async fn work(
    ballista: Ballista,
    peers: Arc<Peers>,
    mut errands: mpsc::Receiver<Errand>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let mut sweeps = JoinSet::new();
    let mut suspects: Vec<String> = vec![];
    let mut rounds = tokio::time::interval(ORPHAN_ROUND);
    loop {
        tokio::select! {
            errand = errands.recv() => match errand {
                Some(errand) => {
                    sweeps.spawn(run_errand(ballista.clone(), Arc::clone(&peers), errand, stop.clone()));
                }
                None => break,
            },
            Some(_) = sweeps.join_next() => {}
            _ = rounds.tick() => {
                // Seen twice, so that a job between its listener and its graph is left alone.
                let orphans = ballista.orphans();
                for job_id in orphans.iter().filter(|job| suspects.contains(job)) {
                    tracing::warn!(job = job_id, "a job that nobody waits for is cancelled");
                    let errand = Errand { job_id: job_id.clone(), finished: false, after: Duration::ZERO };
                    sweeps.spawn(run_errand(ballista.clone(), Arc::clone(&peers), errand, stop.clone()));
                }
                suspects = orphans;
            }
            () = stop.cancelled() => break,
        }
    }
    while let Ok(errand) = errands.try_recv() {
        sweeps.spawn(run_errand(ballista.clone(), Arc::clone(&peers), errand, stop.clone()));
    }
    while sweeps.join_next().await.is_some() {}
    Ok(())
}

async fn run_errand(ballista: Ballista, peers: Arc<Peers>, errand: Errand, stop: CancellationToken) {
    if !errand.finished {
        ballista.cancel(&errand.job_id).await;
    }
    pause(errand.after, &stop).await;
    sweep(&ballista, &peers, &errand.job_id).await;
    if !errand.finished {
        pause(SECOND_SWEEP, &stop).await;
        sweep(&ballista, &peers, &errand.job_id).await;
    }
}

/// Waits, but not longer than this process lives.
async fn pause(time: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = stop.cancelled() => {}
    }
}

async fn sweep(ballista: &Ballista, peers: &Peers, job_id: &str) {
    let registered = ballista.registered().await;
    let removals = registered.iter().map(|address: &PeerAddress| peers.remove_job(address, job_id));
    futures::future::join_all(removals).await;
}
