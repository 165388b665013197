//! An open stream: takes rows, hands them to the log, seals them, and lets queries see all of them.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use arrow::array::{BooleanArray, RecordBatch};
use datafusion::common::DataFusionError;
use parking_lot::Mutex;
use polarway_storage::streams::{Committed, Manifest, Owed, Ownership, Segment, StreamError};
use thiserror::Error;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::arrivals::{Arrivals, Recent as RecentRows};
use super::cuts::{Cut, Cuts};
use super::handed::{handed, has_received, without_received};
use super::options::{StreamOptions, Unsealed};
use super::producers::Producers;
use super::recent::{Key as RowKey, Keyer, Recent, only_new};
use super::record::{Draft, Origin, Record, RecordError, Sender};
use super::replay::Replay;
use super::retention::micros;
use super::state::{Fate, FrameRows, Progress, State, Taken};
use crate::durability::Durability;
use crate::hot::{Hot, HotSnapshot};
use crate::seal::{FileOptions, SealError, SealedFile, seal};
use crate::wal::{Permit, Position, Ticket, Wal, WalError, WalOptions};

/// Groups that are on their way to the log at the same time.
pub const LOG_QUEUE: usize = 1024;
/// Bytes of records that are on their way, a larger one alone: 8 MiB.
const QUEUE_UNIT: usize = 1024;
const QUEUE_UNITS: u32 = 8 << 10;
/// Bytes of one file of the log.
pub const LOG_SEGMENT: u64 = 64 << 20;
const GROUP_ROWS: usize = 128 << 10;
/// How often it is looked whether there is something to seal or to forget.
const TICK: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_secs(1);
const EXTENSION: &str = ".parquet";

