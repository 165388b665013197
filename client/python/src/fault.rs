//! Errors as Python reads them.

use polarway_common::{Error, ErrorKind};
use pyo3::prelude::*;

/// An error's parts; the Python package makes its own error of them.
#[derive(IntoPyObject)]
pub struct Fault {
    /// For example `TABLE_NOT_FOUND`.
    kind: &'static str,
    message: String,
    hint: String,
    /// Line and column of the place in the statement, both counted from one.
    place: Option<(u64, u64)>,
    /// Seconds after which a retry makes sense.
    retry_after: Option<f64>,
    is_retryable: bool,
    /// Whether the cluster, or the part of it that was asked, is not there for the moment.
    is_unavailable: bool,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let is_unavailable = matches!(
            error.kind,
            ErrorKind::Draining
                | ErrorKind::ExecutorLost
                | ErrorKind::NoExecutors
                | ErrorKind::Overloaded
                | ErrorKind::StoreUnavailable
        );
        Self {
            kind: error.kind.reason(),
            is_retryable: error.is_retryable(),
            is_unavailable,
            hint: error.hint.unwrap_or_else(|| error.kind.hint().to_owned()),
            message: error.message,
            place: error.place.map(|place| (place.line, place.column)),
            retry_after: error.retry_after.map(|delay| delay.as_secs_f64()),
        }
    }
}
