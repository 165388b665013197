//! Objects of shuffle output: each is written once and as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

use super::backoff::Retry;
use super::error::ShuffleError;
use super::fault::{Fault, classify};
use super::name::{ObjectName, is_plain};
use super::requests::{Counters, Requests};
use crate::stores::store_that_retries;

/// The objects below one prefix of a store. Names are counted from there.
///
/// Nothing is made to survive a loss of power: a query does not either.
#[derive(Debug)]
pub struct ShuffleStore {
    pub(super) store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// What messages call it.
    pub(super) place: String,
    pub(super) retry: Retry,
    clock: Arc<dyn Clock>,
    pub(super) counters: Counters,
}

impl ShuffleStore {
    /// The store at `place`, which configuration names: the path of a directory, or a URL as [`ShuffleStore::open`]
    /// takes it.
    ///
    /// # Errors
    /// Those of [`ShuffleStore::open`].
    pub fn at(place: &str, s3: &S3Config) -> Result<Self, Error> {
        if place.contains("://") {
            let url = Url::parse(place).map_err(|error| {
                Error::new(ErrorKind::Configuration, format!("`shuffle.url` ({place}) is no URL: {error}"))
            })?;
            return Self::open(&url, s3);
        }
        let path = std::path::absolute(place).ok().and_then(|path| Url::from_directory_path(path).ok());
        let url = path.ok_or_else(|| {
            Error::new(ErrorKind::Configuration, format!("`shuffle.url` ({place}) is no path of a directory"))
        })?;
        Self::open(&url, s3)
    }

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

    /// Requests so far for the objects of one query; of the last few hundred queries.
    pub fn requests_of(&self, run: &str) -> Requests {
        self.counters.of_run(run)
    }

    /// Writes an object that is not there yet.
    ///
    /// # Errors
    /// [`ShuffleError::Exists`] if there is another of this name, [`ShuffleError::Refused`],
    /// [`ShuffleError::Unavailable`]. After an error it may have been written all the same.
    pub async fn put(&self, name: &str, bytes: Bytes) -> Result<(), ShuffleError> {
        let path = self.path(name);
        let length = bytes.len() as u64;
        // Whether an attempt may have written it although it failed.
        let lost = AtomicBool::new(false);
        let put = self.repeat("write", name, || async {
            self.counters.count(name, |requests| requests.puts += 1);
            let put = self.put_once(&path, bytes.clone()).await;
            match put.as_ref().map_err(classify) {
                Err(Fault::Transient) => {
                    lost.store(true, Ordering::Relaxed);
                    put
                }
                Err(Fault::Exists) => {
                    self.judge_existing(name, &path, length, lost.load(Ordering::Relaxed), put).await
                }
                _ => put,
            }
        });
        match put.await {
            Ok(()) => {
                self.counters.count(name, |requests| requests.put_bytes += length);
                Ok(())
            }
            Err((Fault::Exists, _)) => Err(ShuffleError::Exists { object: name.to_owned() }),
            Err((_, error)) => Err(error),
        }
    }

