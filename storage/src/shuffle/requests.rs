//! What was asked of the store, because it is billed by it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Requests since the store was opened. An attempt that is repeated counts as often as it is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Requests {
    pub puts: u64,
    /// Reads and heads. One read is several requests where its ranges are far apart.
    pub gets: u64,
    /// Listings, of which each is a request per 1,000 objects or so.
    pub lists: u64,
    /// Objects deleted. Stores that can delete several in one request.
    pub deletes: u64,
    /// Bytes of successful puts.
    pub put_bytes: u64,
    /// Bytes of successful reads.
    pub get_bytes: u64,
    /// Attempts after the first.
    pub retries: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) puts: AtomicU64,
    pub(super) gets: AtomicU64,
    pub(super) lists: AtomicU64,
    pub(super) deletes: AtomicU64,
    pub(super) put_bytes: AtomicU64,
    pub(super) get_bytes: AtomicU64,
    pub(super) retries: AtomicU64,
}

impl Counters {
    pub(super) fn snapshot(&self) -> Requests {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Requests {
            puts: of(&self.puts),
            gets: of(&self.gets),
            lists: of(&self.lists),
            deletes: of(&self.deletes),
            put_bytes: of(&self.put_bytes),
            get_bytes: of(&self.get_bytes),
            retries: of(&self.retries),
        }
    }
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
