//! What tests of stored shuffle output share.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path as LocalPath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use polarway_metastore::{
    EmbeddedMetaStore, Key, Lease, LeaseId, MetaStore, MetaStoreError, Result as MetaResult, Snapshot, Txn,
    TxnOutcome, Versioned, WatchStream,
};
use tokio::sync::Semaphore;

use super::{FileKind, FileName, Output, OutputFile, OutputId, Retry, ShuffleStore};

/// How a request of a [`FaultyStore`] goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Succeeds,
    Transient,
    Permanent,
    /// It takes place, and then fails as if it had not.
    LosesAnswer,
    /// As S3 answers while another write of the object has not ended.
    Conflict,
}

/// A store in memory whose requests go as told, and after that succeed.
#[derive(Debug)]
pub(super) struct FaultyStore {
    pub(super) inner: InMemory,
    pub(super) puts: Mutex<VecDeque<Turn>>,
    pub(super) reads: Mutex<VecDeque<Turn>>,
    pub(super) deletes: Mutex<VecDeque<Turn>>,
    /// Puts overwrite whatever they are told.
    pub(super) ignores_conditions: bool,
    /// Each put takes a permit.
    pub(super) gate: Option<Semaphore>,
}

impl FaultyStore {
    pub(super) fn new() -> Self {
        Self {
            inner: InMemory::new(),
            puts: Mutex::default(),
            reads: Mutex::default(),
            deletes: Mutex::default(),
            ignores_conditions: false,
            gate: None,
        }
    }

    pub(super) fn with_puts(self, turns: impl IntoIterator<Item = Turn>) -> Self {
        self.puts.lock().extend(turns);
        self
    }

    /// All objects, in alphabetical order.
    pub(super) async fn objects(&self) -> Vec<String> {
        use futures::TryStreamExt;
        let found: Vec<ObjectMeta> = self.inner.list(None).try_collect().await.unwrap();
        let mut names: Vec<String> = found.into_iter().map(|found| found.location.to_string()).collect();
        names.sort();
        names
    }

