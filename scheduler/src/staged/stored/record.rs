//! What the metadata store has of a query that runs as jobs, and who may change it.
//!
//! A record is written before the first job of its query is submitted and before each further one. Every write has the
//! revision of the one before as its precondition: a scheduler whose query was taken over finds that out when it writes
//! next, and changes nothing any more.

use std::collections::HashSet;
use std::sync::Arc;

use polarway_common::{Error, ErrorKind};
use polarway_engine::settings::Ground;
use polarway_metastore::{Expect, Key, MetaStore, MetaStoreError, Txn, TxnOutcome, Versioned};
use serde::{Deserialize, Serialize};

use super::ours::Having;

/// How often a record is sent whose writes get no answer.
const WRITES: u32 = 3;

/// See the module's page. Its presence lets executors say that they have stored something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// The incarnation of the scheduler that runs it.
    pub owner: String,
    /// The attempt that was made last; counted from one.
    pub attempt: u32,
    /// Task slots and whether there was one host, when the first attempt was planned: of other plans no output could be
    /// taken over.
    pub slots: u32,
    pub one_host: bool,
    /// When the first attempt was made, in milliseconds since 1970.
    pub since: u64,
}

impl JobRecord {
    pub fn ground(&self, spilling: bool) -> Ground {
        Ground { slots: self.slots, one_host: self.one_host, spilling }
    }
}

/// A run that this process has, or is about to have.
#[derive(Debug, Clone)]
pub struct Claim {
    pub run: String,
    /// What was last written of it, by whomever.
    pub last: Option<JobRecord>,
    /// When that was.
    revision: Option<u64>,
    /// The incarnations of the executors that there were when the run began, or was taken over.
    pub(super) executors: HashSet<String>,
    /// As long as there is a claim by a process, the run is that process's.
    pub(super) having: Option<Arc<Having>>,
}

impl Claim {
    /// A run that nobody has begun.
    pub fn of_new(run: String) -> Self {
        Self { run, last: None, revision: None, executors: HashSet::new(), having: None }
    }

    /// A run that somebody has begun.
    pub fn of_found(run: String, found: &Versioned) -> Option<Self> {
        let last = serde_json::from_slice(&found.value).ok()?;
        let revision = Some(found.revision);
        Some(Self { run, last: Some(last), revision, executors: HashSet::new(), having: None })
    }

    /// Writes the record, and so makes the run this process's, unless somebody else has written it meanwhile. A write whose
    /// answer is lost is looked for, and sent again if it is not there.
    ///
    /// # Errors
    /// `Cancelled`: somebody has. Those of the metadata store.
    pub async fn write(&mut self, meta: &dyn MetaStore, record: JobRecord) -> Result<(), Error> {
        let value = serde_json::to_vec(&record)
            .map_err(|error| Error::internal(format!("a job record cannot be written: {error}")))?;
        let expect = self.revision.map_or(Expect::Absent, Expect::Revision);
        let txn = Txn::new().expect(key(&self.run), expect).put(key(&self.run), value.clone());
        let mut unknown = None;
        for _ in 0..WRITES {
            let revision = match meta.txn(txn.clone()).await {
                Ok(TxnOutcome::Committed { revision }) => Some(revision),
                Ok(TxnOutcome::Conflict { .. }) if unknown.is_none() => return Err(self.taken()),
                // Or an earlier one of these writes was late.
                Ok(TxnOutcome::Conflict { .. }) => {
                    let written = self.find(meta, &value).await?;
                    Some(written.ok_or_else(|| self.taken())?)
                }
                Err(error @ MetaStoreError::OutcomeUnknown { .. }) => {
                    unknown = Some(error);
                    self.find(meta, &value).await?
                }
                Err(error) => return Err(error.into()),
            };
            if let Some(revision) = revision {
                (self.last, self.revision) = (Some(record), Some(revision));
                return Ok(());
            }
        }
        Err(unknown.map_or_else(|| self.taken(), Error::from))
    }

    /// The revision at which this value was written after what the claim is based on.
    async fn find(&self, meta: &dyn MetaStore, value: &[u8]) -> Result<Option<u64>, Error> {
        let found = meta.get(&key(&self.run)).await?;
        let written = found.filter(|found| found.value == value && Some(found.revision) != self.revision);
        Ok(written.map(|found| found.revision))
    }

    /// Ends the run, unless it is somebody else's now. Gives whether it has ended.
    ///
    /// # Errors
    /// Those of the metadata store.
    pub async fn end(&self, meta: &dyn MetaStore) -> Result<bool, Error> {
        let Some(revision) = self.revision else { return Ok(true) };
        let txn = Txn::new().expect(key(&self.run), Expect::Revision(revision)).delete(key(&self.run));
        match meta.txn(txn).await? {
            TxnOutcome::Committed { .. } => Ok(true),
            // An end whose answer was lost leaves nothing.
            TxnOutcome::Conflict { .. } => Ok(meta.get(&key(&self.run)).await?.is_none()),
        }
    }

    fn taken(&self) -> Error {
        Error::new(ErrorKind::Cancelled, "the query runs on another scheduler now")
    }
}

