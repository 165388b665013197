//! Copies of what tasks write, in the object store: made in the background or before a task counts as done, read where the
//! executor that wrote is gone, and taken over by later attempts.

mod memo;
mod names;
mod output;
mod serve;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ballista_core::serde::protobuf::{ShuffleWritePartition, SuccessfulTask};
use lru::LruCache;
use parking_lot::Mutex;
use polarway_common::config::{S3Config, ShuffleConfig, ShuffleMode};
use polarway_common::{Attempt, Config, Error, ErrorKind, Supervisor, SystemClock};
use polarway_identity::Credential;
use polarway_metastore::{MetaStore, RemoteMetaStore, configured};
use polarway_storage::shuffle::{
    Limits, OutputId, Requests, ShuffleStore, StoredOutput, StoredOutputs, UploadMetrics, UploadSettings,
    Uploader, index,
};
use prost::Message;
use tokio::sync::OnceCell;

pub use self::memo::{MemoKey, memo_key};
use self::names::{file_id, output_id};
use self::output::output_of;
pub use self::serve::{Wanted, no_copy};
use crate::ledger::TaskId;

/// Jobs whose earlier attempts are remembered.
const JOBS: usize = 64;

/// Jobs that are remembered to be local; more than have files here at a time.
const LOCAL_JOBS: usize = 4096;

fn bound(most: usize) -> NonZeroUsize {
    NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN)
}

type Earlier = Arc<OnceCell<HashMap<MemoKey, OutputId>>>;

/// See the module's page.
pub struct Stored {
    meta: Arc<dyn MetaStore>,
    uploader: Uploader,
    store: Arc<ShuffleStore>,
    reader: StoredOutputs,
    work_dir: PathBuf,
    earlier: Mutex<LruCache<String, Earlier>>,
    /// Jobs with output of which there will be no copy.
    local: Mutex<LruCache<String, ()>>,
    reused: AtomicU64,
}

/// The metadata that all processes share: etcd, or the scheduler's own, to which `credential` is shown.
///
/// # Errors
/// `Configuration`, or etcd cannot be reached.
pub async fn metadata(config: &Config, credential: Credential) -> Result<Arc<dyn MetaStore>, Error> {
    if let Some(etcd) = configured(&config.metastore).await? {
        return Ok(etcd);
    }
    let address = format!("http://{}", config.executor.scheduler);
    Ok(Arc::new(RemoteMetaStore::connect(&address, credential)?))
}

impl Stored {
    /// Starts to keep copies, if a place for them is configured; `writer` must be nobody else's name.
    ///
    /// # Errors
    /// `Configuration`: the place is none, does not exist, or overwrites what it is asked not to.
    pub async fn start(
        config: &ShuffleConfig,
        s3: &S3Config,
        meta: Arc<dyn MetaStore>,
        work_dir: &Path,
        writer: &str,
        supervisor: &Supervisor,
    ) -> Result<Option<Self>, Error> {
        let Some(url) = &config.url else { return Ok(None) };
        let store = Arc::new(ShuffleStore::at(url, s3)?);
        store.check().await?;
        let limits = Limits { target: config.object_size.0, max_age: config.upload_after.0 };
        let settings = UploadSettings { limits, ..UploadSettings::default() };
        let (clock, shared) = (Arc::new(SystemClock), Arc::clone(&meta));
        let uploader = Uploader::start(settings, Arc::clone(&store), shared, writer, clock, supervisor)?;
        Ok(Some(Self {
            reader: StoredOutputs::new(Arc::clone(&store), Arc::clone(&meta)),
            store,
            meta,
            uploader,
            work_dir: work_dir.to_owned(),
            earlier: Mutex::new(LruCache::new(bound(JOBS))),
            local: Mutex::new(LruCache::new(bound(LOCAL_JOBS))),
            reused: AtomicU64::new(0),
        }))
    }

    /// Sees to a copy of what a task wrote: soon, or, if it has to be durable, now.
    ///
    /// # Errors
    /// Only of output that has to be durable: the store does not take it, or the query is over.
    pub async fn keep(
        &self,
        wrote: TaskId,
        memo: Option<MemoKey>,
        mode: ShuffleMode,
        success: &SuccessfulTask,
    ) -> Result<(), Error> {
        let (work_dir, reported, by) = (self.work_dir.clone(), success.clone(), wrote.clone());
        let found = tokio::task::spawn_blocking(move || output_of(&work_dir, &by, memo, &reported)).await;
        let found = found.unwrap_or_else(|failure| Err(std::io::Error::other(failure)));
        let output = match (found, mode) {
            (Ok(Some(output)), _) => output,
            (Ok(None), _) | (_, ShuffleMode::Local) => return Ok(()),
            (Err(error), ShuffleMode::Durable) => {
                return Err(Error::new(
                    ErrorKind::ExecutorLost,
                    format!("output cannot be read back: {error}"),
                ));
            }
            (Err(error), ShuffleMode::WriteBehind) => {
                tracing::debug!(job = wrote.job, %error, "output is gone before it was copied");
                return Ok(());
            }
        };
        match mode {
            ShuffleMode::Durable => Ok(self.uploader.commit_now(output).await?),
            ShuffleMode::Local | ShuffleMode::WriteBehind => {
                self.uploader.submit(output).await;
                Ok(())
            }
        }
    }

