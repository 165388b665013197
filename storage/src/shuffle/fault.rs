//! What a failure of the store means for the request. The only place that looks into `object_store`'s errors.
//!
//! `object_store` can repeat requests itself (`RetryConfig`). For shuffle output it does not: its client is made with no
//! retries, and [`crate::shuffle::ShuffleStore`] alone repeats, within one budget that covers all stores. Two layers
//! would multiply, and a put that the lower one repeats would give `AlreadyExists` for what it has written itself,
//! which only the layer that repeats can tell from a foreign object.

use std::error::Error as StdError;
use std::io;

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

/// What is to be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The same may succeed in a moment.
    Transient,
    /// An object has the name already.
    Exists,
    /// There is no such object.
    Missing,
    /// The store does not know what was asked for.
    Unsupported,
    /// The same fails again: no access, no bucket, no meaning.
    Permanent,
}

/// What a failure means. Server errors, demands to slow down and broken connections are transient, as they are for
/// `object_store`; what is not known is permanent.
pub fn classify(error: &Error) -> Fault {
    match error {
        Error::AlreadyExists { .. } | Error::Precondition { .. } => Fault::Exists,
        // A store that has no such bucket says it with the same status as one that has no such object.
        Error::NotFound { source, .. }
            if chain(source.as_ref()).any(|e| e.to_string().contains("NoSuchBucket")) =>
        {
            Fault::Permanent
        }
        Error::NotFound { .. } => Fault::Missing,
        Error::NotSupported { .. } | Error::NotImplemented { .. } => Fault::Unsupported,
        Error::Generic { source, .. } => chain(source.as_ref()).find_map(cause).unwrap_or(Fault::Permanent),
        // Its thread went away with the runtime, or panicked.
        Error::JoinError { .. } => Fault::Permanent,
        _ => Fault::Permanent,
    }
}

fn chain<'e>(error: &'e (dyn StdError + 'static)) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn cause(error: &(dyn StdError + 'static)) -> Option<Fault> {
    if let Some(error) = error.downcast_ref::<HttpError>() {
        return Some(match error.kind() {
            // Nearly always a connection that broke within an answer.
            HttpErrorKind::Connect
            | HttpErrorKind::Request
            | HttpErrorKind::Timeout
            | HttpErrorKind::Interrupted
            | HttpErrorKind::Decode => Fault::Transient,
            _ => return None,
        });
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return Some(match error.kind() {
            io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
            | io::ErrorKind::TimedOut
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::UnexpectedEof => Fault::Transient,
            _ => Fault::Permanent,
        });
    }
    status(&error.to_string())
}

/// The type that has the status is not public, so it is read from the text; tests ask a server, so that a change of the
/// text does not go unnoticed.
fn status(text: &str) -> Option<Fault> {
    const CODE: &str = "status code: ";
    const IN_BODY: &str = "Server returned error response: ";
    if text.contains(IN_BODY) || text.contains("(code: SlowDown)") || text.contains("(code: InternalError)") {
        return Some(Fault::Transient);
    }
    let after = &text[text.find(CODE)? + CODE.len()..];
    let code: u16 = after.get(..3)?.parse().ok()?;
    Some(match code {
        501 => Fault::Unsupported,
        408 | 429 | 500..=599 => Fault::Transient,
        _ => Fault::Permanent,
    })
}
