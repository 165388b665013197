//! The metadata store of a single process: redb on disk (or in memory), read from a copy in memory.
//!
//! A transaction takes four steps, one transaction at a time: decide against the copy, commit to redb (on a
//! thread that may block), change the copy, wake the watchers. So a reader sees nothing that is not durable, and
//! a transaction whose caller went away is still finished. The latest events are kept in memory for watchers,
//! within bounds; a watcher that falls out of them, or resumes from before the process started, lists again.
//!
//! No task ends the leases whose time is over: every call does so before it begins, and every watch that waits wakes
//! up for the next one, so that whoever could tell the difference has made it. Leases do not outlive the process.
//! Which keys went with one is on disk, and these are deleted when the store is opened again.

mod disk;
mod leases;
mod mirror;
mod watcher;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinError, spawn_blocking};

use self::disk::Disk;
use self::leases::Leases;
use self::mirror::{Changes, Decision, Mirror};
use crate::error::{MetaStoreError, Result};
use crate::lease::{Lease, LeaseId};
use crate::store::{MetaStore, Snapshot, Versioned, WatchStream};
use crate::txn::{Txn, TxnOutcome};

/// How much of the past is kept for watchers. The last transaction is kept whatever its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimit {
    pub events: usize,
    /// Of keys and values.
    pub bytes: usize,
}

impl Default for HistoryLimit {
    fn default() -> Self {
        Self { events: 4096, bytes: 16 << 20 }
    }
}

/// A [`MetaStore`] within this process. Dropping it closes the file and ends its watches.
#[derive(Debug)]
pub struct EmbeddedMetaStore {
    place: String,
    writer: Arc<Mutex<Writer>>,
    mirror: Arc<RwLock<Mirror>>,
    commits: watch::Receiver<u64>,
}

/// What one transaction at a time has to itself.
#[derive(Debug)]
struct Writer {
    disk: Disk,
    mirror: Arc<RwLock<Mirror>>,
    /// The revision, sent after each change.
    commits: watch::Sender<u64>,
}

impl EmbeddedMetaStore {
    /// Opens the file `path`, or creates it and the directories above it.
    ///
    /// # Errors
    /// [`MetaStoreError::Held`] if another process has it open, [`MetaStoreError::Corrupt`] if it is no metadata
    /// store, [`MetaStoreError::Io`] if it cannot be read or written.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, HistoryLimit::default()).await
    }

    /// As [`EmbeddedMetaStore::open`], with other bounds for the events that are kept.
    pub async fn open_with(path: impl AsRef<Path>, history: HistoryLimit) -> Result<Self> {
        let path: PathBuf = path.as_ref().to_owned();
        let place = path.display().to_string();
        spawn_blocking(move || Self::over(Disk::open(&path)?, history)).await.map_err(|error| match error
            .is_panic()
        {
            // The engine panics on some damaged files.
            true => MetaStoreError::Corrupt { place, detail: error.to_string() },
            false => unfinished(&place, error),
        })?
    }

    /// A store that is gone with the process.
    pub fn in_memory() -> Result<Self> {
        Self::in_memory_with(HistoryLimit::default())
    }

    /// As [`EmbeddedMetaStore::in_memory`], with other bounds for the events that are kept.
    pub fn in_memory_with(history: HistoryLimit) -> Result<Self> {
        Self::over(Disk::in_memory()?, history)
    }

    fn over(disk: Disk, history: HistoryLimit) -> Result<Self> {
        let (revision, entries) = disk.load()?;
        let leases = Leases::new(disk.opened());
        let mirror = Arc::new(RwLock::new(Mirror::new(revision, entries, history, leases)));
        let (sender, commits) = watch::channel(revision);
        let place = disk.place().to_owned();
        let writer = Writer { disk, mirror: Arc::clone(&mirror), commits: sender };
        Ok(Self { place, writer: Arc::new(Mutex::new(writer)), mirror, commits })
    }

    /// What there is now: leases whose time is over have been ended.
    async fn read(&self) -> Result<RwLockReadGuard<'_, Mirror>> {
        settle(&self.writer, &self.mirror).await?;
        Ok(mirror::read(&self.mirror))
    }

    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Writer) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let writer = Arc::clone(&self.writer).lock_owned().await;
        spawn_blocking(move || change(&writer)).await.map_err(|error| unfinished(&self.place, error))?
    }
}

