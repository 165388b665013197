//! What can go wrong in a metadata store.

use std::io;

use polarway_common::error::{Error, ErrorKind};
use thiserror::Error as ThisError;

use crate::lease::LeaseId;

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
    /// The store is in another process, which does not answer; nothing took place.
    #[error("the metadata store {place} cannot be reached: {detail}")]
    Unavailable { place: String, detail: String },
    /// A transaction was sent to another process and its answer was lost: it may have taken place, or may yet.
    #[error("it is not known whether a transaction of the metadata store {place} took place: {detail}")]
    OutcomeUnknown { place: String, detail: String },
    /// The process that asks has no right to this part of the keys.
    #[error("access to the metadata store is refused: {detail}")]
    NotAllowed { detail: String },
    /// A request or its answer is larger than what is sent between processes.
    #[error("a message of {bytes} bytes is more than the {limit} that the metadata store sends or takes")]
    TooLarge { bytes: u64, limit: u64 },
    /// A transaction has more preconditions or more writes than the store takes; nothing took place.
    #[error("a transaction of {count} preconditions or writes is more than the {limit} that the store takes")]
    TooManyOperations { count: u64, limit: u64 },
    /// A lease has ended, or never was; nothing took place. Its keys are gone, and whoever holds it holds nothing.
    #[error("the lease {lease} has ended")]
    LeaseNotFound { lease: LeaseId },
    /// The settings of a store contradict each other, or name what cannot be read.
    #[error("the settings of the metadata store are not valid: {detail}")]
    InvalidConfig { detail: String },
}

pub type Result<T, E = MetaStoreError> = std::result::Result<T, E>;

/// The other process does not answer, and nothing took place.
pub(crate) fn unavailable(place: &str, detail: impl Into<String>) -> MetaStoreError {
    MetaStoreError::Unavailable { place: place.to_owned(), detail: detail.into() }
}

impl MetaStoreError {
    /// Whether the same call can succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Held { .. } | Self::Unavailable { .. } => true,
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
            | Self::DuplicateKey { .. }
            | Self::OutcomeUnknown { .. }
            | Self::NotAllowed { .. }
            | Self::TooLarge { .. }
            | Self::TooManyOperations { .. }
            | Self::LeaseNotFound { .. }
            | Self::InvalidConfig { .. } => false,
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
            MetaStoreError::NotAllowed { .. } => ErrorKind::PermissionDenied,
            MetaStoreError::Held { .. } | MetaStoreError::Io { .. } | MetaStoreError::Unavailable { .. } => {
                ErrorKind::StoreUnavailable
            }
            MetaStoreError::Corrupt { .. } => ErrorKind::CorruptFile,
            MetaStoreError::Closed { .. } => ErrorKind::Draining,
            MetaStoreError::InvalidConfig { .. } => ErrorKind::Configuration,
            // Not `StoreUnavailable`, which invites to send the same again.
            MetaStoreError::OutcomeUnknown { .. }
            | MetaStoreError::TooLarge { .. }
            | MetaStoreError::TooManyOperations { .. }
            | MetaStoreError::LeaseNotFound { .. }
            | MetaStoreError::Engine { .. }
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
            MetaStoreError::Unavailable { .. } => {
                converted.with_hint("Retry; check that whatever holds the metadata (the scheduler, or etcd) runs and can be reached.")
            }
            MetaStoreError::OutcomeUnknown { .. } => {
                converted.with_hint("Check whether the change took place before it is made again.")
            }
            MetaStoreError::NotAllowed { .. } => {
                converted.with_hint("Check which part of the metadata this process may read and write.")
            }
            _ => converted,
        }
    }
}
