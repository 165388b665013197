//! Stores finished outputs in the background.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use polarway_common::{Attempt, Clock, Error, Supervisor, TaskKind};
use polarway_metastore::MetaStore;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::error::ShuffleError;
use super::name::is_plain;
use super::output::{Output, OutputId};
use super::pack::{Limits, Packer};
use super::plan::Pack;
use super::store::ShuffleStore;
use super::transfer::{Fate, Transfer};

/// Packs that are read and put at one time. Each has at most one object in memory.
const IN_FLIGHT: usize = 2;

/// How outputs are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadSettings {
    pub limits: Limits,
    /// How many outputs wait or are being stored at most; who brings more waits.
    pub queue: usize,
}

impl Default for UploadSettings {
    fn default() -> Self {
        Self { limits: Limits::default(), queue: 1024 }
    }
}

/// What an uploader has done since it started, and has to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UploadMetrics {
    /// Outputs that are stored.
    pub outputs: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Bytes of the files of outputs that are not stored yet.
    pub waiting_bytes: u64,
    /// Outputs that were given up because the store, the metadata store or a file failed.
    pub failures: u64,
}

/// Stores outputs by one supervised task. Clones share it.
#[derive(Debug, Clone)]
pub struct Uploader {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    transfer: Transfer,
    clock: Arc<dyn Clock>,
    /// A permit for each output that may still come.
    room: Arc<Semaphore>,
    state: Mutex<State>,
    /// Something was added or became due.
    wake: Notify,
    /// Changes whenever an output is done with.
    settled: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    packer: Packer,
    /// Outputs that wait or are in flight, in the order in which they came: a task that ran twice has two.
    outstanding: BTreeMap<OutputId, VecDeque<Ticket>>,
    metrics: UploadMetrics,
    stopped: bool,
}

#[derive(Debug)]
struct Ticket {
    bytes: u64,
    done: Option<oneshot::Sender<Result<(), ShuffleError>>>,
    _room: OwnedSemaphorePermit,
}

impl Uploader {
    /// Starts to store outputs, as the process's incarnation `writer`. The task ends with the supervisor's, and then
    /// what is left is not stored; [`Uploader::flush_all`] comes before.
    ///
    /// # Errors
    /// [`ShuffleError::NoPlainId`] if `writer` is none.
    pub fn start(
        settings: UploadSettings,
        store: Arc<ShuffleStore>,
        meta: Arc<dyn MetaStore>,
        writer: &str,
        clock: Arc<dyn Clock>,
        supervisor: &Supervisor,
    ) -> Result<Self, ShuffleError> {
        if !is_plain(writer) {
            return Err(ShuffleError::NoPlainId { id: writer.to_owned() });
        }
        let packer = Packer::new(settings.limits);
        let target = packer.limits().target;
        let state =
            State { packer, outstanding: BTreeMap::new(), metrics: UploadMetrics::default(), stopped: false };
        let shared = Arc::new(Shared {
            transfer: Transfer { store, meta, writer: writer.to_owned(), target },
            clock,
            room: Arc::new(Semaphore::new(settings.queue.clamp(1, Semaphore::MAX_PERMITS))),
            state: Mutex::new(state),
            wake: Notify::new(),
            settled: watch::channel(()).0,
        });
        let driver = drive(Arc::clone(&shared), supervisor.token());
        supervisor.spawn("shuffle-upload", TaskKind::Background, driver);
        Ok(Self { shared })
    }

    /// Hands over an output, to be stored some time. Waits while the queue is full.
    pub async fn submit(&self, output: Output) {
        // What cannot be stored is logged where it fails, and the reader has another way.
        let _ = self.enter(output, None).await;
    }

    /// Stores an output at once, and returns when it is committed. Those that wait at the same moment share an object.
    ///
    /// # Errors
    /// [`ShuffleError::GivenUp`] with the cause, [`ShuffleError::RunOver`] also if a file of it has gone,
    /// [`ShuffleError::Stopped`], [`ShuffleError::NoPlainId`].
    pub async fn commit_now(&self, output: Output) -> Result<(), ShuffleError> {
        let (done, outcome) = oneshot::channel();
        self.enter(output, Some(done)).await?;
        outcome.await.unwrap_or(Err(ShuffleError::Stopped))
    }

    async fn enter(
        &self,
        output: Output,
        done: Option<oneshot::Sender<Result<(), ShuffleError>>>,
    ) -> Result<(), ShuffleError> {
        if !is_plain(&output.id.run) {
            return Err(ShuffleError::NoPlainId { id: output.id.run });
        }
        let room = match Arc::clone(&self.shared.room).try_acquire_owned() {
            Ok(room) => room,
            Err(_) => {
                // What waits for company only keeps others out.
                self.shared.state.lock().packer.flush_all();
                self.shared.wake.notify_one();
                let room = Arc::clone(&self.shared.room).acquire_owned().await;
                room.map_err(|_| ShuffleError::Stopped)?
            }
        };
        self.shared.add(output, done, room)
    }

