//! The history of this process: what of its own is to be written down, and what others have written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use polarway_common::{Caller, Namespace};

use super::archive::{Archive, Chunk, Name};
use super::entry::{self, Entry};
use super::queue::Queue;
use super::record::QueryRecord;
use crate::queries::Query;

/// See the module's page.
#[derive(Debug)]
pub struct Past {
    most: usize,
    /// This process, by its incarnation.
    us: String,
    queue: Queue<Arc<Query>>,
    archive: Mutex<Archive>,
    /// Queries that were written down, and those that never will be.
    pub written: AtomicU64,
    pub dropped: AtomicU64,
}

impl Past {
    /// The last `most` queries of each namespace on all schedulers are kept; zero for none. More than that never wait to be
    /// written: they would be deleted with it.
    pub fn new(most: usize, incarnation: &str) -> Self {
        Self {
            most,
            us: incarnation.to_owned(),
            queue: Queue::new(most),
            archive: Mutex::default(),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    pub fn most(&self) -> usize {
        self.most
    }

    /// Notes a query that has ended.
    pub fn ended(&self, query: &Arc<Query>) {
        if self.most > 0 && self.queue.put(&query.namespace, Arc::clone(query)).is_some() {
            self.lost(1);
        }
    }

    /// Queries of other processes that `caller` may see, latest first, without their stages.
    pub fn last(&self, caller: &Caller) -> Vec<QueryRecord> {
        let entries = self.archive.lock().last(caller, self.most);
        entries.iter().map(|entry| entry.summary()).collect()
    }

    /// A query of another process, unless it is somebody else's.
    pub fn get(&self, caller: &Caller, id: &str) -> Option<Arc<Entry>> {
        self.archive.lock().get(caller, id)
    }

    pub(super) fn us(&self) -> &str {
        &self.us
    }

    /// Namespaces of which queries wait to be written, at most so many, beginning after `last`.
    pub(super) fn whose(&self, last: &Namespace, most: usize) -> Vec<Namespace> {
        self.queue.whose(last, most)
    }

    /// The query of a namespace that has waited longest to be written.
    pub(super) fn next(&self, of: &Namespace) -> Option<Arc<Query>> {
        self.queue.take(of)
    }

    pub(super) fn superfluous(&self, next: &Name, count: usize, at_once: usize) -> Vec<Name> {
        self.archive.lock().superfluous(self.most, next, count, at_once)
    }

    /// Notes that queries of ours are written, so many under each name, and others deleted.
    pub(super) fn wrote(&self, written: Vec<(Name, usize)>, deleted: &[Name]) {
        let all: usize = written.iter().map(|(_, count)| count).sum();
        let mut archive = self.archive.lock();
        deleted.iter().for_each(|name| archive.remove(name));
        for (name, count) in written {
            archive.put(name, Chunk::new(count, vec![]));
        }
        drop(archive);
        self.written.fetch_add(all as u64, Ordering::Relaxed);
    }

    pub(super) fn lost(&self, count: usize) {
        self.dropped.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// What is stored under a key. Of ours only the number counts: all else of them is in memory already.
    pub(super) fn read(&self, key: &str, text: &[u8]) -> Option<(Name, Chunk)> {
        let Some(name) = Name::of(key) else {
            tracing::warn!(key, "a key of no history is left out");
            return None;
        };
        let count = entry::count(text);
        if name.scheduler == self.us {
            return Some((name, Chunk::new(count, vec![])));
        }
        let (entries, fault) = entry::read(text);
        if let Some(error) = fault {
            let left_out = count.saturating_sub(entries.len());
            tracing::warn!(key, left_out, %error, "queries of the history cannot be read and are left out");
        }
        Some((name, Chunk::new(count, entries)))
    }

    pub(super) fn learn_all(&self, chunks: Vec<(Name, Chunk)>) {
        self.archive.lock().reset(chunks);
    }

    pub(super) fn learn(&self, name: Name, chunk: Chunk) {
        self.archive.lock().put(name, chunk);
    }

    pub(super) fn forget(&self, name: &Name) {
        self.archive.lock().remove(name);
    }
}