    /// What a task of an earlier attempt reported that computed the same, to be reported by this one. A store that does
    /// not answer costs work and no error.
    pub async fn reuse(&self, job: &str, memo: MemoKey) -> Option<SuccessfulTask> {
        let attempt: Attempt = job.parse().ok()?;
        if attempt.number < 2 {
            return None;
        }
        let found = self.earlier(&attempt, memo).await?;
        let success = match self.summary(&found).await {
            Ok(success) => success?,
            Err(error) => {
                tracing::warn!(output = %found, %error, "a copy cannot be taken over; the task runs again");
                return None;
            }
        };
        self.reused.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(job, output = %found, "a task was done in an earlier attempt");
        let name = file_id(&found);
        let partitions = success
            .partitions
            .into_iter()
            .map(|partition| ShuffleWritePartition { file_id: Some(name), ..partition })
            .collect();
        Some(SuccessfulTask { partitions, ..success })
    }

    async fn summary(&self, id: &OutputId) -> Result<Option<SuccessfulTask>, Error> {
        let Some(output) = self.reader.open(id).await? else { return Ok(None) };
        let damaged = |error| Error::internal(format!("the record of output {id} cannot be read: {error}"));
        SuccessfulTask::decode(output.record().summary.clone()).map(Some).map_err(damaged)
    }

    /// What earlier attempts have stored of the same. They are looked up once an attempt: theirs are over.
    async fn earlier(&self, attempt: &Attempt, memo: MemoKey) -> Option<OutputId> {
        let job = attempt.to_string();
        let cell = Arc::clone(self.earlier.lock().get_or_insert(job, Earlier::default));
        let looked_up = cell.get_or_try_init(|| async {
            let mut earlier = HashMap::new();
            for (id, located) in index::of_run(self.meta.as_ref(), &attempt.run).await? {
                if let (Some(memo), true) = (located.entry.memo, id.attempt < attempt.number) {
                    earlier.entry(memo).or_insert(id);
                }
            }
            Ok::<_, Error>(earlier)
        });
        match looked_up.await {
            Ok(earlier) => earlier.get(&memo).cloned(),
            Err(error) => {
                tracing::warn!(job = %attempt, %error, "earlier attempts are not known; everything runs again");
                None
            }
        }
    }

    async fn output(&self, job: &str, stage: usize, file_id: u64) -> Result<Arc<StoredOutput>, Error> {
        let id = output_id(job, stage, file_id).ok_or_else(no_copy)?;
        self.reader.open(&id).await?.ok_or_else(no_copy)
    }

    /// Copies now what tasks of a job have finished. Gives how many outputs are not copied yet after `limit`.
    pub async fn flush(&self, job: &str, limit: Duration) -> usize {
        match job.parse::<Attempt>() {
            Ok(attempt) => self.uploader.flush(&attempt.run, limit).await,
            Err(_) => 0,
        }
    }

    /// Copies now all that is waiting. Gives how many outputs are not copied yet after `limit`.
    pub async fn flush_all(&self, limit: Duration) -> usize {
        self.uploader.flush_all(limit).await
    }

    /// A job's files are gone: what waits of it keeps others waiting for nothing.
    pub fn forget(&self, job: &str) {
        if let Ok(attempt) = job.parse::<Attempt>() {
            self.uploader.forget(&attempt);
        }
    }

    /// There will be no copies of a job's output.
    pub fn is_local(&self, job: &str) {
        self.local.lock().put(job.to_owned(), ());
    }

    /// Whether all output of these jobs is copied, as far as it was finished when copies were last asked for.
    pub fn has_copies_of(&self, jobs: &[String]) -> bool {
        let local = self.local.lock();
        self.uploader.metrics().failures == 0 && jobs.iter().all(|job| !local.contains(job))
    }

    /// What was asked of the store for a job's query.
    pub fn requests_of(&self, job: &str) -> Requests {
        job.parse::<Attempt>().map(|attempt| self.store.requests_of(&attempt.run)).unwrap_or_default()
    }

    pub fn counts(&self) -> Counts {
        Counts {
            upload: self.uploader.metrics(),
            requests: self.store.requests(),
            reused: self.reused.load(Ordering::Relaxed),
        }
    }
}

/// What `/metrics` shows.
#[derive(Debug, Clone)]
pub struct Counts {
    pub upload: UploadMetrics,
    pub requests: Requests,
    /// Tasks that earlier attempts had done.
    pub reused: u64,
}
