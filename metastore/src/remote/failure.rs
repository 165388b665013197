//! Errors of a store as messages, without loss.

use std::io;

use prost::{Enumeration, Message};

use crate::error::MetaStoreError;
use crate::lease::LeaseId;

/// A [`MetaStoreError`]; which of the fields count is up to its kind.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Failure {
    #[prost(enumeration = "FailureKind", tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    place: String,
    /// Or the key.
    #[prost(string, tag = "3")]
    detail: String,
    /// A revision, a lease, or a number of bytes or operations.
    #[prost(uint64, tag = "4")]
    number: u64,
    #[prost(uint64, tag = "5")]
    limit: u64,
    /// The name of an [`io::ErrorKind`].
    #[prost(string, tag = "6")]
    io_kind: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
enum FailureKind {
    Unknown = 0,
    Held = 1,
    Io = 2,
    Corrupt = 3,
    Engine = 4,
    Closed = 5,
    Compacted = 6,
    Lagged = 7,
    EmptyKey = 8,
    DuplicateKey = 9,
    Unavailable = 10,
    OutcomeUnknown = 11,
    NotAllowed = 12,
    TooLarge = 13,
    TooManyOperations = 14,
    LeaseNotFound = 15,
    InvalidConfig = 16,
}

/// Those that files give; others arrive as [`io::ErrorKind::Other`].
const IO_KINDS: [io::ErrorKind; 24] = [
    io::ErrorKind::NotFound,
    io::ErrorKind::PermissionDenied,
    io::ErrorKind::BrokenPipe,
    io::ErrorKind::AlreadyExists,
    io::ErrorKind::WouldBlock,
    io::ErrorKind::NotADirectory,
    io::ErrorKind::IsADirectory,
    io::ErrorKind::DirectoryNotEmpty,
    io::ErrorKind::ReadOnlyFilesystem,
    io::ErrorKind::StaleNetworkFileHandle,
    io::ErrorKind::InvalidInput,
    io::ErrorKind::InvalidData,
    io::ErrorKind::TimedOut,
    io::ErrorKind::WriteZero,
    io::ErrorKind::StorageFull,
    io::ErrorKind::NotSeekable,
    io::ErrorKind::QuotaExceeded,
    io::ErrorKind::FileTooLarge,
    io::ErrorKind::ResourceBusy,
    io::ErrorKind::Deadlock,
    io::ErrorKind::Interrupted,
    io::ErrorKind::Unsupported,
    io::ErrorKind::UnexpectedEof,
    io::ErrorKind::OutOfMemory,
];

impl From<MetaStoreError> for Failure {
    fn from(error: MetaStoreError) -> Self {
        let plain = |kind: FailureKind| Failure { kind: kind.into(), ..Failure::default() };
        match error {
            MetaStoreError::Held { place } => Failure { place, ..plain(FailureKind::Held) },
            MetaStoreError::Io { place, source } => Failure {
                place,
                detail: source.to_string(),
                io_kind: format!("{:?}", source.kind()),
                ..plain(FailureKind::Io)
            },
            MetaStoreError::Corrupt { place, detail } => {
                Failure { place, detail, ..plain(FailureKind::Corrupt) }
            }
            MetaStoreError::Engine { place, detail } => {
                Failure { place, detail, ..plain(FailureKind::Engine) }
            }
            MetaStoreError::Closed { place } => Failure { place, ..plain(FailureKind::Closed) },
            MetaStoreError::Compacted { at } => Failure { number: at, ..plain(FailureKind::Compacted) },
            MetaStoreError::Lagged { at } => Failure { number: at, ..plain(FailureKind::Lagged) },
            MetaStoreError::EmptyKey => plain(FailureKind::EmptyKey),
            MetaStoreError::DuplicateKey { key } => {
                Failure { detail: key, ..plain(FailureKind::DuplicateKey) }
            }
            MetaStoreError::Unavailable { place, detail } => {
                Failure { place, detail, ..plain(FailureKind::Unavailable) }
            }
            MetaStoreError::OutcomeUnknown { place, detail } => {
                Failure { place, detail, ..plain(FailureKind::OutcomeUnknown) }
            }
            MetaStoreError::NotAllowed { detail } => Failure { detail, ..plain(FailureKind::NotAllowed) },
            MetaStoreError::TooLarge { bytes, limit } => {
                Failure { number: bytes, limit, ..plain(FailureKind::TooLarge) }
            }
            MetaStoreError::TooManyOperations { count, limit } => {
                Failure { number: count, limit, ..plain(FailureKind::TooManyOperations) }
            }
            MetaStoreError::LeaseNotFound { lease } => {
                Failure { number: lease.get(), ..plain(FailureKind::LeaseNotFound) }
            }
            MetaStoreError::InvalidConfig { detail } => {
                Failure { detail, ..plain(FailureKind::InvalidConfig) }
            }
        }
    }
}

