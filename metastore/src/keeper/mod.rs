//! Holding a lease: granted once, kept alive by a task, and given up in time.

mod tenure;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use polarway_common::{Clock, Supervisor, TaskKind};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::tenure::{Step, Tenure};
use crate::error::{MetaStoreError, Result};
use crate::lease::{Lease, LeaseId};
use crate::store::MetaStore;

/// Why a lease is held no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The store did not answer in time: it may have ended the lease, or will.
    Unproven,
    /// The store has ended it.
    Ended,
    /// The holder gave it up.
    Released,
}

/// A lease that is held. Dropping it gives the lease up, as does the end of its supervisor.
///
/// The holder considers the lease lost before the store does: its time counts from when the last request was sent
/// that the store answered, less an eighth of the time to live. This keeps two holders from believing in themselves at
/// one time as long as the process is not held up between asking and acting. What must not happen even then has to be
/// a transaction with a key of the lease as a precondition.
#[derive(Debug)]
pub struct LeaseKeeper {
    lease: Lease,
    held: Arc<Held>,
    lost: watch::Receiver<Option<Lost>>,
    stop: DropGuard,
}

#[derive(Debug)]
struct Held {
    tenure: Mutex<Tenure>,
    clock: Arc<dyn Clock>,
}

impl Held {
    fn tenure(&self) -> MutexGuard<'_, Tenure> {
        self.tenure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseKeeper {
    /// Asks for a lease of about `ttl`, and keeps it alive in a background task `name`. The task ends with the lease.
    /// When `supervisor` stops, the lease is given up: to hold it while other tasks end, give it a supervisor of its own.
    ///
    /// # Errors
    /// Those of [`MetaStore::grant`].
    pub async fn start(
        store: Arc<dyn MetaStore>,
        ttl: Duration,
        clock: Arc<dyn Clock>,
        supervisor: &Supervisor,
        name: impl Into<String>,
    ) -> Result<Self> {
        let sent = clock.now();
        let lease = store.grant(ttl).await?;
        let held = Arc::new(Held { tenure: Mutex::new(Tenure::new(lease.ttl, sent)), clock });
        let (sender, lost) = watch::channel(None);
        let stop = supervisor.token().child_token();
        let task = Task { store, lease, held: Arc::clone(&held), stop: stop.clone(), lost: sender };
        supervisor.spawn(name, TaskKind::Background, async move {
            task.run().await;
            Ok(())
        });
        Ok(Self { lease, held, lost, stop: stop.drop_guard() })
    }

    /// The lease to write keys under.
    pub fn lease(&self) -> LeaseId {
        self.lease.id
    }

    /// How long the store waits for a sign of life.
    pub fn ttl(&self) -> Duration {
        self.lease.ttl
    }

    /// Whether the lease is held at this moment, by the clock and not by what the task has noticed.
    pub fn is_held(&self) -> bool {
        self.held.tenure().holds(self.held.clock.now())
    }

    /// Tells once when the lease is lost, and why.
    pub fn watch(&self) -> watch::Receiver<Option<Lost>> {
        self.lost.clone()
    }

    /// Completes when the lease is lost.
    pub async fn lost(&self) -> Lost {
        let mut lost = self.lost.clone();
        // The task sends before it ends; if it was aborted it can no longer tell.
        lost.wait_for(Option::is_some).await.ok().and_then(|lost| *lost).unwrap_or(Lost::Unproven)
    }

    /// Gives the lease up, and waits until the store has deleted its keys, or did not answer.
    pub async fn release(self) {
        let Self { mut lost, stop, .. } = self;
        drop(stop);
        while lost.changed().await.is_ok() {}
    }
}

struct Task {
    store: Arc<dyn MetaStore>,
    lease: Lease,
    held: Arc<Held>,
    stop: CancellationToken,
    lost: watch::Sender<Option<Lost>>,
}

impl Task {
    async fn run(self) {
        let lost = tokio::select! {
            lost = self.hold() => lost,
            () = self.stop.cancelled() => Lost::Released,
        };
        self.held.tenure().give_up();
        self.lost.send_replace(Some(lost));
        match lost {
            Lost::Released => tracing::debug!(lease = %self.lease.id, "a lease is given up"),
            Lost::Unproven | Lost::Ended => tracing::warn!(lease = %self.lease.id, ?lost, "a lease is lost"),
        }
        if lost != Lost::Ended {
            self.revoke().await;
        }
    }

    async fn hold(&self) -> Lost {
        loop {
            let sent = self.held.clock.now();
            let step = self.held.tenure().step(sent);
            let within = match step {
                Step::Lost => return Lost::Unproven,
                Step::Wait(pause) => {
                    sleep(pause).await;
                    continue;
                }
                Step::Renew(within) => within,
            };
            let kept = timeout(within, self.store.keep_alive(self.lease.id)).await;
            let now = self.held.clock.now();
            match kept {
                Ok(Ok(())) => self.held.tenure().renewed(sent, now),
                Ok(Err(MetaStoreError::LeaseNotFound { .. })) => return Lost::Ended,
                Ok(Err(error)) => {
                    tracing::debug!(lease = %self.lease.id, %error, "a lease was not kept alive; again");
                    self.held.tenure().failed(now);
                }
                Err(_) => self.held.tenure().failed(now),
            }
        }
    }

    /// So that nobody has to wait for the end that the store would make of it.
    async fn revoke(&self) {
        let problem = match timeout(self.lease.ttl, self.store.revoke(self.lease.id)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer came".to_owned(),
        };
        tracing::debug!(lease = %self.lease.id, problem, "a lease was not revoked, and ends by itself");
    }
}
