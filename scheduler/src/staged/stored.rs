//! Runs whose tasks' output is copied to the object store: when copies may be made, which there are, and when they go.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use polarway_common::{Attempt, Config, Error};
use polarway_metastore::{Key, KeyPrefix, MetaStore, Txn};
use polarway_storage::shuffle::{OutputId, ShuffleStore, index};
use serde::{Deserialize, Serialize};

use super::losses::OutputOf;

/// Objects that no query can claim are removed once they are so old.
pub const ORPHAN_AGE: Duration = Duration::from_secs(15 * 60);

/// What is kept of a run while it lasts. Its presence lets executors say that they have stored something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct JobRecord {
    /// The incarnation of the scheduler that runs it.
    owner: String,
    /// Milliseconds since 1970.
    since: u64,
}

/// See the module's page.
pub struct StoredRuns {
    store: ShuffleStore,
    meta: Arc<dyn MetaStore>,
    /// This process.
    owner: String,
    /// No copy is made of what is younger.
    upload_after: Duration,
}

impl StoredRuns {
    /// None if no place for copies is configured.
    ///
    /// # Errors
    /// `Configuration`: the place is none, cannot be reached, or overwrites what it is asked not to.
    pub async fn open(config: &Config, meta: Arc<dyn MetaStore>) -> Result<Option<Self>, Error> {
        let Some(url) = &config.shuffle.url else { return Ok(None) };
        let store = ShuffleStore::at(url, &config.storage.s3)?;
        store.check().await?;
        let owner = uuid::Uuid::now_v7().simple().to_string();
        Ok(Some(Self { store, meta, owner, upload_after: config.shuffle.upload_after.0 }))
    }

    /// From now on executors can store what tasks of the run have written.
    ///
    /// # Errors
    /// Those of the metadata store.
    pub async fn begin(&self, run: &str) -> Result<(), Error> {
        let since =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64);
        let record = JobRecord { owner: self.owner.clone(), since };
        let value = serde_json::to_vec(&record)
            .map_err(|error| Error::internal(format!("a job record cannot be written: {error}")))?;
        self.meta.txn(Txn::new().put(key(run), value)).await?;
        Ok(())
    }

    /// How many of an attempt's outputs have no copy.
    ///
    /// # Errors
    /// Those of the metadata store.
    pub async fn missing(&self, attempt: &Attempt, outputs: &[OutputOf]) -> Result<usize, Error> {
        let stored = index::of_attempt(self.meta.as_ref(), &attempt.run, attempt.number).await?;
        let stored: HashSet<(u32, u32)> = stored.into_iter().map(|(id, _)| (id.stage, id.task)).collect();
        let missing = outputs.iter().filter(|(stage, writer)| !stored.contains(&(*stage, writer.task)));
        Ok(missing.count())
    }

    /// The run is over after it `lasted` so long: nothing more is stored of it, and what has been stored goes. What cannot
    /// be removed now is found as an orphan later.
    pub async fn end(&self, run: &str, lasted: Duration) {
        if let Err(error) = self.meta.txn(Txn::new().delete(key(run))).await {
            tracing::warn!(run, %error, "a query's record was not removed");
            return;
        }
        // In shorter ones nothing was stored, except what had to be durable; that is in the index.
        let stored = match index::of_run(self.meta.as_ref(), run).await {
            Ok(stored) => !stored.is_empty(),
            Err(_) => true,
        };
        if stored || lasted >= self.upload_after {
            self.remove(run).await;
        }
    }

    async fn remove(&self, run: &str) {
        if let Err(error) = index::forget_run(self.meta.as_ref(), run).await {
            tracing::warn!(run, %error, "what is known of stored output was not removed");
        }
        match self.store.remove_run(run).await {
            Ok(0) => {}
            Ok(objects) => tracing::debug!(run, objects, "stored output was removed"),
            Err(error) => tracing::warn!(run, %error, "stored output was not removed"),
        }
    }

    /// Removes what runs have left whose scheduler is gone: all those whose record names somebody of whom `alive` is not
    /// true, and objects older than [`ORPHAN_AGE`] of runs without a record.
    ///
    /// # Errors
    /// Those of the metadata store and of the object store.
    pub async fn sweep(&self, alive: impl Fn(&str) -> bool) -> Result<(), Error> {
        let records = self.meta.list(&KeyPrefix::Jobs.encode()).await?;
        let mut running = HashSet::new();
        for (key, found) in records.entries {
            let Ok(Key::Job { run }) = Key::decode(&key) else { continue };
            let owner = serde_json::from_slice::<JobRecord>(&found.value).map(|record| record.owner);
            if owner.is_ok_and(|owner| owner == self.owner || alive(&owner)) {
                running.insert(run);
            } else {
                tracing::info!(run, "a query's scheduler is gone; its stored output is removed");
                self.meta.txn(Txn::new().delete(key)).await?;
                self.remove(&run).await;
            }
        }
        let entries = self.meta.list(&KeyPrefix::Shuffle.encode()).await?;
        let mut orphans: HashSet<String> =
            entries.entries.iter().filter_map(|(key, _)| OutputId::parse(key)).map(|id| id.run).collect();
        orphans.extend(self.store.runs_older_than(ORPHAN_AGE).await?);
        for run in orphans.difference(&running) {
            // It may have begun after the records were listed.
            if self.meta.get(&self::key(run)).await?.is_none() {
                self.remove(run).await;
            }
        }
        Ok(())
    }
}

fn key(run: &str) -> String {
    Key::Job { run: run.to_owned() }.encode()
}
