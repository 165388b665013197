//! Memory pools: one for the process, and inside it one for each query that has a limit of its own.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, human_readable_size,
};
use parking_lot::Mutex;
use polarway_common::ByteSize;

/// A process with less memory than this for its queries spends time to keep what it holds small.
pub const SMALL: ByteSize = ByteSize::gib(1);

/// The part of a pool that operators which can spill leave to those that cannot: a sort that has spilled everything
/// still needs memory to merge its files, and would fail if other sorts had taken the rest.
const LEFT_BY_SPILLERS: usize = 8;

/// Whether the consumer is left out of the account. Repartitioning spills when it is refused memory, and in DataFusion 55
/// it waits for ever once two of its inputs have spilled at the same time
/// (<https://github.com/apache/datafusion/issues/24883>). What it holds is little as long as its readers keep pace, and it
/// counts slices as the whole that they were cut from. Its share stays with the others' merges: a sort needs memory beyond
/// its own share to merge what it holds before it spills.
fn is_exempt(consumer: &MemoryConsumer) -> bool {
    consumer.can_spill() && consumer.name().starts_with("RepartitionExec[")
}

/// Joins that keep one side in memory put its batches together in one piece and count the batches only, though both are
/// held while the copy is made.
const COPIED: [&str; 4] = ["HashJoinInput", "NestedLoopJoinLoad", "CrossJoinExec", "PiecewiseMergeJoinInput"];
/// No batch is so large: what a join asks for beyond it is its hash table, which is not copied.
const TABLE: usize = 16 << 20;

/// What will be held uncounted beside `additional` bytes.
fn copy_of(consumer: &MemoryConsumer, additional: usize) -> usize {
    let copied = !consumer.can_spill() && COPIED.iter().any(|name| consumer.name().starts_with(name));
    if copied && additional <= TABLE { additional } else { 0 }
}

/// Operators that can spill get equal shares of what the others leave, as in DataFusion's `FairSpillPool`, less an
/// eighth of the pool. What is taken here is taken from the parent too.
#[derive(Debug)]
pub struct BoundedPool {
    parent: Option<Arc<dyn MemoryPool>>,
    limit: usize,
    /// What repartitioning may hold before it is refused more; `None` where it must not be refused.
    repartition_limit: Option<usize>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    spillers: usize,
    spillable: usize,
    unspillable: usize,
    /// Held by repartitioning, outside the account.
    repartition: usize,
    /// What each join copies of what it holds, by the consumer's id; part of `unspillable`.
    copies: HashMap<usize, usize>,
    peak: usize,
}

impl State {
    fn held(&self) -> usize {
        self.spillable + self.unspillable
    }

    fn side(&mut self, reservation: &MemoryReservation) -> &mut usize {
        if reservation.consumer().can_spill() { &mut self.spillable } else { &mut self.unspillable }
    }

    fn add(&mut self, reservation: &MemoryReservation, bytes: usize) {
        let copy = copy_of(reservation.consumer(), bytes);
        if copy > 0 {
            *self.copies.entry(reservation.consumer().id()).or_default() += copy;
        }
        *self.side(reservation) += bytes + copy;
    }

    /// Takes back an [`add`](Self::add) that the parent refused.
    fn undo(&mut self, reservation: &MemoryReservation, bytes: usize) {
        let copy = copy_of(reservation.consumer(), bytes);
        if let Some(copies) = self.copies.get_mut(&reservation.consumer().id()) {
            *copies = copies.saturating_sub(copy);
        }
        self.take_off(reservation, bytes + copy);
    }

    fn forget_copies(&mut self, consumer: &MemoryConsumer) {
        let copies = self.copies.remove(&consumer.id()).unwrap_or_default();
        self.unspillable = self.unspillable.saturating_sub(copies);
    }

    fn note_peak(&mut self) {
        self.peak = self.peak.max(self.held());
    }

    fn take_off(&mut self, reservation: &MemoryReservation, bytes: usize) {
        let side = self.side(reservation);
        *side = side.saturating_sub(bytes);
    }

    /// Whether the reservation may hold so many bytes more.
    fn admits(&self, reservation: &MemoryReservation, additional: usize, limit: usize) -> bool {
        if reservation.consumer().can_spill() {
            let shared = (limit - limit / LEFT_BY_SPILLERS).saturating_sub(self.unspillable);
            reservation.size().saturating_add(additional) <= shared / self.spillers.max(1)
        } else {
            let copy = copy_of(reservation.consumer(), additional);
            self.held().saturating_add(additional).saturating_add(copy) <= limit
        }
    }
}

impl BoundedPool {
    /// The pool of a process; `limit` in bytes.
    pub fn of_process(limit: usize) -> Self {
        Self { parent: None, limit, repartition_limit: None, state: Mutex::default() }
    }

    /// The pool of one query inside `parent`; `limit` in bytes.
    pub fn of_query(parent: Arc<dyn MemoryPool>, limit: usize) -> Self {
        Self { parent: Some(parent), ..Self::of_process(limit) }
    }