    pub(super) async fn flip_bit(&self, object: &str, at: usize) {
        let path = Path::from(object);
        let mut bytes = self.inner.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
        bytes[at] ^= 1;
        self.inner.put(&path, bytes.into()).await.unwrap();
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

pub(super) fn transient() -> Error {
    let source = io::Error::new(io::ErrorKind::ConnectionReset, "the connection broke");
    Error::Generic { store: "faulty", source: Box::new(source) }
}

pub(super) fn permanent() -> Error {
    Error::PermissionDenied { path: "x".into(), source: "no access".into() }
}

fn next(turns: &Mutex<VecDeque<Turn>>) -> Turn {
    turns.lock().pop_front().unwrap_or(Turn::Succeeds)
}

fn begin(turn: Turn) -> Result<()> {
    match turn {
        Turn::Succeeds | Turn::LosesAnswer => Ok(()),
        Turn::Transient => Err(transient()),
        Turn::Permanent => Err(permanent()),
        Turn::Conflict => Err(Error::AlreadyExists { path: "x".into(), source: "409".into() }),
    }
}

fn end(turn: Turn) -> Result<()> {
    if turn == Turn::LosesAnswer { Err(transient()) } else { Ok(()) }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut opts: PutOptions,
    ) -> Result<PutResult> {
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        let turn = next(&self.puts);
        begin(turn)?;
        if self.ignores_conditions {
            opts.mode = PutMode::Overwrite;
        }
        let put = self.inner.put_opts(location, payload, opts).await?;
        end(turn)?;
        Ok(put)
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        panic!("objects are put as a whole")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        begin(next(&self.reads))?;
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        use futures::StreamExt;
        match begin(next(&self.deletes)) {
            Ok(()) => self.inner.delete_stream(locations),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A store over `inner` that repeats without long pauses.
pub(super) fn store_over(inner: Arc<dyn ObjectStore>) -> ShuffleStore {
    let pause = Duration::from_millis(1);
    let retry =
        Retry { attempts: 4, total: Duration::from_secs(30), first_pause: pause, longest_pause: pause };
    ShuffleStore::new(inner, Path::default(), "memory:///".to_owned()).with_retry(retry)
}

pub(super) fn id(run: &str, task: u32) -> OutputId {
    OutputId { run: run.to_owned(), attempt: 1, stage: 2, task }
}

pub(super) const DATA: FileName = FileName { partition: None, kind: FileKind::Data };
pub(super) const INDEX: FileName = FileName { partition: None, kind: FileKind::Index };

/// Bytes that differ between seeds.
pub(super) fn content(seed: u32, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at as u32).wrapping_mul(2_654_435_761).wrapping_add(seed * 7919).to_le_bytes()[2])
        .collect()
}

/// A file in `directory` and its description.
pub(super) fn file(
    directory: &LocalPath,
    name: FileName,
    unique: &str,
    bytes: &[u8],
    cuts: Vec<u64>,
) -> OutputFile {
    let path: PathBuf = directory.join(unique);
    std::fs::write(&path, bytes).unwrap();
    OutputFile { name, path, length: bytes.len() as u64, cuts }
}

/// An output with data of `length` bytes, cut in two, and an index.
pub(super) fn output(directory: &LocalPath, run: &str, task: u32, length: usize) -> Output {
    let unique = |kind: &str| format!("{run}-{task}-{kind}");
    let cuts = vec![length as u64 / 2];
    let data = file(directory, DATA, &unique("data"), &content(task, length), cuts);
    let index = file(directory, INDEX, &unique("index"), &content(task + 1000, 9), Vec::new());
    Output {
        id: id(run, task),
        memo: Some([task as u8; 16]),
        summary: Bytes::from(format!("summary of {task}")),
        files: vec![data, index],
    }
}

/// A metadata store that has these queries.
pub(super) async fn meta_with(runs: &[&str]) -> Arc<dyn MetaStore> {
    let meta = EmbeddedMetaStore::in_memory().unwrap();
    for run in runs {
        meta.txn(Txn::new().put(Key::Job { run: (*run).to_owned() }.encode(), "job")).await.unwrap();
    }
    Arc::new(meta)
}

/// Ends a query.
pub(super) async fn end_run(meta: &dyn MetaStore, run: &str) {
    meta.txn(Txn::new().delete(Key::Job { run: run.to_owned() }.encode())).await.unwrap();
}

/// A metadata store that says of its first transactions that it does not know their outcome, and counts what they write.
#[derive(Debug)]
pub(super) struct Forgetful {
    inner: Arc<dyn MetaStore>,
    pub(super) forgets: AtomicU32,
    pub(super) sizes: Mutex<Vec<usize>>,
}

impl Forgetful {
    pub(super) fn over(inner: Arc<dyn MetaStore>, forgets: u32) -> Self {
        Self { inner, forgets: AtomicU32::new(forgets), sizes: Mutex::default() }
    }
}

#[async_trait]
impl MetaStore for Forgetful {
    async fn get(&self, key: &str) -> MetaResult<Option<Versioned>> {
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str) -> MetaResult<Snapshot> {
        self.inner.list(prefix).await
    }

    async fn txn(&self, txn: Txn) -> MetaResult<TxnOutcome> {
        self.sizes.lock().push(txn.writes.len());
        let outcome = self.inner.txn(txn).await;
        if self.forgets.load(Ordering::SeqCst) > 0 {
            self.forgets.fetch_sub(1, Ordering::SeqCst);
            return Err(MetaStoreError::OutcomeUnknown { place: "there".into(), detail: "lost".into() });
        }
        outcome
    }

    async fn watch(&self, prefix: &str, after_revision: u64) -> MetaResult<WatchStream> {
        self.inner.watch(prefix, after_revision).await
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
