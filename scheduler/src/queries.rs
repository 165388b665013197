//! The queries this scheduler has, running and recently ended, and those that others had.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use lru::LruCache;
use parking_lot::Mutex;
use polarway_common::clock::unix_millis;
use polarway_common::{Caller, Error, ErrorKind, Namespace};
use polarway_proto::progress::{QueryState, StageProgress};
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::history::{Past, QueryRecord, RecordedError, shortened, shortened_plans};
use crate::limits::Deadline;
use crate::plan::Compiled;

/// Ended queries of a namespace that are kept in memory, or more if the history has more.
pub const KEPT: NonZeroUsize = NonZeroUsize::new(1000).unwrap();
/// Those of all namespaces.
const ALL_KEPT: usize = 10_000;

/// One query from its first byte to its last.
#[derive(Debug)]
pub struct Query {
    pub id: String,
    /// Who sent it, as [`Caller::owner`]; empty where callers are not told apart.
    pub owner: String,
    /// Whose namespace it is of.
    pub namespace: Namespace,
    /// The name of this scheduler.
    scheduler: Arc<str>,
    /// Tells runs of one ticket apart; jobs are named by it.
    run: Mutex<Arc<str>>,
    /// Its beginning, where it is long.
    sql: String,
    sql_bytes: u64,
    pub route: &'static str,
    pub started: Instant,
    started_ms: u64,
    pub cancel: CancellationToken,
    attempt: AtomicU32,
    life: Mutex<Life>,
    /// Rows and bytes of the result that are on their way to the client.
    rows: AtomicU64,
    bytes: AtomicU64,
    shown: Mutex<Shown>,
    /// What it is traced in.
    span: Mutex<Span>,
}

/// How far a query is in its life.
#[derive(Debug, Clone)]
struct Life {
    state: QueryState,
    /// When its turn came; its time limit counts from then.
    admitted: Option<Instant>,
    /// How long it took, once it has ended.
    took: Option<Duration>,
    error: Option<RecordedError>,
}

/// What is told of it to people.
#[derive(Debug, Clone, Default)]
struct Shown {
    /// Why it goes the way it goes.
    reason: String,
    plan: Option<Arc<str>>,
    stages: Vec<StageProgress>,
    stage_plans: StagePlans,
}

/// The plans of stages by their ids, with what their operators measured.
pub type StagePlans = Arc<Vec<(u64, String)>>;

/// The plans of a query.
#[derive(Debug, Clone, Default)]
pub struct Plans {
    /// For one process.
    pub whole: Option<Arc<str>>,
    pub stages: StagePlans,
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

    pub fn has_ended(&self) -> bool {
        self.life.lock().took.is_some()
    }

    /// Its end is told in this span.
    pub fn is_traced_in(&self, span: &Span) {
        *self.span.lock() = span.clone();
    }

    pub fn span(&self) -> Span {
        self.span.lock().clone()
    }