    /// For a plan whose repartitions have one input each, which may spill: they hold at most `limit` bytes.
    #[must_use]
    pub fn with_repartition_limit(self, limit: usize) -> Self {
        Self { repartition_limit: Some(limit), ..self }
    }

    /// The most bytes that were held at once.
    pub fn peak(&self) -> usize {
        self.state.lock().peak
    }

    fn whose(&self) -> &'static str {
        if self.parent.is_some() { "the query's memory limit" } else { "the memory limit of this process" }
    }
}

impl fmt::Display for BoundedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(limit: {})", self.name(), human_readable_size(self.limit))
    }
}

impl MemoryPool for BoundedPool {
    fn name(&self) -> &str {
        if self.parent.is_some() { "query" } else { "process" }
    }

    fn register(&self, consumer: &MemoryConsumer) {
        if consumer.can_spill() {
            self.state.lock().spillers += 1;
        }
        if let Some(parent) = &self.parent {
            parent.register(consumer);
        }
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        let mut state = self.state.lock();
        if consumer.can_spill() {
            state.spillers = state.spillers.saturating_sub(1);
        }
        state.forget_copies(consumer);
        drop(state);
        if let Some(parent) = &self.parent {
            parent.unregister(consumer);
        }
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        if is_exempt(reservation.consumer()) {
            self.state.lock().repartition += additional;
            return;
        }
        if let Some(parent) = &self.parent {
            parent.grow(reservation, additional);
        }
        let mut state = self.state.lock();
        state.add(reservation, additional);
        state.note_peak();
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        if is_exempt(reservation.consumer()) {
            let mut state = self.state.lock();
            state.repartition = state.repartition.saturating_sub(shrink);
            return;
        }
        if let Some(parent) = &self.parent {
            parent.shrink(reservation, shrink);
        }
        self.state.lock().take_off(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        if is_exempt(reservation.consumer()) {
            let mut state = self.state.lock();
            let wanted = state.repartition.saturating_add(additional);
            if self.repartition_limit.is_some_and(|limit| wanted > limit) {
                return Err(DataFusionError::ResourcesExhausted("repartitioning holds its share".to_owned()));
            }
            state.repartition = wanted;
            return Ok(());
        }
        {
            // In one step: partitions that ask at the same moment would else pass the limit together.
            let mut state = self.state.lock();
            if !state.admits(reservation, additional, self.limit) {
                return Err(DataFusionError::ResourcesExhausted(format!(
                    "{} of {} is used up: {} asked for {} more while {} were held, {} of them by it",
                    self.whose(),
                    human_readable_size(self.limit),
                    reservation.consumer().name(),
                    human_readable_size(additional),
                    human_readable_size(state.held()),
                    human_readable_size(reservation.size()),
                )));
            }
            state.add(reservation, additional);
        }
        if let Some(parent) = &self.parent
            && let Err(error) = parent.try_grow(reservation, additional)
        {
            self.state.lock().undo(reservation, additional);
            return Err(error);
        }
        self.state.lock().note_peak();
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.state.lock().held()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::{GreedyMemoryPool, UnboundedMemoryPool};
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    #[test]
    fn a_query_cannot_pass_its_limit_nor_the_parents() {
        let parent: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(100));
        let first: Arc<dyn MemoryPool> = Arc::new(BoundedPool::of_query(Arc::clone(&parent), 60));
        let second: Arc<dyn MemoryPool> = Arc::new(BoundedPool::of_query(Arc::clone(&parent), 60));
        let one = MemoryConsumer::new("one").register(&first);
        let two = MemoryConsumer::new("two").register(&second);
        assert!(one.try_grow(60).is_ok());
        assert!(one.try_grow(1).is_err());
        assert!(two.try_grow(41).is_err());
        assert!(two.try_grow(40).is_ok());
        drop(one);
        assert_eq!(parent.reserved(), 40);
        assert!(two.try_grow(20).is_ok());
        assert_eq!(second.reserved(), 60);
    }

    #[test]
    fn what_the_parent_refuses_is_not_counted() {
        let parent: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(10));
        let query = Arc::new(BoundedPool::of_query(parent, 100));
        let pool: Arc<dyn MemoryPool> = query.clone();
        let held = MemoryConsumer::new("one").register(&pool);
        assert!(held.try_grow(11).is_err());
        assert_eq!((query.reserved(), query.peak()), (0, 0));
    }

