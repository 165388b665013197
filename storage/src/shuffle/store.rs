//! Objects of shuffle output: each is written once and as a whole.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::{Path, PathPart};
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig};
use polarway_common::config::S3Config;
use polarway_common::{Clock, Error, ErrorKind, SystemClock};
use tokio::time::{Instant, sleep, timeout};
use url::{Position, Url};
use uuid::Uuid;

use super::backoff::Retry;
use super::error::ShuffleError;
use super::fault::{Fault, classify};
use super::name::is_plain;
use super::requests::{Counters, Requests, add};
use crate::stores::store_that_retries;

/// How long a check of the store takes at most.
const CHECK_WITHIN: Duration = Duration::from_secs(10);

/// What of it is left to remove the probe.
const CLEAN_UP_WITHIN: Duration = Duration::from_secs(1);

/// The objects below one prefix of a store. Names are counted from there.
///
/// Nothing is made to survive a loss of power: a query does not either.
#[derive(Debug)]
pub struct ShuffleStore {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// For messages.
    place: String,
    retry: Retry,
    clock: Arc<dyn Clock>,
    counters: Counters,
}

impl ShuffleStore {
    /// The store at `s3://bucket/path`, `gs://…`, `az://…` or `file:///directory`, which is created.
    ///
    /// # Errors
    /// `Configuration` when it cannot be set up, `Unsupported` for another scheme.
    pub fn open(url: &Url, s3: &S3Config) -> Result<Self, Error> {
        if url.scheme() == "file" {
            return Self::open_directory(url);
        }
        // `ShuffleStore` repeats requests itself; see `fault`.
        let no_retries = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        if url.scheme() == "https" {
            let text = "shuffle output cannot be stored at `https://`, which has no preconditions";
            return Err(
                Error::new(ErrorKind::Unsupported, text).with_hint("use s3://, gs://, az:// or file://")
            );
        }
        let store = store_that_retries(url, s3, no_retries)?;
        let prefix = Path::from_url_path(url.path()).map_err(|error| invalid(url, &error.to_string()))?;
        Ok(Self::new(store, prefix, url[..Position::AfterPath].to_owned()))
    }

    fn open_directory(url: &Url) -> Result<Self, Error> {
        let path = url.to_file_path().map_err(|()| invalid(url, "it is not the path of a directory"))?;
        std::fs::create_dir_all(&path).map_err(|error| invalid(url, &error.to_string()))?;
        let store =
            LocalFileSystem::new_with_prefix(&path).map_err(|error| invalid(url, &error.to_string()))?;
        // The directories of queries that are over would stay otherwise.
        let store = Arc::new(store.with_automatic_cleanup(true));
        Ok(Self::new(store, Path::default(), url[..Position::AfterPath].to_owned()))
    }

