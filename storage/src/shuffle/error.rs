//! What can go wrong with stored shuffle output.

use std::io;
use std::path::PathBuf;

use polarway_common::{Error, ErrorKind};
use polarway_metastore::MetaStoreError;
use thiserror::Error as ThisError;

use super::output::FileName;

/// A failure to store, find or read shuffle output.
#[derive(Debug, ThisError)]
pub enum ShuffleError {
    /// The store cannot be used as it is, and a retry changes nothing.
    #[error("the shuffle store {place} cannot be used: {detail}")]
    Configuration { place: String, detail: String },
    /// The store does not answer, or asks to slow down, and went on to do so.
    #[error("the shuffle store failed to {operation} `{object}`, after {attempts} attempts: {detail}")]
    Unavailable { operation: &'static str, object: String, attempts: u32, detail: String },
    /// The store refuses. It was asked once.
    #[error("the shuffle store refuses to {operation} `{object}`: {source}")]
    Refused { operation: &'static str, object: String, source: object_store::Error },
    /// Another object has the name already.
    #[error("the shuffle object `{object}` exists already, and is not the one to be written")]
    Exists { object: String },
    /// There is no such object.
    #[error("the shuffle object `{object}` is missing")]
    Missing { object: String },
    /// An object is not what was written.
    #[error("the shuffle object `{object}` is damaged: {detail}")]
    Damaged { object: String, detail: String },
    /// An entry of the metadata store cannot be read.
    #[error("the entry `{key}` of a shuffle output cannot be read: {detail}")]
    Entry { key: String, detail: String },
    #[error(transparent)]
    Meta(#[from] MetaStoreError),
    /// A file of an output cannot be read.
    #[error("cannot read the shuffle output {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// The output has no such file, or not so many bytes of it.
    #[error("the stored shuffle output has no {start}..{end} of its {name}")]
    NoSuchRange { name: FileName, start: u64, end: u64 },
    /// Not a plain id; nothing was asked.
    #[error("`{id}` is no name of a query or of a writer of shuffle output")]
    NoPlainId { id: String },
    /// The query is over, so that its output is not wanted any more.
    #[error("the query `{run}` is over; its shuffle output is not stored")]
    RunOver { run: String },
    /// The uploader is shutting down.
    #[error("shuffle output is not stored any more: shutting down")]
    Stopped,
    /// The upload of a pack failed. All outputs of the pack get the same.
    #[error("{0}")]
    GivenUp(Error),
}

impl From<ShuffleError> for Error {
    fn from(error: ShuffleError) -> Self {
        let text = error.to_string();
        match error {
            ShuffleError::Configuration { .. } => Error::new(ErrorKind::Configuration, text),
            ShuffleError::Unavailable { .. } => Error::new(ErrorKind::StoreUnavailable, text),
            ShuffleError::Refused { source, .. } => match source {
                object_store::Error::PermissionDenied { .. }
                | object_store::Error::Unauthenticated { .. } => {
                    Error::new(ErrorKind::PermissionDenied, text)
                }
                object_store::Error::NotFound { .. } => Error::new(ErrorKind::Configuration, text)
                    .with_hint("check that the bucket of the shuffle store exists"),
                _ => Error::new(ErrorKind::Internal, text),
            },
            ShuffleError::Missing { .. } => Error::new(ErrorKind::FileNotFound, text),
            ShuffleError::Damaged { .. } | ShuffleError::Entry { .. } => {
                Error::new(ErrorKind::CorruptFile, text)
            }
            ShuffleError::Meta(error) => error.into(),
            ShuffleError::File { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Error::new(ErrorKind::FileNotFound, text),
                io::ErrorKind::PermissionDenied => Error::new(ErrorKind::PermissionDenied, text),
                _ => Error::new(ErrorKind::CorruptFile, text),
            },
            ShuffleError::Exists { .. }
            | ShuffleError::NoSuchRange { .. }
            | ShuffleError::NoPlainId { .. } => Error::internal(text),
            ShuffleError::RunOver { .. } => Error::new(ErrorKind::Cancelled, text),
            ShuffleError::Stopped => Error::new(ErrorKind::Draining, text),
            ShuffleError::GivenUp(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_keeps_its_meaning_and_its_text() {
        let object = || "q/w/00000000.pack".to_owned();
        let refused = |source| ShuffleError::Refused { operation: "write", object: object(), source };
        let meta = MetaStoreError::Unavailable { place: "etcd".into(), detail: "gone".into() };
        let hint =
            Error::from(MetaStoreError::Unavailable { place: "etcd".into(), detail: "gone".into() }).hint;
        let file = |kind: io::ErrorKind| ShuffleError::File { path: "f".into(), source: kind.into() };
        let given_up = Error::new(ErrorKind::Overloaded, "text").with_hint("hint");
        for (error, kind) in [
            (
                ShuffleError::Configuration { place: "s3://x".into(), detail: "d".into() },
                ErrorKind::Configuration,
            ),
            (
                refused(object_store::Error::PermissionDenied { path: "p".into(), source: "s".into() }),
                ErrorKind::PermissionDenied,
            ),
            (
                refused(object_store::Error::Unauthenticated { path: "p".into(), source: "s".into() }),
                ErrorKind::PermissionDenied,
            ),
            (
                refused(object_store::Error::NotFound { path: "p".into(), source: "s".into() }),
                ErrorKind::Configuration,
            ),
            (refused(object_store::Error::Generic { store: "s", source: "s".into() }), ErrorKind::Internal),
            (ShuffleError::Missing { object: object() }, ErrorKind::FileNotFound),
            (ShuffleError::Damaged { object: object(), detail: "d".into() }, ErrorKind::CorruptFile),
            (ShuffleError::Meta(meta), ErrorKind::StoreUnavailable),
            (file(io::ErrorKind::NotFound), ErrorKind::FileNotFound),
            (file(io::ErrorKind::UnexpectedEof), ErrorKind::CorruptFile),
            (ShuffleError::RunOver { run: "q".into() }, ErrorKind::Cancelled),
            (ShuffleError::Stopped, ErrorKind::Draining),
            (ShuffleError::GivenUp(Error::new(ErrorKind::Overloaded, "text")), ErrorKind::Overloaded),
        ] {
            let (text, is_meta) = (error.to_string(), matches!(error, ShuffleError::Meta(_)));
            let converted = Error::from(error);
            assert_eq!((converted.kind, &converted.message), (kind, &text));
            assert!(!is_meta || converted.hint == hint);
        }
        assert_eq!(Error::from(ShuffleError::GivenUp(given_up.clone())), given_up);
    }
}
