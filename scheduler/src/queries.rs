//! The queries this scheduler has, running and recently ended.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::Mutex;
use polarway_common::{Error, ErrorKind};
use polarway_proto::progress::QueryState;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::limits::Deadline;

const KEPT: NonZeroUsize = NonZeroUsize::new(512).unwrap();

/// One query from its first byte to its last.
#[derive(Debug)]
pub struct Query {
    pub id: String,
    /// Tells runs of one ticket apart; jobs are named by it.
    run: Mutex<Arc<str>>,
    pub sql: String,
    pub route: &'static str,
    pub started: Instant,
    pub cancel: CancellationToken,
    attempt: AtomicU32,
    life: Mutex<Life>,
}

/// How far a query is in its life.
#[derive(Debug, Clone)]
struct Life {
    state: QueryState,
    /// When its turn came; its time limit counts from then.
    admitted: Option<Instant>,
    /// How long it took, once it has ended.
    took: Option<Duration>,
}

impl Query {
    /// When the query must have ended, if it may run for `limit`. A limit beyond all time is none.
    pub fn deadline(&self, limit: Option<Duration>) -> Deadline {
        let since = self.life.lock().admitted.unwrap_or(self.started);
        limit.and_then(|limit| Some((since.checked_add(limit)?, limit)))
    }

    /// Tells runs of one ticket apart; jobs are named by it.
    pub fn run(&self) -> Arc<str> {
        Arc::clone(&self.run.lock())
    }

    /// The query goes on as another run of it.
    pub fn goes_on_as(&self, run: &str) {
        *self.run.lock() = run.into();
    }

    pub fn attempt(&self) -> u32 {
        self.attempt.load(Ordering::Relaxed)
    }

    fn set_attempt(&self, attempt: u32) {
        self.attempt.store(attempt, Ordering::Relaxed);
    }

    pub fn state(&self) -> QueryState {
        self.life.lock().state.clone()
    }

    /// Notes the end, unless one was noted before; gives the state that stands.
    fn end(&self, state: QueryState) -> QueryState {
        let mut life = self.life.lock();
        if life.took.is_none() {
            life.state = state;
            life.took = Some(self.started.elapsed());
        }
        life.state.clone()
    }
}

/// A name for a run of the query.
fn fresh_run(id: &str) -> String {
    format!("{id}-{:08x}", rand::random::<u32>())
}

/// A line of the overview.
#[derive(Debug, Clone, Serialize)]
pub struct QueryOverview {
    pub id: String,
    pub sql: String,
    pub route: String,
    pub state: QueryState,
    pub attempt: u32,
    pub elapsed_ms: u64,
}

/// Counts for `/metrics`, by outcome.
#[derive(Debug, Default)]
pub struct Outcomes {
    pub finished: AtomicU64,
    pub failed: AtomicU64,
    pub cancelled: AtomicU64,
    pub direct: AtomicU64,
    pub staged: AtomicU64,
    pub metadata: AtomicU64,
    /// Attempts beyond a query's first.
    pub resubmitted: AtomicU64,
}

/// See the module's page.
#[derive(Debug)]
pub struct Queries {
    running: Mutex<HashMap<String, Arc<Query>>>,
    ended: Mutex<LruCache<String, Arc<Query>>>,
    pub outcomes: Outcomes,
}

impl Default for Queries {
    fn default() -> Self {
        Self {
            running: Mutex::default(),
            ended: Mutex::new(LruCache::new(KEPT)),
            outcomes: Outcomes::default(),
        }
    }
}

/// Ends its query when dropped: as cancelled, unless an outcome was told before.
#[derive(Debug)]
pub struct Running {
    queries: Arc<Queries>,
    pub query: Arc<Query>,
}

