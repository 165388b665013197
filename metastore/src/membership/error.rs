//! What can go wrong with membership.

use polarway_common::error::{Error, ErrorKind};
use thiserror::Error as ThisError;

use super::version::VersionSkew;
use crate::error::MetaStoreError;

/// A failure to register, to stay registered, or to follow who is.
#[derive(Debug, ThisError)]
pub enum MembershipError {
    /// Another process has the name, and kept it as long as was waited.
    #[error("the name `{name}` is taken by {holder}")]
    Taken {
        name: String,
        /// Address and incarnation of the other, as far as they can be read.
        holder: String,
    },
    /// The registration is not held at this moment.
    #[error("the registration of `{name}` has lapsed")]
    Lapsed { name: String },
    /// The process is shutting down.
    #[error("`{name}` is not registered: the process is shutting down")]
    Stopping { name: String },
    /// A change of what a member says of itself would make it another one.
    #[error("a member cannot change its name or incarnation: `{before}` would become `{after}`")]
    Renamed { before: String, after: String },
    /// What is stored under a key of a member is no member, or one of a version that this one cannot read.
    #[error("what is stored under `{key}` is not a member that this version can read: {detail}")]
    Unreadable { key: String, detail: String },
    /// Two processes cannot work together.
    #[error("`{us}` cannot work with `{them}`: {skew}")]
    Version { us: String, them: String, skew: Box<VersionSkew> },
    /// The metadata store failed.
    #[error(transparent)]
    Store(#[from] MetaStoreError),
}

impl MembershipError {
    /// Whether the same call can succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Lapsed { .. } => true,
            Self::Store(error) => error.is_retryable(),
            Self::Taken { .. }
            | Self::Stopping { .. }
            | Self::Renamed { .. }
            | Self::Unreadable { .. }
            | Self::Version { .. } => false,
        }
    }
}

impl From<MembershipError> for Error {
    fn from(error: MembershipError) -> Self {
        let kind = match error {
            MembershipError::Store(error) => return error.into(),
            MembershipError::Taken { .. } | MembershipError::Version { .. } => ErrorKind::Configuration,
            MembershipError::Lapsed { .. } => ErrorKind::StoreUnavailable,
            MembershipError::Stopping { .. } => ErrorKind::Draining,
            MembershipError::Unreadable { .. } => ErrorKind::CorruptFile,
            MembershipError::Renamed { .. } => ErrorKind::Internal,
        };
        let converted = Error::new(kind, error.to_string());
        match error {
            MembershipError::Taken { .. } => {
                converted.with_hint("Stop the other process, or give this one a name of its own.")
            }
            MembershipError::Lapsed { .. } => converted
                .with_hint("Retry: the process registers again as soon as the metadata store answers."),
            MembershipError::Version { .. } => converted.with_hint("Run the same version everywhere."),
            MembershipError::Unreadable { .. } => {
                converted.with_hint("Upgrade this process, if a later version wrote the entry.")
            }
            _ => converted,
        }
    }
}
