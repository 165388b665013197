//! A memory pool for one query inside the pool of the process.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, human_readable_size,
};

/// Counts what one query holds, refuses growth past the query's limit, and passes everything on to the parent.
#[derive(Debug)]
pub struct QueryPool {
    parent: Arc<dyn MemoryPool>,
    limit: usize,
    used: AtomicUsize,
    peak: AtomicUsize,
}

impl QueryPool {
    /// `limit` in bytes.
    pub fn new(parent: Arc<dyn MemoryPool>, limit: usize) -> Self {
        Self { parent, limit, used: AtomicUsize::new(0), peak: AtomicUsize::new(0) }
    }

    /// The most bytes that were held at once.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query(limit: {})", human_readable_size(self.limit))
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.parent.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.parent.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.parent.grow(reservation, additional);
        let before = self.used.fetch_add(additional, Ordering::Relaxed);
        self.peak.fetch_max(before + additional, Ordering::Relaxed);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.parent.shrink(reservation, shrink);
        self.used.fetch_sub(shrink, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        // In one step: partitions that ask at the same moment would else pass the limit together.
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(additional).filter(|now| *now <= self.limit)
        });
        let before = taken.map_err(|used| {
            DataFusionError::ResourcesExhausted(format!(
                "the query's memory limit of {} is used up: {} asked for {} more while {} were held",
                human_readable_size(self.limit),
                reservation.consumer().name(),
                human_readable_size(additional),
                human_readable_size(used),
            ))
        })?;
        if let Err(error) = self.parent.try_grow(reservation, additional) {
            self.used.fetch_sub(additional, Ordering::Relaxed);
            return Err(error);
        }
        self.peak.fetch_max(before + additional, Ordering::Relaxed);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::{GreedyMemoryPool, UnboundedMemoryPool};

    use super::*;

    #[test]
    fn a_query_cannot_pass_its_limit_nor_the_parents() {
        let parent: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(100));
        let first: Arc<dyn MemoryPool> = Arc::new(QueryPool::new(Arc::clone(&parent), 60));
        let second: Arc<dyn MemoryPool> = Arc::new(QueryPool::new(Arc::clone(&parent), 60));
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
        let query = Arc::new(QueryPool::new(parent, 100));
        let pool: Arc<dyn MemoryPool> = query.clone();
        let held = MemoryConsumer::new("one").register(&pool);
        assert!(held.try_grow(11).is_err());
        assert_eq!((query.reserved(), query.peak()), (0, 0));
    }

    #[test]
    fn threads_cannot_pass_the_limit_together() {
        let query = Arc::new(QueryPool::new(Arc::new(UnboundedMemoryPool::default()), 100));
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
}