    /// Notes rows of the result that go to the client.
    pub fn sends(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes what the stages of an attempt did.
    pub fn stages_ended(&self, stages: Vec<StageProgress>, plans: &[(u64, String)]) {
        let mut shown = self.shown.lock();
        shown.stages = stages;
        shown.stage_plans = Arc::new(shortened_plans(plans));
    }

    /// Notes that clients fetch from executors what the last stages have put out.
    pub fn result_is_on_executors(&self) {
        let shown = self.shown.lock();
        let last = shown.stages.iter().filter(|stage| stage.feeds.is_empty());
        let (rows, bytes) = last.fold((0, 0), |sum, stage| (sum.0 + stage.rows, sum.1 + stage.bytes));
        drop(shown);
        self.sends(rows, bytes);
    }

    pub fn plans(&self) -> Plans {
        let shown = self.shown.lock();
        Plans { whole: shown.plan.clone(), stages: Arc::clone(&shown.stage_plans) }
    }

    /// What is known of the query now.
    pub fn record(&self) -> QueryRecord {
        let stages = self.shown.lock().stages.clone();
        QueryRecord { stages, ..self.summary() }
    }

    /// The same without its stages.
    pub fn summary(&self) -> QueryRecord {
        let life = self.life.lock().clone();
        let elapsed = life.took.unwrap_or_else(|| self.started.elapsed());
        let waited = life.admitted.map_or(elapsed, |at| at.saturating_duration_since(self.started));
        QueryRecord {
            id: self.id.clone(),
            user: self.owner.clone(),
            scheduler: self.scheduler.to_string(),
            sql: self.sql.clone(),
            sql_bytes: self.sql_bytes,
            route: self.route.to_owned(),
            reason: self.shown.lock().reason.clone(),
            state: life.state,
            attempt: self.attempt(),
            started_ms: self.started_ms,
            waited_ms: millis(waited),
            elapsed_ms: millis(elapsed),
            rows: self.rows.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            error: life.error,
            stages: vec![],
        }
    }

    /// Notes the end, unless one was noted before; gives the state that stands.
    fn end(&self, state: QueryState, error: Option<RecordedError>) -> QueryState {
        let mut life = self.life.lock();
        if life.took.is_none() {
            life.state = state;
            life.took = Some(self.started.elapsed());
            life.error = error;
            // Taken, or it would not end as long as the query is kept.
            let span = std::mem::replace(&mut *self.span.lock(), Span::none());
            span.record("rows", self.rows.load(Ordering::Relaxed));
            span.record("bytes", self.bytes.load(Ordering::Relaxed));
            if let Some(error) = &life.error {
                span.record("error", error.code.as_str());
                span.record("otel.status_code", "ERROR");
            }
        }
        life.state.clone()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How a query ends that has failed, if it has.
fn ending(error: Option<&Error>) -> (QueryState, Option<RecordedError>) {
    match error {
        None => (QueryState::Finished, None),
        Some(error) if error.kind == ErrorKind::Cancelled => (QueryState::Cancelled, None),
        Some(error) => (QueryState::Failed, Some(RecordedError::of(error))),
    }
}

/// A name for a run of the query.
fn fresh_run(id: &str) -> String {
    format!("{id}-{:08x}", rand::random::<u32>())
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
    /// Queries that another scheduler, which is gone, had begun.
    pub taken_over: AtomicU64,
}

/// See the module's page.
#[derive(Debug)]
pub struct Queries {
    /// Those that take so long are told in the log.
    slow: Option<Duration>,
    scheduler: Arc<str>,
    /// Ended queries of a namespace that are shown.
    kept: NonZeroUsize,
    running: Mutex<HashMap<String, Arc<Query>>>,
    /// By namespace: there are as many as have had callers.
    ended: Mutex<HashMap<Namespace, LruCache<String, Arc<Query>>>>,
    pub past: Arc<Past>,
    pub outcomes: Outcomes,
}

impl Default for Queries {
    fn default() -> Self {
        Self::new(None, "", Arc::new(Past::new(0, "")))
    }
}

impl Queries {
    /// Those of the scheduler of this name. Queries that take `slow` or longer are told in the log.
    pub fn new(slow: Option<Duration>, scheduler: &str, past: Arc<Past>) -> Self {
        let kept = NonZeroUsize::new(past.most()).map_or(KEPT, |most| most.max(KEPT));
        Self {
            slow,
            scheduler: scheduler.into(),
            kept,
            running: Mutex::default(),
            ended: Mutex::default(),
            past,
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

    /// Notes that a scheduler which is gone had begun the query.
    pub fn taken_over(&self) {
        self.queries.outcomes.taken_over.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that the query's turn has come.
    pub fn admitted(&self) {
        let mut life = self.query.life.lock();
        if life.took.is_none() {
            life.state = QueryState::Running;
            life.admitted = Some(Instant::now());
        }
    }

    /// Notes how the query is going to be carried out.
    pub fn planned(&self, compiled: &Compiled) {
        let mut shown = self.query.shown.lock();
        shown.reason.clone_from(&compiled.decision.reason);
        shown.plan = Some(Arc::clone(&compiled.shown));
    }

    pub fn finish(&self, outcome: &Result<(), Error>) {
        let (state, error) = ending(outcome.as_ref().err());
        self.query.end(state, error);
    }
}

/// The log has the statement's beginning: whoever asks for slow queries wants to know which.
fn tell_if_slow(query: &Query, limit: Option<Duration>) {
    let Some(limit) = limit else { return };
    let record = query.summary();
    if u128::from(record.elapsed_ms) < limit.as_millis() {
        return;
    }
    tracing::warn!(
        target: "polarway::slow_query",
        query = record.id,
        user = record.user,
        route = record.route,
        state = ?record.state,
        elapsed_ms = record.elapsed_ms,
        waited_ms = record.waited_ms,
        rows = record.rows,
        bytes = record.bytes,
        error = record.error.map(|error| error.code),
        sql = record.sql,
        "a slow query"
    );
}

impl Drop for Running {
    fn drop(&mut self) {
        let state = self.query.end(QueryState::Cancelled, None);
        self.query.cancel.cancel();
        let outcomes = &self.queries.outcomes;
        let counter = match state {
            QueryState::Finished => &outcomes.finished,
            QueryState::Cancelled => &outcomes.cancelled,
            _ => &outcomes.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        tell_if_slow(&self.query, self.queries.slow);
        let mut running = self.queries.running.lock();
        if running.get(&self.query.id).is_some_and(|held| Arc::ptr_eq(held, &self.query)) {
            running.remove(&self.query.id);
        }
        drop(running);
        self.queries.keep(Arc::clone(&self.query));
    }
}

/// A statement that is over and did not become a query: it could not be planned, or changes the catalog.
#[derive(Debug)]
pub struct Over<'a> {
    pub id: &'a str,
    pub sql: &'a str,
    pub route: &'static str,
    /// When it came.
    pub began: Instant,
    pub error: Option<&'a Error>,
}

impl Queries {
    /// A query of the caller `owner` that waits for its turn.
    pub fn begin(self: &Arc<Self>, owner: &Caller, id: &str, sql: &str, route: &'static str) -> Running {
        let query = Arc::new(self.waiting(owner, id, sql, route));
        let counter = match route {
            "staged" => &self.outcomes.staged,
            "direct" => &self.outcomes.direct,
            _ => &self.outcomes.metadata,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.running.lock().insert(id.to_owned(), Arc::clone(&query));
        Running { queries: Arc::clone(self), query }
    }

    /// Notes what became of a statement of `owner`, unless it became a query, which tells that itself. It is in no count.
    pub fn note(&self, owner: &Caller, over: &Over<'_>) {
        if self.running.lock().contains_key(over.id) || self.ended_of(owner, over.id).is_some() {
            return;
        }
        let took = over.began.elapsed();
        let (state, error) = ending(over.error);
        self.keep(Arc::new(Query {
            started: over.began,
            started_ms: unix_millis(SystemTime::now()).saturating_sub(millis(took)),
            life: Mutex::new(Life { state, admitted: Some(over.began), took: Some(took), error }),
            ..self.waiting(owner, over.id, over.sql, over.route)
        }));
    }

    /// A query that has ended goes on being shown, and into the history.
    fn keep(&self, query: Arc<Query>) {
        self.past.ended(&query);
        let mut ended = self.ended.lock();
        let of = ended.entry(query.namespace.clone()).or_insert_with(|| LruCache::sparse(self.kept));
        of.put(query.id.clone(), query);
        // Memory does not grow with the number of namespaces: the one that has most gives its oldest.
        if ended.values().map(LruCache::len).sum::<usize>() > ALL_KEPT.max(self.kept.get())
            && let Some(most) = ended.values_mut().max_by_key(|of| of.len())
        {
            most.pop_lru();
        }
    }

    /// An ended query of the caller's namespace.
    fn ended_of(&self, caller: &Caller, id: &str) -> Option<Arc<Query>> {
        let ended = self.ended.lock();
        ended.get(caller.namespace()).and_then(|of| of.peek(id).cloned())
    }

    fn waiting(&self, owner: &Caller, id: &str, sql: &str, route: &'static str) -> Query {
        Query {
            id: id.to_owned(),
            owner: owner.owner().to_owned(),
            namespace: owner.namespace().clone(),
            scheduler: Arc::clone(&self.scheduler),
            run: Mutex::new(fresh_run(id).into()),
            sql: shortened(sql),
            sql_bytes: sql.len() as u64,
            route,
            started: Instant::now(),
            started_ms: unix_millis(SystemTime::now()),
            cancel: CancellationToken::new(),
            attempt: AtomicU32::new(1),
            life: Mutex::new(Life { state: QueryState::Queued, admitted: None, took: None, error: None }),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            shown: Mutex::default(),
            span: Mutex::new(Span::none()),
        }
    }

    /// The query of this id, unless it is somebody else's.
    pub fn get(&self, caller: &Caller, id: &str) -> Option<Arc<Query>> {
        let running = self.running.lock().get(id).cloned();
        let found = running.or_else(|| self.ended_of(caller, id));
        found.filter(|query| caller.may_touch(&query.owner))
    }

    /// Whether there was a running query for `caller` to cancel.
    pub fn cancel(&self, caller: &Caller, id: &str) -> bool {
        match self.running.lock().get(id).filter(|query| caller.may_touch(&query.owner)) {
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

    /// Running queries that `caller` may see, latest first; without their stages.
    pub fn at_work(&self, caller: &Caller) -> Vec<QueryRecord> {
        let mut running: Vec<Arc<Query>> = self.running.lock().values().cloned().collect();
        running.retain(|query| caller.may_touch(&query.owner));
        running.sort_by_key(|query| query.started.elapsed());
        running.iter().map(|query| query.summary()).collect()
    }

    /// The same, then ended ones, of other schedulers, too.
    pub fn overview(&self, caller: &Caller) -> Vec<QueryRecord> {
        let mut all = self.at_work(caller);
        let mut ended: Vec<Arc<Query>> = match self.ended.lock().get(caller.namespace()) {
            Some(of) => of.iter().map(|(_, query)| Arc::clone(query)).collect(),
            None => vec![],
        };
        ended.retain(|query| caller.may_touch(&query.owner));
        let mut ended: Vec<QueryRecord> = ended.iter().map(|query| query.summary()).collect();
        let past = self.past.last(caller);
        if !past.is_empty() {
            ended.extend(past);
            ended.sort_by_key(|record| Reverse(record.ended_ms()));
            ended.truncate(self.kept.get());
        }
        all.extend(ended);
        all
    }
}

#[cfg(test)]
mod tests {
    use polarway_common::Role;

    use super::*;

    #[test]
    fn row_07_a_dropped_query_counts_as_cancelled() {
        let queries = Arc::new(Queries::default());
        let running = queries.begin(&Caller::anyone(), "q-1", "select 1", "direct");
        assert!(queries.cancel(&Caller::anyone(), "q-1") && running.query.cancel.is_cancelled());
        drop(running);
        assert!(!queries.cancel(&Caller::anyone(), "q-1"));
        assert_eq!(queries.get(&Caller::anyone(), "q-1").unwrap().state(), QueryState::Cancelled);
        assert_eq!(queries.outcomes.cancelled.load(Ordering::Relaxed), 1);
        let running = queries.begin(&Caller::anyone(), "q-2", "select 1", "direct");
        running.query.sends(3, 96);
        running.finish(&Ok(()));
        drop(running);
        assert_eq!(queries.get(&Caller::anyone(), "q-2").unwrap().state(), QueryState::Finished);
        assert_eq!(queries.overview(&Caller::anyone()).len(), 2);
    }

    #[test]
    fn row_47_an_administrator_sees_and_ends_queries_of_its_namespace() {
        let of = |name: &'static str, role, namespace: &str| {
            Caller::new(name, role).of(Namespace::parse(namespace).unwrap())
        };
        let (ana, boss) = (of("ana", Role::Read, "acme"), of("boss", Role::Admin, "acme"));
        let others = [
            of("root", Role::Admin, "default"),
            of("boss", Role::Admin, "beta"),
            of("ana", Role::Read, "beta"),
            Caller::anyone(),
        ];
        let queries = Arc::new(Queries::default());
        let running = queries.begin(&ana, "q-1", "select 1", "direct");
        for other in &others {
            assert!(queries.get(other, "q-1").is_none() && !queries.cancel(other, "q-1"), "{other:?}");
            assert!(queries.overview(other).is_empty(), "{other:?}");
        }
        assert_eq!(queries.overview(&ana)[0].user, "acme/ana");
        assert_eq!(queries.overview(&boss).len(), 1);
        assert!(queries.cancel(&boss, "q-1") && running.query.cancel.is_cancelled());
    }

    #[test]
    fn row_08_a_query_is_queued_until_its_turn_and_its_time_counts_from_then() {
        let queries = Arc::new(Queries::default());
        let running = queries.begin(&Caller::anyone(), "q-1", "select 1", "direct");
        let shown = || {
            (
                queries.get(&Caller::anyone(), "q-1").unwrap().state(),
                queries.overview(&Caller::anyone())[0].state.clone(),
            )
        };
        assert_eq!(shown(), (QueryState::Queued, QueryState::Queued));
        std::thread::sleep(Duration::from_millis(5));
        running.admitted();
        assert_eq!(shown(), (QueryState::Running, QueryState::Running));
        let (at, limit) = running.query.deadline(Some(Duration::from_secs(1))).unwrap();
        assert!(at >= running.query.started + limit + Duration::from_millis(5));
        assert!(running.query.deadline(Some(Duration::MAX)).is_none());
        running.finish(&Ok(()));
        running.admitted();
        assert_eq!(queries.get(&Caller::anyone(), "q-1").unwrap().state(), QueryState::Finished);
    }

    #[test]
    fn row_49_the_record_of_a_query_tells_how_it_ended_and_what_it_gave() {
        let queries = Arc::new(Queries::default());
        let running = queries.begin(&Caller::anyone(), "q-1", &"x".repeat(1 << 20), "staged");
        running.admitted();
        let stage =
            |id, rows, feeds| StageProgress { id, rows, bytes: rows * 8, feeds, ..Default::default() };
        running.query.stages_ended(vec![stage(1, 100, vec![2]), stage(2, 10, vec![])], &[]);
        running.query.result_is_on_executors();
        running.finish(&Err(Error::new(ErrorKind::OutOfMemory, "no room")));
        // What comes after the end changes nothing.
        running.finish(&Ok(()));
        drop(running);
        let record = queries.get(&Caller::anyone(), "q-1").unwrap().record();
        assert_eq!((record.state.clone(), record.rows, record.bytes), (QueryState::Failed, 10, 80));
        assert_eq!(record.error.as_ref().unwrap().code, "OUT_OF_MEMORY");
        assert_eq!(record.sql_bytes, 1 << 20);
        assert!(record.sql.len() < 64 << 10 && record.stages.len() == 2);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<QueryRecord>(&text).unwrap(), record);
        assert!(queries.overview(&Caller::anyone())[0].stages.is_empty());
    }

    #[test]
    fn row_48_a_statement_that_became_no_query_is_noted_once_and_in_no_count() {
        let queries = Arc::new(Queries::default());
        let ana = Caller::new("ana", Role::Write);
        let fault = Error::new(ErrorKind::TableNotFound, "no such table");
        let over =
            |id: &'static str, error| Over { id, sql: "x", route: "none", began: Instant::now(), error };
        queries.note(&ana, &over("q-1", Some(&fault)));
        queries.note(&ana, &over("q-1", None));
        queries.note(&ana, &over("q-2", None));
        // A query tells of itself.
        let running = queries.begin(&ana, "q-3", "select 1", "direct");
        queries.note(&ana, &over("q-3", None));
        assert_eq!(queries.get(&ana, "q-3").unwrap().state(), QueryState::Queued);
        drop(running);
        let states: Vec<_> =
            queries.overview(&ana).into_iter().map(|record| (record.id, record.state)).collect();
        let of = |id: &str, state| (id.to_owned(), state);
        assert_eq!(
            states,
            [
                of("q-3", QueryState::Cancelled),
                of("q-2", QueryState::Finished),
                of("q-1", QueryState::Failed)
            ]
        );
        let record = queries.get(&ana, "q-1").unwrap().record();
        assert_eq!((record.error.unwrap().code.as_str(), record.user.as_str()), ("TABLE_NOT_FOUND", "ana"));
        assert!(queries.overview(&Caller::new("bob", Role::Write)).is_empty());
        let outcomes = &queries.outcomes;
        let counted = [&outcomes.finished, &outcomes.failed, &outcomes.metadata];
        assert!(counted.iter().all(|count| count.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn row_49_the_history_is_bounded() {
        let queries = Arc::new(Queries::default());
        for number in 0..KEPT.get() + 5 {
            queries.begin(&Caller::anyone(), &format!("q-{number}"), "select 1", "direct").finish(&Ok(()));
        }
        let overview = queries.overview(&Caller::anyone());
        assert_eq!(overview.len(), KEPT.get());
        assert_eq!(overview[0].id, format!("q-{}", KEPT.get() + 4));
    }

    #[test]
    fn row_48_what_others_run_pushes_out_nothing_of_a_namespace() {
        let queries = Arc::new(Queries::default());
        let (ana, loud) = (Caller::new("ana", Role::Read), Caller::new("ana", Role::Read));
        let loud = loud.of(Namespace::parse("acme").unwrap());
        queries.begin(&ana, "q-1", "select 1", "direct").finish(&Ok(()));
        for number in 0..KEPT.get() + 300 {
            queries.begin(&loud, &format!("loud-{number}"), "select 1", "direct").finish(&Ok(()));
        }
        assert_eq!(queries.overview(&ana)[0].id, "q-1");
        assert!(queries.get(&ana, "q-1").is_some() && queries.get(&loud, "q-1").is_none());
        assert_eq!(queries.overview(&loud).len(), KEPT.get());
    }
}