    /// The objects below `prefix` of a store that does not repeat requests itself. `place` is what messages call it.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path, place: String) -> Self {
        let clock = Arc::new(SystemClock);
        Self { store, prefix, place, retry: Retry::default(), clock, counters: Counters::default() }
    }

    #[must_use]
    pub fn with_retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// Another time of day, by which [`ShuffleStore::runs_older_than`] tells ages.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Requests so far.
    pub fn requests(&self) -> Requests {
        self.counters.snapshot()
    }

    /// Finds out by a small object whether the store can be used; it takes 10 s at most.
    ///
    /// # Errors
    /// [`ShuffleError::Configuration`] if it does not refuse to write an object a second time,
    /// [`ShuffleError::Refused`] if it does not let us write, [`ShuffleError::Unavailable`] if it does not answer.
    pub async fn check(&self) -> Result<(), ShuffleError> {
        let name = format!("probe-{}", Uuid::new_v4().simple());
        let path = self.path(&name);
        let checked = match timeout(CHECK_WITHIN - CLEAN_UP_WITHIN, self.probe(&name, &path)).await {
            Ok(checked) => checked,
            Err(_) => Err(ShuffleError::Unavailable {
                operation: "write",
                object: format!("{}/{name}", self.place.trim_end_matches('/')),
                attempts: 1,
                detail: format!("no answer came within {:?}", CHECK_WITHIN - CLEAN_UP_WITHIN),
            }),
        };
        // A store that forbids writing has nothing to remove, and one that does not answer will not do so now.
        add(&self.counters.deletes, 1);
        let _ = timeout(CLEAN_UP_WITHIN, self.store.delete(&path)).await;
        checked
    }

    async fn probe(&self, name: &str, path: &Path) -> Result<(), ShuffleError> {
        let needed = |detail: &str| ShuffleError::Configuration {
            place: self.place.clone(),
            detail: format!(
                "{detail}; shuffle output needs a store that knows conditional writes (`If-None-Match: *` of S3, \
                 `x-goog-if-generation-match: 0` of Google Cloud Storage): use one that does, or keep shuffle \
                 output on the executors"
            ),
        };
        let content = Bytes::from_static(b"probe");
        // First it is written, then it must not be written again.
        for second in [false, true] {
            let written = self
                .repeat("write", name, |_| async {
                    add(&self.counters.puts, 1);
                    self.put_once(path, content.clone()).await
                })
                .await;
            match written {
                Ok(()) if second => {
                    return Err(needed("it ignores the condition that an object must not exist"));
                }
                Ok(()) => {}
                Err((Fault::Exists, _)) => {}
                Err((Fault::Unsupported, error)) => {
                    return Err(needed(&format!(
                        "it does not know the condition that an object must not exist ({error})"
                    )));
                }
                Err((_, error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes an object that is not there yet.
    ///
    /// # Errors
    /// [`ShuffleError::Exists`] if there is another of this name, [`ShuffleError::Refused`],
    /// [`ShuffleError::Unavailable`]. After an error it may have been written all the same.
    pub async fn put(&self, name: &str, bytes: Bytes) -> Result<(), ShuffleError> {
        let path = self.path(name);
        let length = bytes.len() as u64;
        let put = self.repeat("write", name, |attempt| {
            let (bytes, path) = (bytes.clone(), &path);
            async move {
                add(&self.counters.puts, 1);
                match self.put_once(path, bytes).await {
                    Err(error) if classify(&error) == Fault::Exists => {
                        self.judge_existing(path, length, attempt, error).await
                    }
                    put => put,
                }
            }
        });
        match put.await {
            Ok(()) => {
                add(&self.counters.put_bytes, length);
                Ok(())
            }
            Err((Fault::Exists, _)) => Err(ShuffleError::Exists { object: name.to_owned() }),
            Err((_, error)) => Err(error),
        }
    }

    async fn put_once(&self, path: &Path, bytes: Bytes) -> object_store::Result<()> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.store.put_opts(path, bytes.into(), options).await.map(|_| ())
    }

    /// An object that is there after an attempt whose answer was lost is that attempt's, as nobody else uses our
    /// names. One that is not of this length is not.
    async fn judge_existing(
        &self,
        path: &Path,
        length: u64,
        attempt: u32,
        exists: object_store::Error,
    ) -> object_store::Result<()> {
        add(&self.counters.gets, 1);
        match self.store.head(path).await {
            Ok(found) if attempt > 1 && found.size == length => Ok(()),
            Ok(_) => Err(exists),
            // S3 refuses a condition (409) also while another write of the object, such as a lost attempt's, has not
            // come to its end.
            Err(object_store::Error::NotFound { .. }) => Err(unsettled(exists)),
            Err(error) => Err(error),
        }
    }

    /// Reads ranges of an object, in bytes, all at once. They are merged into few requests if they are close.
    ///
    /// # Errors
    /// [`ShuffleError::Missing`] if there is no such object, [`ShuffleError::Damaged`] if it is shorter,
    /// [`ShuffleError::Refused`], [`ShuffleError::Unavailable`].
    pub async fn read(&self, name: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, ShuffleError> {
        let path = self.path(name);
        let read = self.repeat("read", name, |_| {
            let path = &path;
            async move {
                add(&self.counters.gets, 1);
                self.store.get_ranges(path, ranges).await
            }
        });
        match read.await {
            Ok(parts) => {
                add(&self.counters.get_bytes, parts.iter().map(|part| part.len() as u64).sum());
                match ranges
                    .iter()
                    .zip(&parts)
                    .find(|(range, part)| part.len() as u64 != range.end - range.start)
                {
                    Some((range, part)) => Err(cut_short(name, range.start + part.len() as u64, range.end)),
                    None => Ok(parts),
                }
            }
            Err((Fault::Missing, _)) => Err(ShuffleError::Missing { object: name.to_owned() }),
            Err((Fault::Permanent, error)) => Err(self.reason(name, &path, ranges, error).await),
            Err((_, error)) => Err(error),
        }
    }

    /// Stores have different errors for a range that is beyond the end of an object; its length is the same for all.
    async fn reason(
        &self,
        name: &str,
        path: &Path,
        ranges: &[Range<u64>],
        error: ShuffleError,
    ) -> ShuffleError {
        let Some(end) = ranges.iter().map(|range| range.end).max() else { return error };
        add(&self.counters.gets, 1);
        match timeout(self.retry.total, self.store.head(path)).await {
            Ok(Ok(found)) if found.size < end => cut_short(name, found.size, end),
            _ => error,
        }
    }

    /// Deletes one object; it is no error when there is none.
    ///
    /// # Errors
    /// [`ShuffleError::Refused`], [`ShuffleError::Unavailable`].
    pub async fn remove(&self, name: &str) -> Result<(), ShuffleError> {
        let path = self.path(name);
        self.delete(name, &path).await
    }

    async fn delete(&self, name: &str, path: &Path) -> Result<(), ShuffleError> {
        let deleted = self.repeat("delete", name, |_| async {
            add(&self.counters.deletes, 1);
            self.store.delete(path).await
        });
        match deleted.await {
            Ok(()) | Err((Fault::Missing, _)) => Ok(()),
            Err((_, error)) => Err(error),
        }
    }

    /// Deletes all objects of a query, and says how many there were.
    ///
    /// # Errors
    /// [`ShuffleError::NoPlainId`], [`ShuffleError::Refused`], [`ShuffleError::Unavailable`]; then some may be left.
    pub async fn remove_run(&self, run: &str) -> Result<u64, ShuffleError> {
        if !is_plain(run) {
            return Err(ShuffleError::NoPlainId { id: run.to_owned() });
        }
        let prefix = self.path(run);
        // Paths of one query are few and short; to have all makes the deletion repeatable.
        let listed = self.repeat("list", run, |_| {
            add(&self.counters.lists, 1);
            self.store.list(Some(&prefix)).map_ok(|found| found.location).try_collect::<Vec<Path>>()
        });
        let paths = listed.await.map_err(|(_, error)| error)?;
        let count = paths.len() as u64;
        if paths.is_empty() {
            return Ok(0);
        }
        let deleted = self.repeat("delete", run, |_| async {
            add(&self.counters.deletes, count);
            let mut deletions =
                self.store.delete_stream(futures::stream::iter(paths.clone()).map(Ok).boxed());
            // What an earlier attempt or somebody else has deleted is no failure, and a failure leaves no other out.
            let mut failure = None;
            while let Some(deletion) = deletions.next().await {
                match deletion {
                    Ok(_) => {}
                    Err(error) if classify(&error) == Fault::Missing => {}
                    Err(error) => failure = Some(error),
                }
            }
            failure.map_or(Ok(()), Err)
        });
        deleted.await.map_err(|(_, error)| error)?;
        Ok(count)
    }

    /// The queries all of whose objects were written longer ago than `age`, in alphabetical order. Lists everything.
    ///
    /// # Errors
    /// [`ShuffleError::Refused`], [`ShuffleError::Unavailable`].
    pub async fn runs_older_than(&self, age: Duration) -> Result<Vec<String>, ShuffleError> {
        let listed = self.repeat("list", "", |_| {
            add(&self.counters.lists, 1);
            self.newest_of_runs()
        });
        let newest = listed.await.map_err(|(_, error)| error)?;
        let now = self.clock.wall();
        let old = |written: SystemTime| now.duration_since(written).is_ok_and(|passed| passed > age);
        Ok(newest.into_iter().filter(|(_, written)| old(*written)).map(|(run, _)| run).collect())
    }

    async fn newest_of_runs(&self) -> object_store::Result<std::collections::BTreeMap<String, SystemTime>> {
        let mut newest = std::collections::BTreeMap::new();
        let mut found = self.store.list(Some(&self.prefix));
        while let Some(object) = found.try_next().await? {
            let Some(mut parts) = object.location.prefix_match(&self.prefix) else { continue };
            // What is not below a query's prefix is not ours, or a probe.
            let (Some(run), Some(_)) = (parts.next(), parts.next()) else { continue };
            let written = SystemTime::from(object.last_modified);
            if is_plain(run.as_ref()) {
                let newest = newest.entry(run.as_ref().to_owned()).or_insert(written);
                *newest = written.max(*newest);
            }
        }
        Ok(newest)
    }

    /// The full path of an object.
    fn path(&self, name: &str) -> Path {
        name.split('/').map(PathPart::from).fold(self.prefix.clone(), Path::join)
    }

    /// Makes attempts, which are told their number, until one succeeds or fails for good or the budget is spent.
    async fn repeat<T, F>(
        &self,
        operation: &'static str,
        object: &str,
        attempt: impl Fn(u32) -> F,
    ) -> Result<T, (Fault, ShuffleError)>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let started = Instant::now();
        let unavailable = |attempts: u32, detail: String| {
            let object = object.to_owned();
            (Fault::Transient, ShuffleError::Unavailable { operation, object, attempts, detail })
        };
        let mut number = 1;
        loop {
            let left = self.retry.total.saturating_sub(started.elapsed());
            let error = match timeout(left, attempt(number)).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) => error,
                Err(_) => {
                    return Err(unavailable(number, format!("no answer came within {:?}", self.retry.total)));
                }
            };
            let fault = classify(&error);
            if fault != Fault::Transient {
                let object = object.to_owned();
                return Err((fault, ShuffleError::Refused { operation, object, source: error }));
            }
            let pause = self.retry.pause_after(number, rand::random());
            let pause = pause.filter(|pause| started.elapsed() + *pause < self.retry.total);
            let Some(pause) = pause else { return Err(unavailable(number, error.to_string())) };
            tracing::debug!(operation, object, attempt = number, %error, "the shuffle store is asked again");
            add(&self.counters.retries, 1);
            sleep(pause).await;
            number += 1;
        }
    }
}

fn invalid(url: &Url, detail: &str) -> Error {
    Error::new(ErrorKind::Configuration, format!("cannot set up the shuffle store `{url}`: {detail}"))
}

fn cut_short(object: &str, length: u64, expected: u64) -> ShuffleError {
    let detail = format!("it has {length} bytes and should have {expected} at least");
    ShuffleError::Damaged { object: object.to_owned(), detail }
}

/// A conflict of writes that is not over; [`classify`] calls it transient.
fn unsettled(source: object_store::Error) -> object_store::Error {
    let source = std::io::Error::new(std::io::ErrorKind::WouldBlock, source);
    object_store::Error::Generic { store: "shuffle", source: Box::new(source) }
}