/// Where the record of a run is.
pub fn key(run: &str) -> String {
    Key::Job { run: run.to_owned() }.encode()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use async_trait::async_trait;
    use parking_lot::Mutex;

    use polarway_metastore::{
        EmbeddedMetaStore, Lease, LeaseId, Result as MetaResult, Snapshot, WatchStream,
    };

    use super::*;

    fn record(owner: &str, attempt: u32) -> JobRecord {
        JobRecord { owner: owner.into(), attempt, slots: 2, one_host: true, since: 0 }
    }

    async fn found(meta: &dyn MetaStore, run: &str) -> Option<Claim> {
        Claim::of_found(run.into(), &meta.get(&key(run)).await.unwrap()?)
    }

    #[tokio::test]
    async fn row_13_a_scheduler_whose_query_was_taken_over_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let meta = EmbeddedMetaStore::open(directory.path().join("meta.redb")).await.unwrap();
        let mut first = Claim::of_new("q-1".into());
        first.write(&meta, record("a", 1)).await.unwrap();
        let mut second = found(&meta, "q-1").await.unwrap();
        assert_eq!(second.last, Some(record("a", 1)));
        second.write(&meta, record("b", 2)).await.unwrap();

        let error = first.write(&meta, record("a", 2)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Cancelled);
        assert!(!first.end(&meta).await.unwrap());
        assert_eq!(found(&meta, "q-1").await.unwrap().last, Some(record("b", 2)));
        assert!(second.end(&meta).await.unwrap());
        assert!(second.end(&meta).await.unwrap());
        assert!(found(&meta, "q-1").await.is_none());
    }

    /// Does not tell the outcome of the first transactions, of which it carries out those that say so.
    #[derive(Debug)]
    struct Silent {
        inner: EmbeddedMetaStore,
        first: Mutex<VecDeque<bool>>,
    }

    #[async_trait]
    impl MetaStore for Silent {
        async fn txn(&self, txn: Txn) -> MetaResult<TxnOutcome> {
            let next = self.first.lock().pop_front();
            let Some(carried_out) = next else { return self.inner.txn(txn).await };
            if carried_out {
                self.inner.txn(txn).await?;
            }
            Err(MetaStoreError::OutcomeUnknown { place: "there".into(), detail: "no answer".into() })
        }

        async fn get(&self, key: &str) -> MetaResult<Option<Versioned>> {
            self.inner.get(key).await
        }

        async fn list(&self, prefix: &str) -> MetaResult<Snapshot> {
            self.inner.list(prefix).await
        }

        async fn watch(&self, prefix: &str, after: u64) -> MetaResult<WatchStream> {
            self.inner.watch(prefix, after).await
        }

        async fn revision(&self) -> MetaResult<u64> {
            self.inner.revision().await
        }

        async fn grant(&self, ttl: Duration) -> MetaResult<Lease> {
            self.inner.grant(ttl).await
        }

        async fn keep_alive(&self, lease: LeaseId) -> MetaResult<()> {
            self.inner.keep_alive(lease).await
        }

        async fn revoke(&self, lease: LeaseId) -> MetaResult<()> {
            self.inner.revoke(lease).await
        }
    }

    #[tokio::test]
    async fn row_13_a_record_whose_answer_is_lost_is_written_once() {
        for first in [vec![true], vec![false], vec![false, false], vec![false, true]] {
            let meta =
                Silent { inner: EmbeddedMetaStore::in_memory().unwrap(), first: Mutex::new(first.into()) };
            let mut claim = Claim::of_new("q-1".into());
            claim.write(&meta, record("a", 1)).await.unwrap();
            assert_eq!(claim.last, Some(record("a", 1)));
            // With the right revision: the next one is based on it.
            claim.write(&meta, record("a", 2)).await.unwrap();
            assert_eq!(found(&meta, "q-1").await.unwrap().last, Some(record("a", 2)));
        }
        let silent = Mutex::new(vec![false; WRITES as usize].into());
        let meta = Silent { inner: EmbeddedMetaStore::in_memory().unwrap(), first: silent };
        let error = Claim::of_new("q-1".into()).write(&meta, record("a", 1)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Internal);
        // Somebody else's is not taken for it.
        let meta = Silent { inner: EmbeddedMetaStore::in_memory().unwrap(), first: Mutex::default() };
        Claim::of_new("q-1".into()).write(&meta, record("b", 1)).await.unwrap();
        meta.first.lock().push_back(true);
        let error = Claim::of_new("q-1".into()).write(&meta, record("a", 1)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Cancelled);
        assert_eq!(found(&meta, "q-1").await.unwrap().last, Some(record("b", 1)));
    }

    #[tokio::test]
    async fn row_13_of_two_that_take_over_one_does() {
        let directory = tempfile::tempdir().unwrap();
        let meta = EmbeddedMetaStore::open(directory.path().join("meta.redb")).await.unwrap();
        Claim::of_new("q-1".into()).write(&meta, record("a", 1)).await.unwrap();
        let (mut b, mut c) = (found(&meta, "q-1").await.unwrap(), found(&meta, "q-1").await.unwrap());
        let (b, c) = tokio::join!(b.write(&meta, record("b", 2)), c.write(&meta, record("c", 2)));
        assert!(b.is_ok() != c.is_ok());
    }
}