/// Why a stream cannot be opened, or does not take rows.
#[derive(Debug, Error)]
pub enum LiveError {
    #[error("the log of stream `{stream}` cannot be used: {source}")]
    Log { stream: String, source: WalError },
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("rows do not fit the stream: {0}")]
    Rows(#[from] DataFusionError),
    #[error("rows cannot be sealed: {0}")]
    Seal(#[from] SealError),
    #[error(transparent)]
    Sealed(#[from] StreamError),
    /// Rows that were taken are not in the log and are no longer in the stream; they may be sent again.
    #[error("rows were taken back, since the log of stream `{stream}` failed{}", if *disk_full { ": its disk is full" } else { "" })]
    TakenBack { stream: String, disk_full: bool },
    #[error("stream `{stream}` is closed")]
    Closed { stream: String },
    /// The process may not be the stream's owner any more: it does not know.
    #[error("stream `{stream}` takes no rows: its owner is not registered in the cluster at the moment")]
    Suspended { stream: String },
    #[error("stream `{stream}` has another owner{}", told_where(at))]
    Moved {
        stream: String,
        /// Where its senders connect now, `host:port`, if that is known.
        at: Option<String>,
    },
    /// Rows of a log that is not owed, because all of them are there.
    #[error("stream `{stream}` has no use for log {log}")]
    NotOwed { stream: String, log: u64 },
    #[error("a step of stream `{stream}` ended without an answer: {cause}")]
    Lost { stream: String, cause: String },
}

fn told_where(at: &Option<String>) -> String {
    at.as_ref().map(|at| format!(" at {at}")).unwrap_or_default()
}

/// Where the rows of a group are, or where those lie that were there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    generation: u64,
    to: u64,
    record: u64,
    /// Rows that are new.
    pub rows: usize,
}

impl Appended {
    /// Whether `later` is in the log only if this is, and waiting for it is waiting for both.
    pub fn is_followed_by(&self, later: &Self) -> bool {
        self.generation == later.generation
    }
}

/// What a query sees: the sealed rows up to a place, and those in memory from there on.
#[derive(Debug, Clone)]
pub struct View {
    sealed: Arc<Committed>,
    pub hot: HotSnapshot,
}

impl View {
    pub fn manifest(&self) -> &Manifest {
        &self.sealed.manifest
    }
}

#[derive(Debug)]
struct Inner {
    state: State,
    sealed: Arc<Committed>,
    /// Where the last record ends that the log has.
    written_to: Option<Position>,
    cuts: Cuts,
    /// Keys of the latest rows, where rows have keys.
    recent: Option<Recent>,
    /// Up to where the log was cut off last.
    trimmed: Position,
    /// Since when there are rows that are not sealed.
    unsealed_since: Option<Instant>,
    arrivals: Arrivals,
    /// Rows before the place may leave memory at the time.
    leaving: VecDeque<(Instant, u64)>,
    /// Files of expired rows, and when they may go.
    expired: Vec<(Instant, String)>,
}

impl Inner {
    /// For who waits for rows that are there: they may still be on their way to the log.
    fn all_so_far(&self) -> Appended {
        let (generation, to) = self.state.next();
        Appended { generation, to, record: self.state.records(), rows: 0 }
    }

    /// Which rows are new by their keys; none when all are.
    fn news(&self, keys: Option<&[RowKey]>) -> Option<BooleanArray> {
        self.recent.as_ref()?.news(keys?)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Standing {
    progress: Progress,
    sealed: u64,
}

/// See the module's page.
#[derive(Debug)]
pub struct Live {
    options: StreamOptions,
    keyer: Option<Keyer>,
    inner: Mutex<Inner>,
    log: Wal,
    ownership: Ownership,
    /// Held by who seals: a second would write the same files.
    sealing: tokio::sync::Mutex<()>,
    standing: watch::Sender<Standing>,
    written: mpsc::Sender<Written>,
    room: Notify,
    /// Records on their way to the log, which are in memory beside their rows; in units of [`QUEUE_UNIT`].
    queue: Arc<Semaphore>,
    /// Bytes that rows take beside themselves while these are sealed, as a file: at most about as much again.
    copies: AtomicUsize,
    /// Whether the last failure of the log was for want of room on its disk.
    disk_full: AtomicBool,
    closed: CancellationToken,
    /// Set before it is closed because another process has the stream.
    moved: OnceLock<Option<String>>,
}

/// A group that the log was given.
#[derive(Debug)]
struct Written {
    ticket: Ticket,
    taken: Taken,
    /// Bytes of its record.
    length: usize,
    /// In the log's queue, until it is written.
    room: OwnedSemaphorePermit,
}

/// What a record needs on its way to the log.
struct Room<'a> {
    draft: Draft,
    bytes: OwnedSemaphorePermit,
    follow: mpsc::Permit<'a, Written>,
    permit: Permit<'a>,
}

/// The work that goes on beside: [`Live::follow`] and [`Live::keep`] have to run as long as the stream is open.
#[derive(Debug)]
pub struct Following(mpsc::Receiver<Written>);

impl Live {
    /// Opens the stream: what was sealed, and over it what the log holds.
    pub async fn open(
        options: StreamOptions,
        ownership: Ownership,
    ) -> Result<(Arc<Self>, Following), LiveError> {
        let sealed = ownership.load().await?;
        let (name, schema) = (options.name.clone(), Arc::clone(&options.schema));
        let log = WalOptions {
            directory: options.log.clone(),
            segment_bytes: LOG_SEGMENT.min(options.log_limit / 4),
            max_bytes: options.log_limit,
            queue: LOG_QUEUE,
        };
        let (from, producers) = (sealed.manifest.sealed_to, Producers::sealed(&sealed.manifest));
        let opened = tokio::task::spawn_blocking(move || {
            let mut replay = Replay::new(Arc::clone(&schema), from, producers);
            let mut written = None;
            let taken = Wal::open(log, |position, bytes| {
                let record = Record::read(bytes, &schema).map_err(WalError::replay)?;
                if replay.take(record).map_err(WalError::replay)? {
                    written = Some(position.after(bytes.len()));
                }
                Ok(())
            });
            let (log, recovered) = taken?;
            Ok::<_, WalError>((log, recovered, replay.finish().map_err(WalError::replay)?, written))
        })
        .await;
        let lost = |cause: tokio::task::JoinError| LiveError::Lost {
            stream: name.clone(),
            cause: cause.to_string(),
        };
        let fault = |source| LiveError::Log { stream: name.clone(), source };
        let (log, recovered, state, written_to) = opened.map_err(lost)?.map_err(fault)?;
        let rows = state.hot().end() - sealed.manifest.sealed_to;
        tracing::info!(
            stream = options.name,
            id = options.id,
            rows,
            torn_bytes = recovered.torn_bytes,
            "opened"
        );
        let keyer = options.key.clone().map(|key| Keyer::new(key, &options.schema)).transpose();
        let keyer = keyer.map_err(DataFusionError::from)?;
        let recent = match &keyer {
            Some(keyer) => Some(recent(keyer, &ownership, &sealed.manifest, state.hot()).await?),
            None => None,
        };
        let (written, follow) = mpsc::channel(LOG_QUEUE);
        let standing = Standing { progress: state.progress().clone(), sealed: sealed.manifest.sealed_to };
        let inner = Inner {
            unsealed_since: (rows > 0).then(Instant::now),
            arrivals: Arrivals::new(Instant::now()),
            state,
            sealed: Arc::new(sealed),
            written_to,
            cuts: Cuts::default(),
            recent,
            trimmed: Position(0),
            leaving: VecDeque::new(),
            expired: vec![],
        };
        let live = Self {
            options,
            keyer,
            inner: Mutex::new(inner),
            log,
            ownership,
            sealing: tokio::sync::Mutex::default(),
            standing: watch::Sender::new(standing),
            written,
            room: Notify::new(),
            queue: Arc::new(Semaphore::new(QUEUE_UNITS as usize)),
            copies: AtomicUsize::new(0),
            disk_full: AtomicBool::new(false),
            closed: CancellationToken::new(),
            moved: OnceLock::new(),
        };
        Ok((Arc::new(live), Following(follow)))
    }

    pub fn options(&self) -> &StreamOptions {
        &self.options
    }

    /// The epoch in which it was claimed.
    pub fn epoch(&self) -> u64 {
        self.ownership.epoch()
    }

    /// The last number of a producer whose rows are in the log.
    pub fn last(&self, producer: &str) -> u64 {
        self.inner.lock().state.last_durable(producer)
    }

    /// The place after the last row that cannot be taken back any more.
    pub fn durable(&self) -> u64 {
        self.standing.borrow().progress.durable
    }

    /// What has arrived lately.
    pub fn recent(&self) -> RecentRows {
        self.inner.lock().arrivals.recent(Instant::now())
    }

    /// Bytes of rows in memory.
    pub fn hot_bytes(&self) -> usize {
        self.inner.lock().state.hot().bytes()
    }

    /// Bytes of the log on disk.
    pub fn log_bytes(&self) -> u64 {
        self.log.used_bytes()
    }

    /// All rows, as they are at this moment.
    pub fn view(&self) -> View {
        let inner = self.inner.lock();
        let hot = inner.state.snapshot(inner.sealed.manifest.sealed_to, inner.state.hot().end());
        View { sealed: Arc::clone(&inner.sealed), hot }
    }

    /// Rows `from..to`; `None` when some of them have left memory.
    pub fn held(&self, from: u64, to: u64) -> Option<HotSnapshot> {
        Some(self.inner.lock().state.snapshot(from, to)).filter(HotSnapshot::is_whole)
    }

    /// Removes what the stream has in the object store and in the log's directory. It must be closed.
    pub async fn remove(&self) -> Result<(), LiveError> {
        self.ownership.remove().await?;
        match tokio::fs::remove_dir_all(&self.options.log).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let cause = format!("its log at {} cannot be removed: {error}", self.options.log.display());
                Err(LiveError::Lost { stream: self.options.name.clone(), cause })
            }
            _ => Ok(()),
        }
    }

    /// The full path of a file of sealed rows, in its store.
    pub fn full_path(&self, segment: &Segment) -> object_store::path::Path {
        self.ownership.store().full(&segment.path)
    }

    /// Takes the rows of a group of frames, without those that are there already. Waits while there is no room.
    ///
    /// # Errors
    /// [`LiveError::Rows`] when they do not fit; [`LiveError::Log`] when the log takes none now; [`LiveError::Closed`].
    pub async fn append(
        &self,
        rows: RecordBatch,
        producer: Option<&Arc<str>>,
        frames: &[FrameRows],
    ) -> Result<Appended, LiveError> {
        let mut rows = self.fitting(&rows)?;
        let mut frames = frames.to_vec();
        loop {
            self.wait_for_room().await?;
            let keys = self.keys(&rows)?;
            let origin = Origin::sent(producer, &frames);
            let room = self.room(&rows, &origin).await?;
            let mut inner = self.inner.lock();
            let known = producer.map_or(0, |producer| inner.state.known(producer, &frames));
            if known > 0 {
                let count: usize = frames.drain(..known).map(|frame| frame.rows).sum();
                rows = rows.slice(count, rows.num_rows() - count);
                if frames.is_empty() {
                    return Ok(inner.all_so_far());
                }
                continue;
            }
            if let Some(new) = inner.news(keys.as_deref()) {
                rows = only_new(&rows, &mut frames, &new).map_err(DataFusionError::from)?;
                continue;
            }
            return self.place(&mut inner, rows, origin, keys.as_deref(), room);
        }
    }

    /// Takes the rows of a record that an owner before this one has in its log, number `number` of those that it hands over,
    /// without those frames that have come since in another way. A record that is there already changes nothing.
    ///
    /// # Errors
    /// As [`Live::append`]; [`LiveError::NotOwed`] when all rows of that log are there.
    pub async fn take_in(&self, log: u64, number: u64, record: Record) -> Result<Appended, LiveError> {
        let mut rows = self.fitting(&record.rows)?;
        let mark = Sender { producer: Owed::producer(log).into(), number };
        let mut origin = handed(record.origin, rows.num_rows(), mark);
        loop {
            self.wait_for_room().await?;
            {
                let inner = self.inner.lock();
                if let Some(here) = self.is_here(&inner, log, &origin)? {
                    return Ok(here);
                }
                let producers = inner.state.seen_producers();
                rows = without_received(&rows, &mut origin, producers, log).map_err(DataFusionError::from)?;
            }
            let keys = self.keys(&rows)?;
            let room = self.room(&rows, &origin).await?;
            let mut inner = self.inner.lock();
            if let Some(here) = self.is_here(&inner, log, &origin)? {
                return Ok(here);
            }
            if has_received(&origin, inner.state.seen_producers(), log) {
                continue;
            }
            if let Some(new) = inner.news(keys.as_deref()) {
                rows = only_new(&rows, &mut origin.frames, &new).map_err(DataFusionError::from)?;
                continue;
            }
            return self.place(&mut inner, rows, origin, keys.as_deref(), room);
        }
    }

    /// All that has to be waited for before rows are placed.
    async fn room(&self, rows: &RecordBatch, origin: &Origin) -> Result<Room<'_>, LiveError> {
        let draft = Draft::new(rows, origin)?;
        let bytes = self.room_in_queue(draft.size()).await?;
        let follow = self.written.reserve().await.map_err(|_| self.is_closed())?;
        let permit = self.log.reserve().await.map_err(|source| self.log_fault(source))?;
        Ok(Room { draft, bytes, follow, permit })
    }

    /// How many records of a log of an owner before this one are there; none if all its rows are.
    pub fn taken_in(&self, log: u64) -> Option<u64> {
        let inner = self.inner.lock();
        let producers = inner.state.durable_producers();
        producers.owes(log).map(|_| producers.last(&Owed::producer(log)))
    }

    /// Logs of owners before this one that may hold rows which are nowhere else.
    pub fn owed(&self) -> usize {
        self.inner.lock().sealed.manifest.owed.len()
    }

    /// Seals what has been handed over of a log, and notes that it is all there was. From then on the log may go.
    ///
    /// # Errors
    /// [`LiveError::Sealed`], when it is not known whether that was noted; those of [`Live::seal`].
    pub async fn settle_log(&self, log: u64) -> Result<(), LiveError> {
        let handed = self.durable();
        while self.inner.lock().sealed.manifest.sealed_to < handed {
            if !self.seal().await? {
                return Err(LiveError::TakenBack { stream: self.options.name.clone(), disk_full: false });
            }
        }
        let _alone = self.sealing.lock().await;
        let current = Arc::clone(&self.inner.lock().sealed);
        if current.manifest.owes(log).is_some() {
            let committed = self.commit(&current, current.manifest.settled(log)).await?;
            let mut inner = self.inner.lock();
            inner.sealed = Arc::new(committed);
            inner.state.settle(log);
        }
        tracing::info!(stream = self.options.name, log, "all rows of an earlier owner are there");
        Ok(())
    }

    fn fitting(&self, rows: &RecordBatch) -> Result<RecordBatch, LiveError> {
        let fitting = RecordBatch::try_new(Arc::clone(&self.options.schema), rows.columns().to_vec());
        Ok(fitting.map_err(DataFusionError::from)?)
    }

    fn keys(&self, rows: &RecordBatch) -> Result<Option<Vec<RowKey>>, LiveError> {
        let keys = self.keyer.as_ref().map(|keyer| keyer.keys(rows)).transpose();
        Ok(keys.map_err(DataFusionError::from)?)
    }

    /// Where a record of an earlier log is, if it is there: by that log, or by one that it was in before.
    fn is_here(&self, inner: &Inner, log: u64, origin: &Origin) -> Result<Option<Appended>, LiveError> {
        let producers = inner.state.seen_producers();
        if producers.owes(log).is_none() {
            return Err(LiveError::NotOwed { stream: self.options.name.clone(), log });
        }
        let is_here = |mark: &Sender| {
            let settled = Owed::log_of(&mark.producer).is_some_and(|of| producers.owes(of).is_none());
            settled || producers.last(&mark.producer) >= mark.number
        };
        Ok(origin.marks.iter().any(is_here).then(|| inner.all_so_far()))
    }

    /// Gives rows their place, and hands them to the log.
    fn place(
        &self,
        inner: &mut Inner,
        rows: RecordBatch,
        origin: Origin,
        keys: Option<&[RowKey]>,
        room: Room<'_>,
    ) -> Result<Appended, LiveError> {
        let Room { draft, bytes, follow, permit } = room;
        let (generation, place) = inner.state.next();
        let record = draft.placed(generation, place);
        let length = record.len();
        let ticket = permit.enqueue(record).map_err(|source| self.log_fault(source))?;
        let count = rows.num_rows();
        let taken = inner.state.take(rows, origin)?;
        if let (Some(recent), Some(keys)) = (&mut inner.recent, keys) {
            recent.add(taken.from, keys);
        }
        let now = Instant::now();
        inner.unsealed_since.get_or_insert(now);
        inner.arrivals.add(now, count as u64);
        let appended = Appended { generation, to: taken.to, record: taken.record, rows: count };
        follow.send(Written { ticket, taken, length, room: bytes });
        Ok(appended)
    }

    /// Waits until what was appended, and all before it, has come so far.
    ///
    /// # Errors
    /// [`LiveError::TakenBack`] when the log failed; [`LiveError::Suspended`], [`LiveError::Moved`] when somebody else may
    /// have the stream, or has it; [`LiveError::Closed`].
    pub async fn reached(&self, appended: Appended, durability: Durability) -> Result<(), LiveError> {
        if durability == Durability::Received {
            return Ok(());
        }
        let mut standing = self.standing.subscribe();
        loop {
            {
                let now = standing.borrow_and_update();
                match now.progress.fate(appended.generation, appended.to, appended.record) {
                    Fate::TakenBack => {
                        return Err(LiveError::TakenBack {
                            stream: self.options.name.clone(),
                            disk_full: self.disk_full.load(Ordering::Relaxed),
                        });
                    }
                    // Sealed rows are the stream's, whoever has it now.
                    Fate::Durable if now.sealed >= appended.to => return Ok(()),
                    Fate::Durable if durability == Durability::Wal => return self.may_take(),
                    Fate::Durable | Fate::Open => {}
                }
            }
            tokio::select! {
                changed = standing.changed() => changed.map_err(|_| self.is_closed())?,
                () = self.closed.cancelled() => return Err(self.is_closed()),
            }
        }
    }

    /// Whether rows may be taken and acknowledged at this moment.
    fn may_take(&self) -> Result<(), LiveError> {
        if self.closed.is_cancelled() {
            return Err(self.is_closed());
        }
        match self.options.tenure.holds() {
            true => Ok(()),
            false => Err(LiveError::Suspended { stream: self.options.name.clone() }),
        }
    }

    /// Waits until the log has written enough for a record of so many bytes.
    async fn room_in_queue(&self, bytes: usize) -> Result<OwnedSemaphorePermit, LiveError> {
        let units = u32::try_from(bytes / QUEUE_UNIT + 1).unwrap_or(QUEUE_UNITS).min(QUEUE_UNITS);
        Arc::clone(&self.queue).acquire_many_owned(units).await.map_err(|_| self.is_closed())
    }

    async fn wait_for_room(&self) -> Result<(), LiveError> {
        loop {
            let room = self.room.notified();
            self.may_take()?;
            let held = self.inner.lock().state.hot().bytes();
            // Records on their way to the log are rows in memory too.
            let queued = (QUEUE_UNITS as usize - self.queue.available_permits()) * QUEUE_UNIT;
            let copies = self.copies.load(Ordering::Relaxed).saturating_add(queued);
            if held.saturating_add(copies) < self.options.hot_limit {
                return Ok(());
            }
            tokio::select! {
                () = room => {}
                () = self.closed.cancelled() => {}
            }
        }
    }

    /// Notes what the log has written, until the stream is closed.
    pub async fn follow(&self, following: Following) {
        let Following(mut written) = following;
        loop {
            tokio::select! {
                biased;
                group = written.recv() => match group {
                    Some(group) => self.settle(group).await,
                    None => return,
                },
                () = self.closed.cancelled() => break,
            }
        }
        while let Ok(group) = written.try_recv() {
            self.settle(group).await;
        }
    }

    async fn settle(&self, Written { ticket, taken, length, room }: Written) {
        let outcome = ticket.await;
        drop(room);
        self.room.notify_waiters();
        let mut inner = self.inner.lock();
        match outcome {
            Ok(position) => {
                let inner = &mut *inner;
                if inner.state.written(&taken) {
                    inner.written_to = Some(position.after(length));
                    let from = inner.cuts.last().unwrap_or(inner.sealed.manifest.sealed_to);
                    if inner.state.hot().bytes_from(from) >= self.options.portion() {
                        inner.cuts.add(Cut {
                            place: taken.to,
                            producers: inner.state.durable_producers().clone(),
                            position: Some(position.after(length)),
                            at: Instant::now(),
                        });
                    }
                }
            }
            Err(error) => {
                if inner.state.failed(&taken) {
                    let end = inner.state.hot().end();
                    if let Some(recent) = &mut inner.recent {
                        recent.truncate(end);
                    }
                    let full = matches!(&error, WalError::NotWritten { source }
                        if source.kind() == io::ErrorKind::StorageFull);
                    self.disk_full.store(full, Ordering::Relaxed);
                    tracing::warn!(stream = self.options.name, %error, from = taken.from, "rows were taken back");
                    self.room.notify_waiters();
                }
            }
        }
        self.publish(&inner);
    }

    fn publish(&self, inner: &Inner) {
        let standing =
            Standing { progress: inner.state.progress().clone(), sealed: inner.sealed.manifest.sealed_to };
        self.standing.send_if_modified(|last| {
            let changed = *last != standing;
            *last = standing;
            changed
        });
    }

    /// Seals and forgets rows as they become due, until the stream is closed.
    pub async fn keep(&self) {
        if let Err(error) = self.remove_orphans().await {
            tracing::warn!(stream = self.options.name, %error, "files that no manifest lists may be left");
        }
        while !self.closed.is_cancelled() {
            self.forget(Instant::now());
            if let Err(error) = self.expire(self.options.clock.wall()).await {
                tracing::warn!(stream = self.options.name, %error, "rows whose time is over are left");
            }
            let pause = match self.seal_due(Instant::now()).await {
                Ok(true) => continue,
                Ok(false) => TICK,
                Err(LiveError::Sealed(error @ StreamError::Fenced { .. })) => {
                    tracing::warn!(stream = self.options.name, %error, "another process has taken the stream over");
                    let _ = self.moved.set(None);
                    self.closed.cancel();
                    return;
                }
                Err(error) => {
                    tracing::warn!(stream = self.options.name, %error, "not sealed; it will be tried again");
                    RETRY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.closed.cancelled() => {}
            }
        }
    }

    /// Seals if it is due; whether it was.
    pub async fn seal_due(&self, now: Instant) -> Result<bool, LiveError> {
        let due = {
            let inner = self.inner.lock();
            let sealed = inner.sealed.manifest.sealed_to;
            let rows = inner.state.progress().durable.saturating_sub(sealed);
            // Sealed rows stay in memory for a while, and are no reason to seal.
            let bytes = inner.state.hot().bytes_from(sealed) as u64;
            let age =
                inner.unsealed_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
            // Rows that have to leave for others to come are due in any case.
            inner.state.hot().bytes() >= self.options.hot_limit
                || self.log_is_filling(&inner)
                || self.options.seal.is_due(Unsealed { rows, bytes, age })
        };
        if due { self.seal().await } else { Ok(false) }
    }

    /// Whether the log has to give room back, and sealing what it holds would do so.
    fn log_is_filling(&self, inner: &Inner) -> bool {
        let limit = self.options.log_limit;
        self.log.used_bytes() >= limit / 2 && self.log.end().0 - inner.trimmed.0 >= limit / 4
    }

    /// Seals the first portion of the rows that the log has; whether there were any.
    pub async fn seal(&self) -> Result<bool, LiveError> {
        let _alone = self.sealing.lock().await;
        let (current, hot, producers, position, at) = {
            let mut inner = self.inner.lock();
            let (from, durable) = (inner.sealed.manifest.sealed_to, inner.state.progress().durable);
            // Records without rows fill the log too: frames whose rows were all refused.
            if from >= durable && !self.log_is_filling(&inner) {
                return Ok(false);
            }
            let Cut { place, producers, position, at } =
                inner.cuts.first_after(from).unwrap_or_else(|| Cut {
                    place: durable,
                    producers: inner.state.durable_producers().clone(),
                    position: inner.written_to,
                    at: Instant::now(),
                });
            inner.state.hot_mut().mark(place);
            (Arc::clone(&inner.sealed), inner.state.snapshot(from, place), producers, position, at)
        };
        let owed = producers.owed().to_vec();
        let producers = producers.iter().map(|(producer, last)| (producer.to_owned(), last)).collect();
        let (from, to) = (hot.from, hot.to);
        let bytes: usize = hot.runs.iter().map(|run| run.bytes()).sum();
        self.copies.store(bytes.min(self.options.hot_limit / 2), Ordering::Relaxed);
        let segments = self.put(hot).await;
        self.copies.store(0, Ordering::Relaxed);
        self.room.notify_waiters();
        let segments = segments?;
        let next = current.manifest.sealed(segments, to, producers).with_received(&owed);
        let committed = self.commit(&current, next).await?;
        {
            let mut inner = self.inner.lock();
            let inner = &mut *inner;
            let now = Instant::now();
            let to = committed.manifest.sealed_to;
            inner.sealed = Arc::new(committed);
            inner.leaving.push_back((now + self.options.grace, to));
            inner.unsealed_since = (inner.state.hot().end() > to).then_some(at);
            inner.cuts.up_to(to);
            self.publish(inner);
            // Not what has come since: a record without rows may stand at the same place, and its sender's number is not in
            // this manifest.
            inner.trimmed = position.unwrap_or(inner.trimmed);
        }
        self.forget(Instant::now());
        tracing::debug!(stream = self.options.name, from, to, "sealed");
        if let Some(position) = position {
            match self.log.trim(position).await {
                // What is left in it is known to be sealed when it is opened again.
                Err(WalError::Closed) if self.closed.is_cancelled() => {}
                trimmed => trimmed.map_err(|source| self.log_fault(source))?,
            }
        }
        Ok(true)
    }

    /// Commits the manifest. When a store does not tell whether it did, the manifest that is there does.
    async fn commit(&self, current: &Committed, next: Manifest) -> Result<Committed, StreamError> {
        match self.ownership.commit(current, next.clone()).await {
            Ok(committed) => Ok(committed),
            Err(error @ StreamError::Fenced { .. }) => Err(error),
            Err(error) => {
                let found = self.ownership.load().await?;
                if found.manifest == next { Ok(found) } else { Err(error) }
            }
        }
    }

    /// Removes files that owners before this one wrote and did not commit.
    async fn remove_orphans(&self) -> Result<(), LiveError> {
        let listed = self.ownership.store().list().await.map_err(StreamError::from)?;
        let manifest = Arc::clone(&self.inner.lock().sealed);
        let known: HashSet<&str> =
            manifest.manifest.segments.iter().map(|segment| segment.path.as_str()).collect();
        let orphans = listed.iter().filter(|path| {
            !known.contains(path.as_str())
                && epoch_of(path).is_some_and(|epoch| epoch < self.ownership.epoch())
        });
        for path in orphans {
            tracing::info!(stream = self.options.name, path, "a file that no manifest lists is removed");
            self.ownership.store().remove(path).await.map_err(StreamError::from)?;
        }
        Ok(())
    }

    /// Drops sealed rows whose time is over at `now`. Their files go some time later, since queries may read them yet.
    pub async fn expire(&self, now: SystemTime) -> Result<(), LiveError> {
        let Some(retention) = self.options.retention else { return Ok(()) };
        let _alone = self.sealing.lock().await;
        let current = Arc::clone(&self.inner.lock().sealed);
        let Some(next) = retention.applied(&current.manifest, now) else {
            return self.remove_expired().await;
        };
        let committed = self.commit(&current, next).await?;
        {
            let mut inner = self.inner.lock();
            let at = Instant::now() + self.options.grace;
            let kept: HashSet<&str> =
                committed.manifest.segments.iter().map(|segment| segment.path.as_str()).collect();
            let gone =
                current.manifest.segments.iter().filter(|segment| !kept.contains(segment.path.as_str()));
            inner.expired.extend(gone.map(|segment| (at, segment.path.clone())));
            inner.sealed = Arc::new(committed);
        }
        self.remove_expired().await
    }

    /// Removes the files of expired rows whose grace is over.
    async fn remove_expired(&self) -> Result<(), LiveError> {
        let now = Instant::now();
        let due: Vec<String> = {
            let mut inner = self.inner.lock();
            let (due, later): (Vec<_>, Vec<_>) =
                std::mem::take(&mut inner.expired).into_iter().partition(|(at, _)| *at <= now);
            inner.expired = later;
            due.into_iter().map(|(_, path)| path).collect()
        };
        for path in due {
            self.ownership.store().remove(&path).await.map_err(StreamError::from)?;
        }
        Ok(())
    }

    /// Writes the files of `hot`.
    async fn put(&self, hot: HotSnapshot) -> Result<Vec<Segment>, LiveError> {
        let (from, to) = (hot.from, hot.to);
        if hot.rows() == 0 {
            return Ok(vec![]);
        }
        let options = FileOptions { layout: self.options.layout.clone(), group_rows: GROUP_ROWS };
        let schema = Arc::clone(&self.options.schema);
        let sealing = tokio::task::spawn_blocking(move || {
            let batches: Vec<RecordBatch> = hot.runs.iter().filter_map(|run| run.part(from, to)).collect();
            seal(&schema, &batches, &options)
        });
        let lost = |cause: tokio::task::JoinError| LiveError::Lost {
            stream: self.options.name.clone(),
            cause: cause.to_string(),
        };
        let files = sealing.await.map_err(lost)??;
        let sealed_at = micros(self.options.clock.wall());
        let mut segments = Vec::with_capacity(files.len());
        for SealedFile { directory, rows, events, content } in files {
            let separator = if directory.is_empty() { "" } else { "/" };
            let epoch = self.ownership.epoch();
            let path = format!("data/{directory}{separator}{from:020}-{to:020}-{epoch}{EXTENSION}");
            // Left by a try of this owner that did not end in a commit, so that no manifest names it.
            self.ownership.store().remove(&path).await.map_err(StreamError::from)?;
            let bytes = self.ownership.store().create(&path, content).await.map_err(StreamError::from)?.bytes;
            segments.push(Segment { path, from, to, rows, bytes, events, sealed_at });
        }
        Ok(segments)
    }

    /// Lets sealed rows leave memory whose time has come, and, the oldest first, as many as others need the room of: queries
    /// that were planned before they were sealed may still read the others.
    fn forget(&self, now: Instant) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let mut left = false;
        while let Some((at, place)) = inner.leaving.front()
            && (*at <= now || inner.state.hot().bytes() >= self.options.hot_limit / 2)
        {
            inner.state.hot_mut().release(*place);
            inner.leaving.pop_front();
            left = true;
        }
        if left {
            self.room.notify_waiters();
        }
    }

    /// Takes no more rows; those that were taken are in the log when this returns.
    pub async fn close(&self) -> Result<(), LiveError> {
        self.closed.cancel();
        self.room.notify_waiters();
        self.log.close().await.map_err(|source| self.log_fault(source))
    }

    /// Closes it because another process has it now, whose senders connect at `at`.
    ///
    /// # Errors
    /// As [`Live::close`].
    pub async fn give_up(&self, at: Option<String>) -> Result<(), LiveError> {
        // Who asks again keeps what was said first.
        let _ = self.moved.set(at);
        self.close().await
    }

    fn is_closed(&self) -> LiveError {
        let stream = self.options.name.clone();
        match self.moved.get() {
            Some(at) => LiveError::Moved { stream, at: at.clone() },
            None => LiveError::Closed { stream },
        }
    }

    fn log_fault(&self, source: WalError) -> LiveError {
        LiveError::Log { stream: self.options.name.clone(), source }
    }
}