    #[test]
    fn threads_cannot_pass_the_limit_together() {
        let query = Arc::new(BoundedPool::of_query(Arc::new(UnboundedMemoryPool::default()), 100));
        let pool: Arc<dyn MemoryPool> = query.clone();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let held = MemoryConsumer::new("partition").register(&pool);
                    for _ in 0..20_000 {
                        if held.try_grow(60).is_ok() {
                            held.shrink(60);
                        }
                    }
                });
            }
        });
        assert_eq!((query.reserved(), query.peak()), (0, 60));
    }

    #[test]
    fn what_cannot_spill_finds_memory_that_spillers_left() {
        let pool: Arc<dyn MemoryPool> = Arc::new(BoundedPool::of_process(800));
        let sorter = |name: &str| MemoryConsumer::new(name).with_can_spill(true).register(&pool);
        let (one, two) = (sorter("one"), sorter("two"));
        assert!(one.try_grow(350).is_ok() && one.try_grow(1).is_err());
        assert!(two.try_grow(350).is_ok());
        let merge = MemoryConsumer::new("merge").register(&pool);
        assert!(merge.try_grow(100).is_ok() && merge.try_grow(1).is_err());
        drop((one, merge));
        assert!(two.try_grow(350).is_ok() && two.try_grow(1).is_err());
        assert_eq!(pool.reserved(), 700);
    }

    #[test]
    fn a_join_is_charged_for_the_copy_of_its_batches_but_not_of_its_table() {
        let process = Arc::new(BoundedPool::of_process(100 << 20));
        let parent: Arc<dyn MemoryPool> = process.clone();
        let query = Arc::new(BoundedPool::of_query(parent, 90 << 20));
        let pool: Arc<dyn MemoryPool> = query.clone();
        let build = MemoryConsumer::new("HashJoinInput[0]").register(&pool);
        build.try_grow(10 << 20).unwrap();
        build.try_grow(30 << 20).unwrap();
        assert_eq!((query.reserved(), process.reserved()), (50 << 20, 50 << 20));
        let sort = MemoryConsumer::new("ExternalSorterMerge").register(&pool);
        sort.try_grow(10 << 20).unwrap();
        assert_eq!(query.reserved(), 60 << 20);
        assert!(build.try_grow(15 << 20).is_ok(), "fifteen and its copy are just within");
        assert!(build.try_grow(1 << 20).is_err());
        drop(build);
        assert_eq!((query.reserved(), process.reserved()), (10 << 20, 10 << 20));
    }

    #[test]
    fn a_copy_that_the_parent_refuses_is_not_counted() {
        let parent: Arc<dyn MemoryPool> = Arc::new(BoundedPool::of_process(15));
        let query = Arc::new(BoundedPool::of_query(Arc::clone(&parent), 100));
        let pool: Arc<dyn MemoryPool> = query.clone();
        let build = MemoryConsumer::new("HashJoinInput").register(&pool);
        assert!(build.try_grow(8).is_err());
        assert_eq!((query.reserved(), parent.reserved()), (0, 0));
        assert!(build.try_grow(7).is_ok());
        drop(build);
        assert_eq!((query.reserved(), parent.reserved()), (0, 0));
    }

    /// The names are DataFusion's: a rename would turn the charge off unseen.
    #[tokio::test]
    async fn a_hash_join_is_seen_by_its_name() {
        let config = SessionConfig::new().with_target_partitions(1);
        let pool = Arc::new(BoundedPool::of_process(1 << 30));
        let env = RuntimeEnvBuilder::new().with_memory_pool(pool.clone()).build_arc().unwrap();
        let session = SessionContext::new_with_config_rt(config, env);
        // The build side is 1,000,000 numbers of eight bytes; its table takes more than that by itself.
        let sql = "SELECT count(*) FROM (SELECT value * 7 AS k FROM generate_series(1, 1000000)) a
             JOIN (SELECT value * 7 AS k, value FROM generate_series(1, 1000001)) b ON a.k = b.k";
        let plan = session.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        let rows = datafusion::physical_plan::collect(Arc::clone(&plan), session.task_ctx()).await.unwrap();
        assert_eq!(rows.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1);
        let mut nodes = vec![plan];
        let counted = loop {
            let node = nodes.pop().expect("no hash join in the plan");
            if node.name() == "HashJoinExec" {
                let metrics = node.metrics().unwrap();
                break metrics.sum_by_name("build_mem_used").unwrap().as_usize();
            }
            nodes.extend(node.children().into_iter().cloned());
        };
        assert!(pool.peak() >= counted + 8_000_000, "{} of {counted}", pool.peak());
    }

    /// With DataFusion's own pool one of a few of these never returns. When an upgrade has mended that, the exemption can
    /// go.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn repartitioning_under_a_limit_never_waits_for_itself() {
        let config = SessionConfig::new().with_target_partitions(2).with_batch_size(64);
        let pool = Arc::new(BoundedPool::of_process(2 << 20));
        let env = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().unwrap();
        let session = SessionContext::new_with_config_rt(config, env);
        let make = "CREATE TABLE t AS SELECT v % 13 AS g, md5(CAST(v % 337 AS VARCHAR)) AS id
             FROM generate_series(1, 40000) AS s(v)";
        session.sql(make).await.unwrap().collect().await.unwrap();
        for _ in 0..10 {
            let query = session.sql("SELECT g, count(DISTINCT id) FROM t GROUP BY g").await.unwrap();
            let rows = tokio::time::timeout(std::time::Duration::from_secs(60), query.collect())
                .await
                .expect("the query waits for itself")
                .unwrap();
            assert_eq!(rows.iter().map(|batch| batch.num_rows()).sum::<usize>(), 13);
        }
    }
}