/// Ends the leases whose time is over.
async fn settle(writer: &Arc<Mutex<Writer>>, mirror: &RwLock<Mirror>) -> Result<()> {
    if mirror::read(mirror).leases.overdue(Instant::now()).is_none() {
        return Ok(());
    }
    let writer = Arc::clone(writer).lock_owned().await;
    let place = writer.disk.place().to_owned();
    let ended = spawn_blocking(move || writer.end_overdue(Instant::now()));
    ended.await.map_err(|error| unfinished(&place, error))?
}

impl Writer {
    fn perform(&self, txn: Txn) -> Result<TxnOutcome> {
        let now = Instant::now();
        self.end_overdue(now)?;
        // Nobody else changes the mirror between this decision and `apply`: the writer is held exclusively.
        let decision = mirror::read(&self.mirror).decide(txn, now);
        match decision {
            Decision::Conflict { key } => Ok(TxnOutcome::Conflict { key }),
            Decision::LeaseEnded(lease) => Err(MetaStoreError::LeaseNotFound { lease }),
            Decision::Unchanged { revision } => Ok(TxnOutcome::Committed { revision }),
            Decision::Change(changes) => Ok(TxnOutcome::Committed { revision: self.commit(changes)? }),
        }
    }

    fn commit(&self, changes: Changes) -> Result<u64> {
        self.disk.commit(&changes)?;
        let revision = changes.revision;
        mirror::write(&self.mirror).apply(changes);
        self.commits.send_replace(revision);
        Ok(revision)
    }

    fn end_overdue(&self, now: Instant) -> Result<()> {
        loop {
            let Some(lease) = mirror::read(&self.mirror).leases.overdue(now) else { return Ok(()) };
            self.end(lease)?;
        }
    }

    /// The lease is over first, so that nobody keeps it alive while its keys are deleted.
    fn end(&self, lease: LeaseId) -> Result<()> {
        let deletion = {
            let mut mirror = mirror::write(&self.mirror);
            let keys = mirror.leases.begin_end(lease);
            mirror.deletion(keys)
        };
        if let Some(changes) = deletion {
            self.commit(changes)?;
        }
        mirror::write(&self.mirror).leases.end(lease);
        Ok(())
    }
}

#[async_trait]
impl MetaStore for EmbeddedMetaStore {
    async fn get(&self, key: &str) -> Result<Option<Versioned>> {
        Ok(self.read().await?.get(key))
    }

    async fn list(&self, prefix: &str) -> Result<Snapshot> {
        Ok(self.read().await?.list(prefix))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        txn.check()?;
        self.write(|writer| writer.perform(txn)).await
    }

    async fn watch(&self, prefix: &str, after_revision: u64) -> Result<WatchStream> {
        watcher::watch(&self.writer, Arc::clone(&self.mirror), self.commits.clone(), prefix, after_revision)
    }

    async fn revision(&self) -> Result<u64> {
        Ok(self.read().await?.revision())
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease> {
        Ok(mirror::write(&self.mirror).leases.grant(ttl, Instant::now()))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<()> {
        settle(&self.writer, &self.mirror).await?;
        match mirror::write(&self.mirror).leases.keep_alive(lease, Instant::now()) {
            true => Ok(()),
            false => Err(MetaStoreError::LeaseNotFound { lease }),
        }
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.write(move |writer| writer.end(lease)).await
    }
}

fn unfinished(place: &str, error: JoinError) -> MetaStoreError {
    let place = place.to_owned();
    if error.is_cancelled() {
        MetaStoreError::Closed { place }
    } else {
        MetaStoreError::Engine { place, detail: format!("a call did not return: {error}") }
    }
}
