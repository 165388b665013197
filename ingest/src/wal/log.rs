//! The handle that appenders share.

use std::fmt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};

use super::disk::{Disk, RealDisk};
use super::ticket::Ticket;
use super::usage::Usage;
use super::writer::{Append, Command, Writer};
use super::{Payload, Position, Recovered, WalError, WalOptions, directory, record, recovery};

/// An open log: shared by reference or in an `Arc`, written by one thread of its own.
///
/// It is *open* until [`Wal::close`], or until it is dropped. While open, a failure of the storage fails
/// the records that it hits (see the [module](super)) and nothing else: each later append tries again.
///
/// Dropping it writes what is queued and waits for that, blocking the thread. In async code, prefer
/// [`Wal::close`].
pub struct Wal {
    /// `None` once closed.
    queue: Mutex<Option<mpsc::Sender<Command>>>,
    usage: Arc<Usage>,
    max_payload: usize,
    /// The writer's end is dropped when it has written everything and unlocked the directory.
    done: watch::Receiver<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Wal {
    /// Opens the log, or makes a new one, and gives each record that it holds to `replay`, in order.
    ///
    /// Blocks: it reads the whole log, one segment in memory at a time.
    ///
    /// # Errors
    ///
    /// [`WalError::Locked`] if it is open elsewhere; [`WalError::Damaged`] if durable bytes are missing or
    /// changed; [`WalError::Version`], [`WalError::Options`], [`WalError::Io`]; and whatever `replay`
    /// returns. `replay` may have been given records before any of these, except for `Locked` and
    /// `Options`. It is safe to call `open` again after an error.
    pub fn open(
        options: WalOptions,
        replay: impl FnMut(Position, &[u8]) -> Result<(), WalError>,
    ) -> Result<(Self, Recovered), WalError> {
        Self::open_on(Arc::new(RealDisk), options, replay)
    }

    pub(super) fn open_on(
        disk: Arc<dyn Disk>,
        options: WalOptions,
        replay: impl FnMut(Position, &[u8]) -> Result<(), WalError>,
    ) -> Result<(Self, Recovered), WalError> {
        options.check()?;
        directory::prepare(&options.directory)?;
        let lock = directory::lock(&options.directory)?;
        let (store, recovered) = recovery::recover(disk, &options, replay)?;

        let usage = Arc::new(Usage::new(options.max_bytes, store.used(), store.end()));
        let (sender, receiver) = mpsc::channel(options.queue);
        let (finished, done) = watch::channel(());
        let writer = Writer::new(store, Arc::clone(&usage), receiver);
        let thread = thread::Builder::new()
            .name("wal-writer".to_owned())
            .spawn(move || writer.run(lock, finished))
            .map_err(WalError::io("start the writer of", &options.directory))?;
        let wal = Self {
            queue: Mutex::new(Some(sender)),
            usage,
            max_payload: options.max_payload(),
            done,
            thread: Mutex::new(Some(thread)),
        };
        Ok((wal, recovered))
    }

    /// Appends a record and waits until it is durable. Returns where it begins.
    ///
    /// Waits for room in the queue first. If the future is dropped before it completes, the record may or
    /// may not be appended.
    ///
    /// # Errors
    ///
    /// Those of [`Permit::enqueue`] and of [`Ticket`].
    pub async fn append(&self, payload: impl Into<Payload>) -> Result<Position, WalError> {
        let payload = payload.into();
        self.check_size(&payload)?;
        self.reserve().await?.enqueue(payload)?.await
    }

    /// Waits for room for one record in the queue.
    ///
    /// For callers who fix the order of records under a lock: reserve first, take the lock,
    /// [`Permit::enqueue`], release it, await the [`Ticket`].
    ///
    /// # Errors
    ///
    /// [`WalError::Full`] at once if not even an empty record fits until a trim; [`WalError::Closed`].
    pub async fn reserve(&self) -> Result<Permit<'_>, WalError> {
        self.usage.check(record::framed(0))?;
        let queue = self.sender()?;
        let room = queue.reserve_owned().await.map_err(|_| WalError::Stopped)?;
        Ok(Permit { wal: self, room })
    }