impl Running {
    /// Notes that an attempt starts; counted from one.
    pub fn attempt(&self, attempt: u32) {
        self.query.set_attempt(attempt);
        if attempt > 1 {
            self.queries.outcomes.resubmitted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Notes that the query starts over with another plan: its jobs have nothing to do with those before.
    pub fn begins_anew(&self) {
        self.query.goes_on_as(&fresh_run(&self.query.id));
        self.queries.outcomes.resubmitted.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that the query's turn has come.
    pub fn admitted(&self) {
        let mut life = self.query.life.lock();
        if life.took.is_none() {
            life.state = QueryState::Running;
            life.admitted = Some(Instant::now());
        }
    }

    pub fn finish(&self, outcome: &Result<(), Error>) {
        self.query.end(match outcome {
            Ok(()) => QueryState::Finished,
            Err(error) if error.kind == ErrorKind::Cancelled => QueryState::Cancelled,
            Err(_) => QueryState::Failed,
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let state = self.query.end(QueryState::Cancelled);
        self.query.cancel.cancel();
        let outcomes = &self.queries.outcomes;
        let counter = match state {
            QueryState::Finished => &outcomes.finished,
            QueryState::Cancelled => &outcomes.cancelled,
            _ => &outcomes.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let mut running = self.queries.running.lock();
        if running.get(&self.query.id).is_some_and(|held| Arc::ptr_eq(held, &self.query)) {
            running.remove(&self.query.id);
        }
        drop(running);
        self.queries.ended.lock().put(self.query.id.clone(), Arc::clone(&self.query));
    }
}

impl Queries {
    /// A query that waits for its turn.
    pub fn begin(self: &Arc<Self>, id: &str, sql: &str, route: &'static str) -> Running {
        let query = Arc::new(Query {
            id: id.to_owned(),
            run: Mutex::new(fresh_run(id).into()),
            sql: sql.to_owned(),
            route,
            started: Instant::now(),
            cancel: CancellationToken::new(),
            attempt: AtomicU32::new(1),
            life: Mutex::new(Life { state: QueryState::Queued, admitted: None, took: None }),
        });
        let counter = match route {
            "staged" => &self.outcomes.staged,
            "direct" => &self.outcomes.direct,
            _ => &self.outcomes.metadata,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.running.lock().insert(id.to_owned(), Arc::clone(&query));
        Running { queries: Arc::clone(self), query }
    }

    pub fn get(&self, id: &str) -> Option<Arc<Query>> {
        let running = self.running.lock().get(id).cloned();
        running.or_else(|| self.ended.lock().get(id).cloned())
    }

    /// Whether there was a running query to cancel.
    pub fn cancel(&self, id: &str) -> bool {
        match self.running.lock().get(id) {
            Some(query) => {
                query.cancel.cancel();
                true
            }
            None => false,
        }
    }

    pub fn cancel_all(&self) {
        for query in self.running.lock().values() {
            query.cancel.cancel();
        }
    }

    pub fn running(&self) -> usize {
        self.running.lock().len()
    }

    /// Running queries, then ended ones, latest first.
    pub fn overview(&self) -> Vec<QueryOverview> {
        let mut running: Vec<Arc<Query>> = self.running.lock().values().cloned().collect();
        running.sort_by_key(|query| query.started.elapsed());
        let ended: Vec<Arc<Query>> = self.ended.lock().iter().map(|(_, query)| Arc::clone(query)).collect();
        running
            .into_iter()
            .chain(ended)
            .map(|query| {
                let life = query.life.lock().clone();
                QueryOverview {
                    id: query.id.clone(),
                    sql: query.sql.clone(),
                    route: query.route.to_owned(),
                    state: life.state,
                    attempt: query.attempt(),
                    elapsed_ms: life.took.unwrap_or_else(|| query.started.elapsed()).as_millis() as u64,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_07_a_dropped_query_counts_as_cancelled() {
        let queries = Arc::new(Queries::default());
        let running = queries.begin("q-1", "select 1", "direct");
        assert!(queries.cancel("q-1") && running.query.cancel.is_cancelled());
        drop(running);
        assert!(!queries.cancel("q-1"));
        assert_eq!(queries.get("q-1").unwrap().state(), QueryState::Cancelled);
        assert_eq!(queries.outcomes.cancelled.load(Ordering::Relaxed), 1);
        let running = queries.begin("q-2", "select 1", "direct");
        running.finish(&Ok(()));
        drop(running);
        assert_eq!(queries.get("q-2").unwrap().state(), QueryState::Finished);
        assert_eq!(queries.overview().len(), 2);
    }

    #[test]
    fn row_08_a_query_is_queued_until_its_turn_and_its_time_counts_from_then() {
        let queries = Arc::new(Queries::default());
        let running = queries.begin("q-1", "select 1", "direct");
        let shown = || (queries.get("q-1").unwrap().state(), queries.overview()[0].state.clone());
        assert_eq!(shown(), (QueryState::Queued, QueryState::Queued));
        std::thread::sleep(Duration::from_millis(5));
        running.admitted();
        assert_eq!(shown(), (QueryState::Running, QueryState::Running));
        let (at, limit) = running.query.deadline(Some(Duration::from_secs(1))).unwrap();
        assert!(at >= running.query.started + limit + Duration::from_millis(5));
        assert!(running.query.deadline(Some(Duration::MAX)).is_none());
        running.finish(&Ok(()));
        running.admitted();
        assert_eq!(queries.get("q-1").unwrap().state(), QueryState::Finished);
    }
}
