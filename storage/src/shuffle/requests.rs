//! What was asked of the store, because it is billed by it.

use std::num::NonZeroUsize;

use lru::LruCache;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Requests since the store was opened. An attempt that is repeated counts as often as it is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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

impl std::iter::Sum for Requests {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self {
            puts: a.puts + b.puts,
            gets: a.gets + b.gets,
            lists: a.lists + b.lists,
            deletes: a.deletes + b.deletes,
            put_bytes: a.put_bytes + b.put_bytes,
            get_bytes: a.get_bytes + b.get_bytes,
            retries: a.retries + b.retries,
        })
    }
}

/// Queries whose requests are kept apart.
const RUNS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(511);

#[derive(Debug)]
pub(super) struct Counters {
    all: Mutex<Requests>,
    runs: Mutex<LruCache<String, Requests>>,
}

impl Default for Counters {
    fn default() -> Self {
        Self { all: Mutex::default(), runs: Mutex::new(LruCache::new(RUNS)) }
    }
}

impl Counters {
    /// Counts a request for the object `name`, which begins with its query.
    pub(super) fn count(&self, name: &str, count: impl Fn(&mut Requests)) {
        count(&mut self.all.lock());
        let run = name.split('/').next().unwrap_or_default();
        let mut runs = self.runs.lock();
        if runs.get(run).is_none() {
            runs.put(run.to_owned(), Requests::default());
        }
        if let Some(requests) = runs.get_mut(run) {
            count(requests);
        }
    }

    pub(super) fn snapshot(&self) -> Requests {
        *self.all.lock()
    }

    pub(super) fn of_run(&self, run: &str) -> Requests {
        self.runs.lock().peek(run).copied().unwrap_or_default()
    }
}