    /// Puts a record in the order of the log now, without waiting.
    ///
    /// # Errors
    ///
    /// [`WalError::Busy`] if the queue has no room, and those of [`Permit::enqueue`].
    pub fn enqueue(&self, payload: impl Into<Payload>) -> Result<Ticket, WalError> {
        let room = self.sender()?.try_reserve_owned().map_err(|refused| match refused {
            TrySendError::Full(_) => WalError::Busy,
            TrySendError::Closed(_) => WalError::Stopped,
        })?;
        Permit { wal: self, room }.enqueue(payload)
    }

    /// Gives back the room of all segments that lie wholly before `upto`. Their records are not replayed
    /// any more; later records that share a segment with one at or after `upto` are.
    ///
    /// When nothing at or after `upto` is left, the log shrinks to an empty segment. Takes its turn behind
    /// the records that are queued.
    ///
    /// # Errors
    ///
    /// [`WalError::Io`] if the storage fails: some segments may be gone, none out of order, and the call
    /// can be repeated. [`WalError::Closed`]; [`WalError::Stopped`].
    pub async fn trim(&self, upto: Position) -> Result<(), WalError> {
        let (answer, trimmed) = oneshot::channel();
        let queue = self.sender()?;
        queue.send(Command::Trim { upto, answer }).await.map_err(|_| WalError::Stopped)?;
        drop(queue);
        trimmed.await.unwrap_or(Err(WalError::Stopped))
    }

    /// Bytes of the live segments on disk, with their headers; without what is queued.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.usage.stored()
    }

    /// The durable end of the log: where the next record would begin if nothing is queued.
    #[must_use]
    pub fn end(&self) -> Position {
        self.usage.end()
    }

    /// Writes everything that is queued, stops the writer and unlocks the directory.
    ///
    /// Calls that already wait for room are let through first, and so are the permits that are in hand:
    /// this waits for them. Each record's own answer says how it went.
    ///
    /// # Errors
    ///
    /// [`WalError::Stopped`] if the writer had died before.
    pub async fn close(&self) -> Result<(), WalError> {
        drop(self.queue.lock().take());
        let mut done = self.done.clone();
        while done.changed().await.is_ok() {}
        self.join()
    }

    fn join(&self) -> Result<(), WalError> {
        let thread = self.thread.lock().take();
        thread.map_or(Ok(()), |thread| thread.join().map_err(|_| WalError::Stopped))
    }

    fn sender(&self) -> Result<mpsc::Sender<Command>, WalError> {
        self.queue.lock().clone().ok_or(WalError::Closed)
    }

    fn check_size(&self, payload: &Payload) -> Result<(), WalError> {
        if payload.len() > self.max_payload {
            return Err(WalError::TooLarge { bytes: payload.len(), limit: self.max_payload });
        }
        Ok(())
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        drop(self.queue.get_mut().take());
        if self.join().is_err() {
            tracing::error!("write-ahead log writer had died");
        }
    }
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal").field("usage", &self.usage).finish_non_exhaustive()
    }
}

/// Room for one record in the queue.
///
/// It borrows the log, because a log that is dropped waits for its permits: one that outlived it in the
/// same thread would make that wait endless.
#[must_use = "room that is not used keeps others waiting"]
pub struct Permit<'a> {
    wal: &'a Wal,
    room: mpsc::OwnedPermit<Command>,
}

impl Permit<'_> {
    /// Puts a record in the order of the log now, in the order of these calls and not of the reservations.
    ///
    /// # Errors
    ///
    /// [`WalError::TooLarge`] or [`WalError::Full`]. The record is then not in the log, and the room in
    /// the queue is given back.
    pub fn enqueue(self, payload: impl Into<Payload>) -> Result<Ticket, WalError> {
        let payload = payload.into();
        self.wal.check_size(&payload)?;
        self.wal.usage.admit(record::framed(payload.len()))?;
        let (answer, ticket) = Ticket::new();
        drop(self.room.send(Command::Append(Append { payload, answer })));
        Ok(ticket)
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}
