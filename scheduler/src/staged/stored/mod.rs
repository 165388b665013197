//! Runs whose tasks' output is copied to the object store: whose they are, when copies may be made, which there are, and
//! when they go.

mod ours;
mod record;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use polarway_common::clock::unix_millis;
use polarway_common::{Attempt, Config, Error};
use polarway_engine::settings::Ground;
use polarway_metastore::membership::{Members, Role};
use polarway_metastore::{Key, KeyPrefix, MetaStore, Txn};
use polarway_storage::shuffle::index::Forgotten;
use polarway_storage::shuffle::{OutputId, ShuffleError, ShuffleStore, index};

use self::ours::Ours;
pub use self::record::Claim;
use self::record::{JobRecord, key};
use super::losses::OutputOf;

/// How long the query of a scheduler that is gone waits for its client to ask another one.
pub const CLAIM_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the objects of a run are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Where all that were written were told of: the store need not be listed, which is dear for one run.
    AtIndex,
    AtStore,
}

/// See the module's page.
pub struct StoredRuns {
    store: ShuffleStore,
    meta: Arc<dyn MetaStore>,
    members: Members,
    /// This process's incarnation.
    owner: String,
    pub orphan_after: Duration,
    ours: Ours,
    /// Since when runs have been seen to have no scheduler.
    deserted: Mutex<HashMap<String, Instant>>,
}

impl StoredRuns {
    /// None if no place for copies is configured.
    ///
    /// # Errors
    /// `Configuration`: the place is none, cannot be reached, or overwrites what it is asked not to.
    pub async fn open(
        config: &Config,
        meta: Arc<dyn MetaStore>,
        members: Members,
        owner: &str,
    ) -> Result<Option<Self>, Error> {
        let Some(url) = &config.shuffle.url else { return Ok(None) };
        let store = ShuffleStore::at(url, &config.storage.s3)?;
        store.check().await?;
        Ok(Some(Self {
            store,
            meta,
            members,
            owner: owner.to_owned(),
            orphan_after: config.shuffle.orphan_after.0,
            ours: Ours::default(),
            deserted: Mutex::default(),
        }))
    }

    /// The run of a query that has one already, on whichever scheduler, and else `fresh`. Nothing is written yet.
    ///
    /// # Errors
    /// Those of the metadata store.
    pub async fn claim(&self, query: &str, fresh: &str) -> Result<Claim, Error> {
        let begun = self.meta.list(&format!("{}-", key(query))).await?;
        let found = begun.entries.iter().find_map(|(key, found)| match Key::decode(key) {
            Ok(Key::Job { run }) => Claim::of_found(run, found),
            _ => None,
        });
        let mut claim = found.unwrap_or_else(|| Claim::of_new(fresh.to_owned()));
        claim.having = Some(Arc::new(self.ours.have(&claim.run)));
        claim.executors = self.executors_now();
        Ok(claim)
    }

    fn executors_now(&self) -> HashSet<String> {
        let view = self.members.current();
        view.of(Role::Executor).map(|member| member.incarnation.clone()).collect()
    }

