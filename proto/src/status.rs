//! Lossless conversion between [`Error`] and [`tonic::Status`].
//!
//! The status carries the standard `google.rpc` details, so that any gRPC client can act on it: `ErrorInfo` with the
//! kind as `reason` and `polarway` as `domain`, `RetryInfo` where a delay is known, `Help`-like text in the metadata.

use std::collections::HashMap;

use polarway_common::{Error, ErrorKind, Place};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

const DOMAIN: &str = "polarway";
const HINT: &str = "hint";
const LINE: &str = "line";
const COLUMN: &str = "column";
/// Bytes; percent-encoding and Base64 can make both a few times longer on the wire.
const MAX_MESSAGE: usize = 1200;
const MAX_HINT: usize = 600;

/// The gRPC code a kind travels under.
pub fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Syntax
        | ErrorKind::Plan
        | ErrorKind::ColumnNotFound
        | ErrorKind::TypeMismatch
        | ErrorKind::Execution
        | ErrorKind::InvalidSetting => Code::InvalidArgument,
        ErrorKind::TableNotFound | ErrorKind::NotFound | ErrorKind::FileNotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::PermissionDenied | ErrorKind::PathNotAllowed | ErrorKind::NotAllowed => {
            Code::PermissionDenied
        }
        ErrorKind::CorruptFile => Code::DataLoss,
        ErrorKind::SchemaMismatch | ErrorKind::Configuration => Code::FailedPrecondition,
        ErrorKind::OutOfMemory | ErrorKind::Overloaded => Code::ResourceExhausted,
        ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::Unsupported => Code::Unimplemented,
        ErrorKind::ExecutorLost
        | ErrorKind::NoExecutors
        | ErrorKind::Draining
        | ErrorKind::StoreUnavailable => Code::Unavailable,
        ErrorKind::SnapshotTooOld => Code::Aborted,
        ErrorKind::InvalidTicket | ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::Internal => Code::Internal,
    }
}

/// Encodes `error`; [`error_from_status`] gives it back unchanged, but for the hint of its kind if it had none.
pub fn status_from_error(error: &Error) -> Status {
    let hint = error.hint.as_deref().unwrap_or_else(|| error.kind.hint());
    let mut metadata = HashMap::from([(HINT.to_owned(), shortened(hint, MAX_HINT))]);
    if let Some(place) = error.place {
        metadata.insert(LINE.to_owned(), place.line.to_string());
        metadata.insert(COLUMN.to_owned(), place.column.to_string());
    }
    let mut details = ErrorDetails::with_error_info(error.kind.reason(), DOMAIN, metadata);
    if let Some(delay) = error.retry_after {
        details.set_retry_info(Some(delay));
    }
    Status::with_error_details(code(error.kind), shortened(&error.message, MAX_MESSAGE), details)
}

/// Statuses travel in HTTP/2 headers, of which peers take 8 KiB and less; a longer one breaks the connection.
fn shortened(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{} …", &text[..end])
}

/// Decodes what [`status_from_error`] wrote; a status from elsewhere becomes the nearest kind.
pub fn error_from_status(status: &Status) -> Error {
    let details = status.get_error_details();
    let ours = details
        .error_info()
        .filter(|info| info.domain == DOMAIN)
        .and_then(|info| ErrorKind::from_reason(&info.reason).map(|kind| (kind, &info.metadata)));
    let Some((kind, metadata)) = ours else {
        return Error::new(foreign_kind(status.code()), foreign_message(status));
    };
    let mut error = Error::new(kind, status.message());
    error.hint = metadata.get(HINT).cloned();
    error.place = match (parse(metadata, LINE), parse(metadata, COLUMN)) {
        (Some(line), Some(column)) => Some(Place { line, column }),
        _ => None,
    };
    error.retry_after = details.retry_info().and_then(|info| info.retry_delay);
    error
}

fn parse(metadata: &HashMap<String, String>, key: &str) -> Option<u64> {
    metadata.get(key).and_then(|text| text.parse().ok())
}

fn foreign_kind(code: Code) -> ErrorKind {
    match code {
        Code::InvalidArgument | Code::OutOfRange => ErrorKind::Plan,
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::PermissionDenied => ErrorKind::PermissionDenied,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::ResourceExhausted => ErrorKind::Overloaded,
        Code::DeadlineExceeded => ErrorKind::DeadlineExceeded,
        Code::Cancelled => ErrorKind::Cancelled,
        Code::Unimplemented => ErrorKind::Unsupported,
        Code::Unavailable | Code::Aborted => ErrorKind::ExecutorLost,
        Code::DataLoss => ErrorKind::CorruptFile,
        Code::FailedPrecondition => ErrorKind::Configuration,
        Code::Ok | Code::Unknown | Code::Internal => ErrorKind::Internal,
    }
}

/// Whether a status is not an answer: what arrives from a server has no source, and the transport puts its own error there,
/// under whichever code. A connection that ends before a call was sent makes it `Cancelled`.
pub fn is_of_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

fn foreign_message(status: &Status) -> String {
    if status.message().is_empty() {
        status.code().description().to_owned()
    } else {
        status.message().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_kind_survives_the_wire() {
        for kind in ErrorKind::ALL {
            let error = Error::new(kind, "it failed")
                .with_hint("try `that`")
                .with_place(Place { line: 3, column: 14 })
                .with_retry_after(Duration::from_millis(1500));
            assert_eq!(error_from_status(&status_from_error(&error)), error);
        }
    }

    #[test]
    fn a_long_error_is_cut_at_a_character() {
        let error = Error::internal("ö".repeat(10_000)).with_hint("x".repeat(10_000));
        let back = error_from_status(&status_from_error(&error));
        assert!(back.message.len() < 1300 && back.message.ends_with('…'));
        assert!(back.hint.unwrap().len() < 700);
    }

    #[test]
    fn an_error_without_a_hint_gets_that_of_its_kind() {
        for kind in ErrorKind::ALL {
            let error = Error::new(kind, "boom");
            let expected = error.clone().with_hint(kind.hint());
            assert_eq!(error_from_status(&status_from_error(&error)), expected);
        }
    }

    #[test]
    fn a_foreign_status_gets_the_nearest_kind() {
        assert_eq!(error_from_status(&Status::not_found("gone")).kind, ErrorKind::NotFound);
        assert_eq!(error_from_status(&Status::unavailable("down")).kind, ErrorKind::ExecutorLost);
    }
}
