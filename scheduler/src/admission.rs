//! How many queries run at once, how many wait, and what the rest is told. Planning has places of its own: it comes
//! before a query's turn, since only its plan tells whether it needs one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use polarway_common::config::AdmissionConfig;
use polarway_common::{Error, ErrorKind, machine};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Statements that are planned at the same time, for each core. Planning waits for stores now and then, so that more
/// than one keeps a core busy.
const PLANNED_PER_CORE: usize = 4;
/// Statements that wait for being planned; they are more patient than many, since planning is quick.
const MAX_WAITING_TO_PLAN: usize = 4096;

/// The bounds of what is told apart of waits, in seconds: from a millisecond to about four minutes.
const FIRST_BOUND: f64 = 0.001;
const NEXT_BOUND: f64 = 4.0;
const BOUNDS: u16 = 10;

/// Counts for `/metrics`.
#[derive(Debug)]
pub struct AdmissionCounters {
    pub admitted: AtomicU64,
    pub refused: AtomicU64,
    /// Seconds that queries waited for a place, whether they got one or gave up.
    pub waited: Histogram,
}

impl Default for AdmissionCounters {
    fn default() -> Self {
        Self {
            admitted: AtomicU64::default(),
            refused: AtomicU64::default(),
            waited: Histogram::new(exponential_buckets(FIRST_BOUND, NEXT_BOUND, BOUNDS)),
        }
    }
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
    planning: Semaphore,
    waiting_to_plan: AtomicUsize,
    pub counters: AdmissionCounters,
}

/// A place among the statements that are planned, given back when dropped.
#[derive(Debug)]
pub struct PlanningPlace<'a> {
    _permit: SemaphorePermit<'a>,
    /// Whether others were planned meanwhile.
    pub waited: bool,
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    /// `None` when `most` wait already.
    fn join(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let joined = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < most).then_some(joined)
    }
}

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
            planning: Semaphore::new(machine::cores().max(1) * PLANNED_PER_CORE),
            waiting_to_plan: AtomicUsize::new(0),
            counters: AdmissionCounters::default(),
        }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// `Overloaded` with a delay when the queue is full or the wait too long.
    pub async fn enter(&self) -> Result<Admitted, Error> {
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            self.counters.waited.observe(0.0);
            return Ok(self.admitted(permit));
        }
        let Some(_waiting) = Waiting::join(&self.waiting, self.max_waiting) else {
            return Err(self.refuse(format!(
                "{} queries run and {} wait, which is as many as this server takes",
                self.limit, self.max_waiting
            )));
        };
        let since = Instant::now();
        let place = tokio::time::timeout(self.patience, Arc::clone(&self.running).acquire_owned()).await;
        self.counters.waited.observe(since.elapsed().as_secs_f64());
        match place {
            Ok(Ok(permit)) => Ok(self.admitted(permit)),
            Ok(Err(_)) => Err(Error::new(ErrorKind::Draining, "the server is shutting down")),
            Err(_) => {
                Err(self.refuse(format!("the query waited {} ms for its turn", self.patience.as_millis())))
            }
        }
    }

    /// Waits until a statement may be planned.
    ///
    /// # Errors
    /// `Overloaded` with a delay when too many wait, or too long.
    pub async fn enter_planning(&self) -> Result<PlanningPlace<'_>, Error> {
        if let Ok(permit) = self.planning.try_acquire() {
            return Ok(PlanningPlace { _permit: permit, waited: false });
        }
        let Some(_waiting) = Waiting::join(&self.waiting_to_plan, MAX_WAITING_TO_PLAN) else {
            return Err(self.refuse(format!("{MAX_WAITING_TO_PLAN} statements wait for being planned")));
        };
        match tokio::time::timeout(self.patience, self.planning.acquire()).await {
            Ok(Ok(permit)) => Ok(PlanningPlace { _permit: permit, waited: true }),
            Ok(Err(_)) => Err(Error::new(ErrorKind::Draining, "the server is shutting down")),
            Err(_) => Err(self
                .refuse(format!("the statement waited {} ms for being planned", self.patience.as_millis()))),
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

    /// Statements that wait for being planned.
    pub fn waiting_to_plan(&self) -> usize {
        self.waiting_to_plan.load(Ordering::Relaxed)
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

    #[tokio::test]
    async fn row_08_planning_has_places_of_its_own() {
        let admission = admission(1, 0, 500);
        let _place = admission.enter().await.unwrap();
        let mut planning = vec![];
        for _ in 0..machine::cores().max(1) * PLANNED_PER_CORE {
            planning.push(admission.enter_planning().await.unwrap());
        }
        assert!(planning.iter().all(|place| !place.waited));
        let refused = admission.enter_planning().await.unwrap_err();
        assert_eq!((refused.kind, refused.retry_after.is_some()), (ErrorKind::Overloaded, true));
        assert_eq!(admission.waiting_to_plan(), 0);
        let other = Arc::clone(&admission);
        let waiting = tokio::spawn(async move { other.enter_planning().await.map(|place| place.waited) });
        while admission.waiting_to_plan() == 0 {
            tokio::task::yield_now().await;
        }
        planning.pop();
        assert_eq!(waiting.await.unwrap(), Ok(true));
    }
}