    /// Stores what waits of a query, and waits as long as `limit` until it is done with. Says how many outputs are left.
    pub async fn flush(&self, run: &str, limit: Duration) -> usize {
        self.flush_those(limit, |packer| packer.flush(run), |id| id.run == run).await
    }

    /// Stores all that waits, and waits as long as `limit` until it is done with. Says how many outputs are left.
    pub async fn flush_all(&self, limit: Duration) -> usize {
        self.flush_those(limit, Packer::flush_all, |_| true).await
    }

    async fn flush_those(
        &self,
        limit: Duration,
        flush: impl Fn(&mut Packer),
        counts: impl Fn(&OutputId) -> bool,
    ) -> usize {
        let mut settled = self.shared.settled.subscribe();
        let left = || {
            let mut state = self.shared.state.lock();
            // Again each time: others may have come.
            flush(&mut state.packer);
            self.shared.wake.notify_one();
            state.outstanding.iter().filter(|(id, _)| counts(id)).map(|(_, tickets)| tickets.len()).sum()
        };
        let empty = async {
            while left() > 0 {
                if settled.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = timeout(limit, empty).await;
        left()
    }

    /// Forgets what waits of an attempt whose files are gone. What is being stored is left to its query's end.
    pub fn forget(&self, attempt: &Attempt) {
        let mut state = self.shared.state.lock();
        for id in state.packer.forget(attempt) {
            // Those that wait came after those in flight.
            let ticket = state.outstanding.get_mut(&id).and_then(VecDeque::pop_back);
            state.settle(&id, ticket, Fate::Unwanted);
        }
        drop(state);
        self.shared.settled.send_replace(());
    }

    pub fn metrics(&self) -> UploadMetrics {
        self.shared.state.lock().metrics
    }
}

impl Shared {
    fn add(
        &self,
        output: Output,
        done: Option<oneshot::Sender<Result<(), ShuffleError>>>,
        room: OwnedSemaphorePermit,
    ) -> Result<(), ShuffleError> {
        let mut state = self.state.lock();
        if state.stopped {
            return Err(ShuffleError::Stopped);
        }
        let urgent = done.is_some();
        let ticket = Ticket { bytes: output.bytes(), done, _room: room };
        state.metrics.waiting_bytes += ticket.bytes;
        state.outstanding.entry(output.id.clone()).or_default().push_back(ticket);
        let run = output.id.run.clone();
        state.packer.add(output, self.clock.now());
        if urgent {
            state.packer.flush(&run);
        }
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Brings a pack where it belongs.
    async fn carry(&self, pack: Pack) {
        let fates = self.transfer.perform(pack).await;
        let mut state = self.state.lock();
        for (id, fate) in fates {
            let ticket = state.outstanding.get_mut(&id).and_then(VecDeque::pop_front);
            state.settle(&id, ticket, fate);
        }
        drop(state);
        self.settled.send_replace(());
    }
}

impl State {
    fn settle(&mut self, id: &OutputId, ticket: Option<Ticket>, fate: Fate) {
        if self.outstanding.get(id).is_some_and(VecDeque::is_empty) {
            self.outstanding.remove(id);
        }
        let outcome = match fate {
            Fate::Committed { bytes } => {
                self.metrics.outputs += 1;
                self.metrics.bytes += bytes;
                Ok(())
            }
            Fate::Unwanted => Err(ShuffleError::RunOver { run: id.run.clone() }),
            Fate::Failed(error) => {
                self.metrics.failures += 1;
                Err(ShuffleError::GivenUp(error))
            }
        };
        let Some(ticket) = ticket else { return };
        self.metrics.waiting_bytes = self.metrics.waiting_bytes.saturating_sub(ticket.bytes);
        if let Some(done) = ticket.done {
            // Whoever waited may have gone.
            let _ = done.send(outcome);
        }
    }
}

/// Lets go of everybody who waits when the task ends, however it does.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.stopped = true;
        state.outstanding.clear();
        state.metrics.waiting_bytes = 0;
        drop(state);
        self.0.room.close();
        self.0.settled.send_replace(());
    }
}

async fn drive(shared: Arc<Shared>, stop: CancellationToken) -> Result<(), Error> {
    let _end = End(Arc::clone(&shared));
    let mut in_flight = FuturesUnordered::new();
    loop {
        let deadline = {
            let mut state = shared.state.lock();
            let now = shared.clock.now();
            while in_flight.len() < IN_FLIGHT {
                let Some(pack) = state.packer.next(now) else { break };
                in_flight.push(shared.carry(pack));
            }
            // With all hands full it does not matter when the next is due.
            state.packer.deadline().filter(|_| in_flight.len() < IN_FLIGHT)
        };
        let due = async {
            match deadline {
                Some(at) => sleep(at.saturating_duration_since(shared.clock.now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            Some(()) = in_flight.next() => {}
            () = shared.wake.notified() => {}
            () = due => {}
        }
    }
}