    pub(super) async fn put_once(&self, path: &Path, bytes: Bytes) -> object_store::Result<()> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.store.put_opts(path, bytes.into(), options).await.map(|_| ())
    }

    /// An object that is there after an attempt whose answer was lost is that attempt's, as nobody else uses our
    /// names. One that is not of this length is not.
    async fn judge_existing(
        &self,
        name: &str,
        path: &Path,
        length: u64,
        lost: bool,
        exists: object_store::Result<()>,
    ) -> object_store::Result<()> {
        self.counters.count(name, |requests| requests.gets += 1);
        match self.store.head(path).await {
            Ok(found) if lost && found.size == length => Ok(()),
            Ok(_) => exists,
            // S3 refuses a condition (409) also while another write of the object, such as a lost attempt's, has not
            // come to its end.
            Err(error) if classify(&error) == Fault::Missing => exists.map_err(unsettled),
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
        let read = self.repeat("read", name, || {
            let path = &path;
            async move {
                self.counters.count(name, |requests| requests.gets += 1);
                self.store.get_ranges(path, ranges).await
            }
        });
        match read.await {
            Ok(parts) => {
                let bytes: u64 = parts.iter().map(|part| part.len() as u64).sum();
                self.counters.count(name, |requests| requests.get_bytes += bytes);
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
        self.counters.count(name, |requests| requests.gets += 1);
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
        let deleted = self.repeat("delete", name, || async {
            self.counters.count(name, |requests| requests.deletes += 1);
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
        let listed = self.repeat("list", run, || {
            self.counters.count(run, |requests| requests.lists += 1);
            self.store.list(Some(&prefix)).map_ok(|found| found.location).try_collect::<Vec<Path>>()
        });
        let paths = listed.await.map_err(|(_, error)| error)?;
        self.delete_all(run, paths).await
    }

    /// Deletes objects of a query by their names, and says how many they are. That some are not there is no failure.
    ///
    /// # Errors
    /// As [`ShuffleStore::remove_run`].
    pub async fn remove_objects(&self, run: &str, names: &BTreeSet<String>) -> Result<u64, ShuffleError> {
        let mut paths = vec![];
        for name in names {
            if !name.parse::<ObjectName>().is_ok_and(|name| name.run == run) {
                return Err(ShuffleError::NoPlainId { id: name.clone() });
            }
            paths.push(self.path(name));
        }
        self.delete_all(run, paths).await
    }

    async fn delete_all(&self, run: &str, paths: Vec<Path>) -> Result<u64, ShuffleError> {
        let count = paths.len() as u64;
        if paths.is_empty() {
            return Ok(0);
        }
        let deleted = self.repeat("delete", run, || async {
            self.counters.count(run, |requests| requests.deletes += count);
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
        let listed = self.repeat("list", "", || {
            self.counters.count("", |requests| requests.lists += 1);
            self.newest_of_runs()
        });
        let newest = listed.await.map_err(|(_, error)| error)?;
        let now = self.clock.wall();
        let old = |written: SystemTime| now.duration_since(written).is_ok_and(|passed| passed > age);
        Ok(newest.into_iter().filter(|(_, written)| old(*written)).map(|(run, _)| run).collect())
    }

    async fn newest_of_runs(&self) -> object_store::Result<BTreeMap<String, SystemTime>> {
        let mut newest = BTreeMap::new();
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
    pub(super) fn path(&self, name: &str) -> Path {
        name.split('/').map(PathPart::from).fold(self.prefix.clone(), Path::join)
    }

    /// An object's name for messages about the store rather than about the object.
    pub(super) fn full_name(&self, name: &str) -> String {
        format!("{}/{name}", self.place.trim_end_matches('/'))
    }

    /// Makes attempts until one succeeds or fails for good or the budget is spent.
    async fn repeat<T, F>(
        &self,
        operation: &'static str,
        object: &str,
        attempt: impl Fn() -> F,
    ) -> Result<T, (Fault, ShuffleError)>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        self.repeat_within(self.retry, operation, object, attempt).await
    }

    /// As [`ShuffleStore::repeat`], with another budget.
    pub(super) async fn repeat_within<T, F>(
        &self,
        retry: Retry,
        operation: &'static str,
        object: &str,
        attempt: impl Fn() -> F,
    ) -> Result<T, (Fault, ShuffleError)>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let started = Instant::now();
        let unavailable = |attempts: u32, detail: String| {
            let object = self.full_name(object);
            (Fault::Transient, ShuffleError::Unavailable { operation, object, attempts, detail })
        };
        let mut number = 1;
        loop {
            let left = retry.total.saturating_sub(started.elapsed());
            let error = match timeout(left, attempt()).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) => error,
                Err(_) => {
                    return Err(unavailable(number, format!("no answer came within {:?}", retry.total)));
                }
            };
            let fault = classify(&error);
            if fault != Fault::Transient {
                let object = self.full_name(object);
                return Err((fault, ShuffleError::Refused { operation, object, source: error }));
            }
            let pause = retry.pause_after(number, rand::random());
            let pause = pause.filter(|pause| started.elapsed() + *pause < retry.total);
            let Some(pause) = pause else { return Err(unavailable(number, error.to_string())) };
            tracing::debug!(operation, object, attempt = number, %error, "the shuffle store is asked again");
            self.counters.count(object, |requests| requests.retries += 1);
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