/// The keys of the latest rows of a stream that is opened: of those in memory, and as many sealed ones as there is room for.
async fn recent(
    keyer: &Keyer,
    ownership: &Ownership,
    manifest: &Manifest,
    hot: &Hot,
) -> Result<Recent, LiveError> {
    let in_memory = hot.snapshot(manifest.sealed_to, hot.end());
    let mut left = keyer.limit() as u64;
    left = left.saturating_sub(in_memory.rows());
    let mut files = vec![];
    for segment in manifest.segments.iter().rev() {
        if left == 0 {
            break;
        }
        left = left.saturating_sub(segment.rows);
        let content = ownership.store().read(&segment.path).await.map_err(StreamError::from)?;
        files.push((segment.from, keyer.of_file(content).map_err(SealError::from)?));
    }
    let mut recent = keyer.recent();
    for (place, keys) in files.iter().rev() {
        recent.add(*place, keys);
    }
    for run in &in_memory.runs {
        if let Some(rows) = run.part(in_memory.from, in_memory.to) {
            let keys = keyer.keys(&rows).map_err(DataFusionError::from)?;
            recent.add(run.from().max(in_memory.from), &keys);
        }
    }
    Ok(recent)
}

/// The epoch of the owner that wrote a file of rows.
fn epoch_of(path: &str) -> Option<u64> {
    path.strip_suffix(EXTENSION)?.rsplit_once('-')?.1.parse().ok()
}
