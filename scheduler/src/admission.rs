//! How many queries run at once, how many wait, and what the rest is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use polarway_common::config::AdmissionConfig;
use polarway_common::{Error, ErrorKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Counts for `/metrics`.
#[derive(Debug, Default)]
pub struct AdmissionCounters {
    pub admitted: AtomicU64,
    pub refused: AtomicU64,
}

/// A place among the running queries, given back when dropped.
#[derive(Debug)]
pub struct Admitted {
    _permit: OwnedSemaphorePermit,
}

/// See the module's page. First come, first served.
#[derive(Debug)]
pub struct Admission {
    running: Arc<Semaphore>,
    limit: usize,
    waiting: AtomicUsize,
    max_waiting: usize,
    patience: Duration,
    retry_after: Duration,
    pub counters: AdmissionCounters,
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    pub fn new(config: &AdmissionConfig) -> Self {
        let limit = config.resolved_max_running().max(1);
        Self {
            running: Arc::new(Semaphore::new(limit)),
            limit,
            waiting: AtomicUsize::new(0),
            max_waiting: config.max_queued,
            patience: config.queue_timeout.0,
            retry_after: config.retry_after.0,
            counters: AdmissionCounters::default(),
        }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// `Overloaded` with a delay when the queue is full or the wait too long.
    pub async fn enter(&self) -> Result<Admitted, Error> {
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Ok(self.admitted(permit));
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.max_waiting {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(self.refuse(format!(
                "{} queries run and {} wait, which is as many as this server takes",
                self.limit, self.max_waiting
            )));
        }
        let _waiting = Waiting(&self.waiting);
        match tokio::time::timeout(self.patience, Arc::clone(&self.running).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(self.admitted(permit)),
            Ok(Err(_)) => Err(Error::new(ErrorKind::Draining, "the server is shutting down")),
            Err(_) => {
                Err(self.refuse(format!("the query waited {} ms for its turn", self.patience.as_millis())))
            }
        }
    }

    fn admitted(&self, permit: OwnedSemaphorePermit) -> Admitted {
        self.counters.admitted.fetch_add(1, Ordering::Relaxed);
        Admitted { _permit: permit }
    }

    fn refuse(&self, message: String) -> Error {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        Error::new(ErrorKind::Overloaded, message)
            .with_retry_after(self.retry_after)
            .with_hint("retry after the given delay; an operator can raise `admission.max_running` or `admission.max_queued`")
    }

    pub fn running(&self) -> usize {
        self.limit - self.running.available_permits()
    }

    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use polarway_common::HumanDuration;

    use super::*;

    fn admission(max_running: usize, max_queued: usize, patience_ms: u64) -> Arc<Admission> {
        Arc::new(Admission::new(&AdmissionConfig {
            max_running: Some(max_running),
            max_queued,
            queue_timeout: HumanDuration(Duration::from_millis(patience_ms)),
            ..AdmissionConfig::default()
        }))
    }

    #[tokio::test]
    async fn row_08_a_full_queue_refuses_with_a_delay() {
        let admission = admission(1, 1, 60_000);
        let first = admission.enter().await.unwrap();
        let second = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.enter().await }
        });
        while admission.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        let refused = admission.enter().await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Overloaded);
        assert!(refused.retry_after.is_some());
        drop(first);
        let second = second.await.unwrap().unwrap();
        assert_eq!((admission.running(), admission.waiting()), (1, 0));
        drop(second);
        assert_eq!(admission.running(), 0);
    }

    #[tokio::test]
    async fn row_08_waiting_too_long_is_refused_and_leaves_the_queue() {
        let admission = admission(1, 5, 100);
        let _first = admission.enter().await.unwrap();
        assert_eq!(admission.enter().await.unwrap_err().kind, ErrorKind::Overloaded);
        assert_eq!(admission.waiting(), 0);
    }
}