impl From<Failure> for MetaStoreError {
    fn from(failure: Failure) -> Self {
        let kind = failure.kind();
        let Failure { place, detail, number, limit, io_kind, .. } = failure;
        match kind {
            FailureKind::Unknown => Self::Engine { place, detail: format!("an unknown failure: {detail}") },
            FailureKind::Held => Self::Held { place },
            FailureKind::Io => {
                let kind = IO_KINDS.into_iter().find(|kind| format!("{kind:?}") == io_kind);
                Self::Io { place, source: io::Error::new(kind.unwrap_or(io::ErrorKind::Other), detail) }
            }
            FailureKind::Corrupt => Self::Corrupt { place, detail },
            FailureKind::Engine => Self::Engine { place, detail },
            FailureKind::Closed => Self::Closed { place },
            FailureKind::Compacted => Self::Compacted { at: number },
            FailureKind::Lagged => Self::Lagged { at: number },
            FailureKind::EmptyKey => Self::EmptyKey,
            FailureKind::DuplicateKey => Self::DuplicateKey { key: detail },
            FailureKind::Unavailable => Self::Unavailable { place, detail },
            FailureKind::OutcomeUnknown => Self::OutcomeUnknown { place, detail },
            FailureKind::NotAllowed => Self::NotAllowed { detail },
            FailureKind::TooLarge => Self::TooLarge { bytes: number, limit },
            FailureKind::TooManyOperations => Self::TooManyOperations { count: number, limit },
            FailureKind::LeaseNotFound => Self::LeaseNotFound { lease: LeaseId::new(number) },
            FailureKind::InvalidConfig => Self::InvalidConfig { detail },
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One error of each variant.
    pub(in crate::remote) fn every_error() -> Vec<MetaStoreError> {
        let place = || "/data/meta.redb".to_owned();
        let detail = || "it broke".to_owned();
        vec![
            MetaStoreError::Held { place: place() },
            MetaStoreError::Io { place: place(), source: io::Error::other("odd") },
            MetaStoreError::Io { place: place(), source: io::Error::new(io::ErrorKind::StorageFull, "full") },
            MetaStoreError::Corrupt { place: place(), detail: detail() },
            MetaStoreError::Engine { place: place(), detail: detail() },
            MetaStoreError::Closed { place: place() },
            MetaStoreError::Compacted { at: 7 },
            MetaStoreError::Lagged { at: u64::MAX },
            MetaStoreError::EmptyKey,
            MetaStoreError::DuplicateKey { key: "ä/\u{10ffff}".repeat(5_000) },
            MetaStoreError::Unavailable { place: place(), detail: detail() },
            MetaStoreError::OutcomeUnknown { place: place(), detail: detail() },
            MetaStoreError::NotAllowed { detail: detail() },
            MetaStoreError::TooLarge { bytes: 5, limit: 4 },
            MetaStoreError::TooManyOperations { count: 200, limit: 128 },
            MetaStoreError::LeaseNotFound { lease: LeaseId::new(u64::MAX) },
            MetaStoreError::InvalidConfig { detail: detail() },
        ]
    }

    #[test]
    fn every_error_arrives_as_it_was() {
        for error in every_error() {
            let expected = format!("{error:?}");
            let message = Failure::from(error).encode_to_vec();
            let arrived = MetaStoreError::from(Failure::decode(message.as_slice()).unwrap());
            assert_eq!(format!("{arrived:?}"), expected);
        }
    }

    #[test]
    fn an_error_of_the_operating_system_keeps_its_kind_and_text() {
        let text = io::Error::from_raw_os_error(13).to_string();
        let error = MetaStoreError::Io { place: "x".into(), source: io::Error::from_raw_os_error(13) };
        let MetaStoreError::Io { source, .. } = MetaStoreError::from(Failure::from(error)) else { panic!() };
        assert_eq!((source.kind(), source.to_string()), (io::ErrorKind::PermissionDenied, text));
    }

    #[test]
    fn a_failure_of_a_later_version_is_a_failure() {
        let failure = Failure { kind: 99, detail: "new".into(), ..Failure::default() };
        assert!(matches!(MetaStoreError::from(failure), MetaStoreError::Engine { .. }));
    }
}
