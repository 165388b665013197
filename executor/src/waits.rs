//! How long tasks wait for their slots, for `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Waits for slots since the process started.
#[derive(Debug, Default)]
pub struct SlotWaits {
    /// Tasks that wait now.
    pub waiting: AtomicU64,
    /// Tasks that had to wait.
    pub waits: AtomicU64,
    /// What they waited together, those that were cancelled meanwhile among them.
    pub micros: AtomicU64,
}

/// A task that waits, until it is dropped.
struct Waiting<'a> {
    waits: &'a SlotWaits,
    since: Instant,
}

impl<'a> Waiting<'a> {
    fn begin(waits: &'a SlotWaits) -> Self {
        waits.waits.fetch_add(1, Ordering::Relaxed);
        waits.waiting.fetch_add(1, Ordering::Relaxed);
        Self { waits, since: Instant::now() }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let micros = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.waits.micros.fetch_add(micros, Ordering::Relaxed);
        self.waits.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl SlotWaits {
    /// Takes `wanted` slots, once there are so many; none if there never will be any more.
    pub async fn take(&self, slots: &Arc<Semaphore>, wanted: u32) -> Option<OwnedSemaphorePermit> {
        // It keeps its place in the queue from the first look on.
        let mut taking = Box::pin(Arc::clone(slots).acquire_many_owned(wanted));
        if let Some(taken) = taking.as_mut().now_or_never() {
            return taken.ok();
        }
        let _waiting = Waiting::begin(self);
        taking.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn row_48_only_tasks_that_wait_are_counted() {
        let (waits, slots) = (Arc::new(SlotWaits::default()), Arc::new(Semaphore::new(2)));
        let counted = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let first = waits.take(&slots, 2).await.unwrap();
        assert_eq!((counted(&waits.waits), counted(&waits.micros)), (0, 0));
        let begin = || {
            let (waits, slots) = (Arc::clone(&waits), Arc::clone(&slots));
            tokio::spawn(async move { waits.take(&slots, 1).await.is_some() })
        };
        let (second, cancelled) = (begin(), begin());
        while counted(&waits.waiting) < 2 {
            tokio::task::yield_now().await;
        }
        cancelled.abort();
        assert!(cancelled.await.unwrap_err().is_cancelled());
        std::thread::sleep(std::time::Duration::from_millis(1));
        drop(first);
        assert!(second.await.unwrap());
        assert_eq!((counted(&waits.waits), counted(&waits.waiting)), (2, 0));
        assert!(counted(&waits.micros) > 0);
    }
}
