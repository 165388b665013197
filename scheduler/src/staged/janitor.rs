//! Cleans up after jobs: cancels what still runs and removes shuffle files and their copies, whichever way a job ended. An
//! executor that cannot be reached is sent its removals when it is there again.

mod owed;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use polarway_common::Error;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::owed::{Jobs, Owed};
use super::ballista::Ballista;
use super::stored::{Claim, StoredRuns};
use crate::peers::{PeerAddress, Peers};

/// Jobs waiting to be cleaned up.
const WAITING: usize = 8192;

/// A task that was cancelled may write for a moment longer; its files are removed again after this.
const SECOND_SWEEP: Duration = Duration::from_secs(2);

/// How often jobs are looked for that nobody waits for, and executors that missed something. Shorter than the silence
/// after which an executor is removed: none comes and goes unseen.
const ROUND: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum Errand {
    Job(EndedJob),
    Run(EndedRun),
}

#[derive(Debug)]
struct EndedJob {
    job_id: String,
    finished: bool,
    after: Duration,
    /// The run goes on at least as long as the job's files are there.
    run: Option<Arc<RunGuard>>,
}

#[derive(Debug)]
struct EndedRun {
    claim: Arc<Mutex<Claim>>,
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
    run: Option<Arc<RunGuard>>,
}

/// The copies of the output of a run; when it and all its jobs' guards are gone, they go too.
#[derive(Debug)]
pub struct RunGuard {
    janitor: Janitor,
    ended: Option<EndedRun>,
}

impl RunGuard {
    /// The claim may change as long as the guard is there.
    pub fn new(janitor: Janitor, claim: Arc<Mutex<Claim>>) -> Self {
        Self { janitor, ended: Some(EndedRun { claim }) }
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            self.janitor.send(Errand::Run(ended));
        }
    }
}

impl JobGuard {
    pub fn new(janitor: Janitor, job_id: String, run: Option<Arc<RunGuard>>) -> Self {
        Self { janitor, job_id, finished: false, linger: Duration::ZERO, run }
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
        self.janitor.send(Errand::Job(EndedJob {
            job_id: std::mem::take(&mut self.job_id),
            finished: self.finished,
            after: self.linger,
            run: self.run.take(),
        }));
    }
}

impl Janitor {
    /// A janitor and its work, which the caller spawns.
    pub fn new(
        ballista: Ballista,
        peers: Arc<Peers>,
        stored: Option<Arc<StoredRuns>>,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = Result<(), Error>>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let cleaner = Cleaner { ballista, peers, stored, owed: Arc::default(), stop };
        (Self { errands: sender }, work(cleaner, receiver))
    }

    fn send(&self, errand: Errand) {
        if let Err(error) = self.errands.try_send(errand) {
            tracing::error!(%error, "a job could not be cleaned up");
        }
    }
}

/// What errands are run with.
#[derive(Clone)]
struct Cleaner {
    ballista: Ballista,
    peers: Arc<Peers>,
    stored: Option<Arc<StoredRuns>>,
    owed: Arc<Mutex<Owed>>,
    stop: CancellationToken,
}

async fn work(cleaner: Cleaner, mut errands: mpsc::Receiver<Errand>) -> Result<(), Error> {
    let mut sweeps = JoinSet::new();
    let mut suspects: Vec<String> = vec![];
    let mut rounds = tokio::time::interval(ROUND);
    loop {
        tokio::select! {
            errand = errands.recv() => match errand {
                Some(errand) => {
                    sweeps.spawn(cleaner.clone().run(errand));
                }
                None => break,
            },
            Some(_) = sweeps.join_next() => {}
            _ = rounds.tick() => {
                let present = cleaner.ballista.registered().await;
                let due = cleaner.owed.lock().due(&present, Instant::now());
                for (address, jobs) in due {
                    sweeps.spawn(cleaner.clone().catch_up(address, jobs));
                }
                // Seen twice, so that a job between its listener and its graph is left alone.
                let orphans = cleaner.ballista.orphans();
                for job_id in orphans.iter().filter(|job| suspects.contains(job)) {
                    tracing::warn!(job = job_id, "a job that nobody waits for is cancelled");
                    let orphan =
                        EndedJob { job_id: job_id.clone(), finished: false, after: Duration::ZERO, run: None };
                    sweeps.spawn(cleaner.clone().run(Errand::Job(orphan)));
                }
                suspects = orphans;
            }
            () = cleaner.stop.cancelled() => break,
        }
    }
    loop {
        // The end of a job may be that of its run.
        while let Ok(errand) = errands.try_recv() {
            sweeps.spawn(cleaner.clone().run(errand));
        }
        if sweeps.join_next().await.is_none() {
            return Ok(());
        }
    }
}

impl Cleaner {
    async fn run(self, errand: Errand) {
        match errand {
            Errand::Job(job) => self.end_job(job).await,
            Errand::Run(run) => self.end_run(run).await,
        }
    }

    async fn end_job(self, EndedJob { job_id, finished, after, run }: EndedJob) {
        if !finished {
            self.ballista.cancel(&job_id).await;
        }
        let job: Arc<str> = job_id.into();
        self.pause(after).await;
        self.sweep(&job).await;
        drop(run);
        if !finished {
            self.pause(SECOND_SWEEP).await;
            self.sweep(&job).await;
        }
    }

    async fn end_run(&self, EndedRun { claim }: EndedRun) {
        if let Some(stored) = &self.stored {
            let claim = claim.lock().clone();
            stored.end(&claim).await;
        }
    }

    /// Waits, but not longer than this process lives.
    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.stop.cancelled() => {}
        }
    }

    async fn sweep(&self, job: &Arc<str>) {
        let present = self.ballista.registered().await;
        // An executor that is silent for long is removed and comes back, with the files that it had.
        self.owed.lock().missed(&present, job);
        let removals = present.iter().map(|address: &PeerAddress| self.remove(address, job));
        futures::future::join_all(removals).await;
    }

    /// Removes a job's files on an executor, or notes that it is to be done. Gives whether it is done.
    async fn remove(&self, address: &PeerAddress, job: &Arc<str>) -> bool {
        let done = self.peers.remove_job(address, job).await;
        if !done {
            self.owed.lock().owe(address, job, Instant::now());
        }
        done
    }

    /// Sends an executor what it missed, until it fails again.
    async fn catch_up(self, address: PeerAddress, mut jobs: Jobs) {
        tracing::info!(executor = %address, jobs = jobs.len(), "an executor is sent removals that it missed");
        while let Some(job) = jobs.pop_front() {
            if self.stop.is_cancelled() {
                return;
            }
            if !self.remove(&address, &job).await {
                break;
            }
        }
        let mut owed = self.owed.lock();
        for job in &jobs {
            owed.owe(&address, job, Instant::now());
        }
    }
}
