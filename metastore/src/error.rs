//! What can go wrong in a metadata store.

use std::io;

use polarway_common::error::{Error, ErrorKind};
use thiserror::Error as ThisError;

/// A failure of a [`crate::MetaStore`]. A precondition that does not hold is no failure: see
/// [`crate::TxnOutcome::Conflict`].
#[derive(Debug, ThisError)]
pub enum MetaStoreError {
    /// One process at a time may have the file open.
    #[error("the metadata store {place} is held by another process")]
    Held { place: String },
    /// The operating system failed to read or write.
    #[error("cannot access the metadata store {place}: {source}")]
    Io { place: String, source: io::Error },
    /// The file is no metadata store, or damaged, or from a version that this one cannot read.
    #[error("the metadata store {place} cannot be read: {detail}")]
    Corrupt { place: String, detail: String },
    /// A defect in the engine beneath, or in how it is used.
    #[error("the metadata store {place} failed: {detail}")]
    Engine { place: String, detail: String },
    /// The process is shutting down; the outcome of the call is that it did not take place.
    #[error("the metadata store {place} is closed")]
    Closed { place: String },
    /// Events after the wanted revision are no longer kept: list again and watch from the list's revision.
    #[error("events up to revision {at} are no longer kept; list again")]
    Compacted { at: u64 },
    /// A watch was read so slowly that events up to this revision are gone: list again.
    #[error("the watch fell behind revision {at}; list again")]
    Lagged { at: u64 },
    /// Keys have at least one character.
    #[error("a transaction names an empty key")]
    EmptyKey,
    /// A transaction writes a key once at most, or the order of its writes would matter.
    #[error("a transaction writes the key `{key}` more than once")]
    DuplicateKey { key: String },
}

pub type Result<T, E = MetaStoreError> = std::result::Result<T, E>;

impl MetaStoreError {
    /// Whether the same call can succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Held { .. } => true,
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ),
            Self::Corrupt { .. }
            | Self::Engine { .. }
            | Self::Closed { .. }
            | Self::Compacted { .. }
            | Self::Lagged { .. }
            | Self::EmptyKey
            | Self::DuplicateKey { .. } => false,
        }
    }

    /// Whether a watcher has to list again and to watch from the list's revision.
    pub fn needs_relist(&self) -> bool {
        matches!(self, Self::Compacted { .. } | Self::Lagged { .. })
    }
}

impl From<MetaStoreError> for Error {
    fn from(error: MetaStoreError) -> Self {
        let kind = match &error {
            MetaStoreError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ErrorKind::PermissionDenied
            }
            MetaStoreError::Held { .. } | MetaStoreError::Io { .. } => ErrorKind::StoreUnavailable,
            MetaStoreError::Corrupt { .. } => ErrorKind::CorruptFile,
            MetaStoreError::Closed { .. } => ErrorKind::Draining,
            MetaStoreError::Engine { .. }
            | MetaStoreError::Compacted { .. }
            | MetaStoreError::Lagged { .. }
            | MetaStoreError::EmptyKey
            | MetaStoreError::DuplicateKey { .. } => ErrorKind::Internal,
        };
        let converted = Error::new(kind, error.to_string());
        match error {
            MetaStoreError::Held { .. } => {
                converted.with_hint("Stop the other process, or give this one another `data_dir`.")
            }
            _ => converted,
        }
    }
}
