//! What can go wrong, and what each error says about the record.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a log could not be opened, written or trimmed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WalError {
    /// The options make no sense. Returned by `open` only.
    #[error("write-ahead log options: {0}")]
    Options(&'static str),

    /// Another process, or another `Wal` of this one, has the directory open.
    #[error("write-ahead log {directory} is in use by another writer")]
    Locked {
        /// The directory that is in use.
        directory: PathBuf,
    },

    /// The log was written by a version that this one does not know. Nothing was changed.
    #[error("{path} has format version {found}, this program reads version {known}")]
    Version {
        /// The segment file.
        path: PathBuf,
        /// What the file says.
        found: u32,
        /// What this program reads.
        known: u32,
    },

    /// Durable bytes are missing or have changed. The log does not open until someone decides what to do.
    #[error("write-ahead log is damaged: {path} at byte {offset}: {reason}")]
    Damaged {
        /// The segment file.
        path: PathBuf,
        /// Where in the file, in bytes from its start.
        offset: u64,
        /// What is wrong there.
        reason: &'static str,
    },

    /// The storage failed while the log was opened or trimmed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },

    /// The caller's replay function gave up; `open` passes it on.
    #[error("replay: {0}")]
    Replay(Arc<dyn Error + Send + Sync>),

    /// The record can never fit. It is not in the log.
    #[error("a record of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Payload bytes.
        bytes: usize,
        /// The most that is taken.
        limit: usize,
    },

    /// There is no room until the log is trimmed. The record is not in the log.
    #[error("write-ahead log is full: {used} of {limit} bytes")]
    Full {
        /// Bytes of the live segments and of the records that wait.
        used: u64,
        /// `max_bytes` of the options.
        limit: u64,
    },

    /// The queue has no room just now; only `enqueue` says so, the others wait. The record is not in the
    /// log.
    #[error("write-ahead log queue is full")]
    Busy,

    /// The log was closed before the record was queued. The record is not in the log.
    #[error("write-ahead log is closed")]
    Closed,

    /// The storage failed, and the record is gone for good: it will never be replayed. Try it again as
    /// soon as you like; the log recovers by itself when the storage does.
    #[error("record was not written: {source}")]
    NotWritten {
        /// What the system said.
        source: Arc<io::Error>,
    },

    /// The storage failed, and then failed again while the record was being taken back. A replay may give
    /// it back, once. The next append that succeeds settles that it does not.
    #[error("record may or may not be written: {source}")]
    Uncertain {
        /// What the system said at first.
        source: Arc<io::Error>,
    },

    /// The writer thread died, which is a bug. Records that were queued may or may not be written.
    #[error("write-ahead log writer stopped unexpectedly")]
    Stopped,
}

impl WalError {
    /// For a replay function that fails with an error of its own.
    pub fn replay(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Replay(Arc::new(error))
    }

    /// Whether a record that was answered with this error may still be given back by a replay.
    #[must_use]
    pub fn may_be_replayed(&self) -> bool {
        matches!(self, Self::Uncertain { .. } | Self::Stopped)
    }

    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source: Arc::new(source) }
    }

    pub(super) fn damaged(path: &Path, offset: usize, reason: &'static str) -> Self {
        Self::Damaged { path: path.to_owned(), offset: offset as u64, reason }
    }
}