    /// An attempt is about to be made: from now on the run is this process's, and executors can store what its tasks have
    /// written.
    ///
    /// # Errors
    /// `Cancelled` if the run is another's. Those of the metadata store.
    pub async fn attempt(&self, claim: &mut Claim, number: u32, ground: Ground) -> Result<(), Error> {
        let record = match &claim.last {
            Some(last) => JobRecord { owner: self.owner.clone(), attempt: number, ..last.clone() },
            None => JobRecord {
                owner: self.owner.clone(),
                attempt: number,
                slots: ground.slots,
                one_host: ground.one_host,
                since: unix_millis(SystemTime::now()),
            },
        };
        claim.write(self.meta.as_ref(), record).await
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

    /// The run is over: nothing more is stored of it, and what has been stored goes, unless it is another's now. What cannot
    /// be removed now is found as an orphan later.
    pub async fn end(&self, claim: &Claim) {
        let run = claim.run.as_str();
        match claim.end(self.meta.as_ref()).await {
            Ok(true) => {
                // Whoever died may have written objects that it could not tell of any more.
                let all_known = claim.last.as_ref().is_none_or(|last| last.attempt == 1)
                    && claim.executors.is_subset(&self.executors_now());
                self.forget(run, if all_known { Look::AtIndex } else { Look::AtStore }).await;
            }
            Ok(false) => tracing::info!(run, "a query was taken over"),
            Err(error) => tracing::warn!(run, %error, "a query's record was not removed"),
        }
    }

    /// Removes what is known of a run, and its objects.
    async fn forget(&self, run: &str, look: Look) {
        let known = match index::forget_run(self.meta.as_ref(), run).await {
            Ok(Forgotten { objects, .. }) => objects,
            Err(error) => {
                return tracing::warn!(run, %error, "what is known of stored output was not removed");
            }
        };
        told(
            run,
            match (known, look) {
                (Some(objects), Look::AtIndex) => self.store.remove_objects(run, &objects).await,
                _ => self.store.remove_run(run).await,
            },
        );
    }

    /// Removes what runs have left whose scheduler has been gone for [`CLAIM_TIMEOUT`], and whose own end was not noted.
    ///
    /// # Errors
    /// Those of the metadata store.
    pub async fn sweep_runs(&self) -> Result<(), Error> {
        let records = self.meta.list(&KeyPrefix::Jobs.encode()).await?;
        let view = self.members.current();
        let mut deserted = vec![];
        for (key, found) in records.entries {
            let Ok(Key::Job { run }) = Key::decode(&key) else { continue };
            let owner = serde_json::from_slice::<JobRecord>(&found.value).map(|record| record.owner);
            let is_there = owner.is_ok_and(|owner| match owner == self.owner {
                true => self.ours.contains(&run),
                false => view.of(Role::Scheduler).any(|member| member.incarnation == owner),
            });
            if !is_there {
                deserted.push((run, found));
            }
        }
        let now = Instant::now();
        let due: Vec<_> = {
            let mut since = self.deserted.lock();
            since.retain(|run, _| deserted.iter().any(|(known, _)| known == run));
            let overdue = |(run, _): &(String, _)| {
                now.duration_since(*since.entry(run.clone()).or_insert(now)) >= CLAIM_TIMEOUT
            };
            deserted.into_iter().filter(overdue).collect()
        };
        for (run, found) in due {
            tracing::info!(
                run,
                "nobody asks for a query whose scheduler is gone; its stored output is removed"
            );
            let unchanged = polarway_metastore::Expect::Revision(found.revision);
            let txn = Txn::new().expect(key(&run), unchanged).delete(key(&run));
            if self.meta.txn(txn).await?.committed().is_some() {
                self.forget(&run, Look::AtStore).await;
            }
        }
        Ok(())
    }

    /// Removes objects and entries older than `shuffle.orphan_after` of runs without a record: a crash can leave some.
    ///
    /// # Errors
    /// Those of the metadata store and of the object store.
    pub async fn sweep_objects(&self) -> Result<(), Error> {
        let entries = self.meta.list(&KeyPrefix::Shuffle.encode()).await?;
        let indexed = entries.entries.iter().filter_map(|(key, _)| OutputId::parse(key)).map(|id| id.run);
        for run in indexed.collect::<HashSet<String>>() {
            if self.is_over(&run).await? {
                self.forget(&run, Look::AtIndex).await;
            }
        }
        // After those, since a store that does not answer is no reason to leave them.
        for run in self.store.runs_older_than(self.orphan_after).await? {
            if self.is_over(&run).await? {
                told(&run, self.store.remove_run(&run).await);
            }
        }
        Ok(())
    }

    async fn is_over(&self, run: &str) -> Result<bool, Error> {
        Ok(self.meta.get(&key(run)).await?.is_none())
    }
}

fn told(run: &str, removed: Result<u64, ShuffleError>) {
    match removed {
        Ok(0) => {}
        Ok(objects) => tracing::debug!(run, objects, "stored output was removed"),
        Err(error) => tracing::warn!(run, %error, "stored output was not removed"),
    }
}
