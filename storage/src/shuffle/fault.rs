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
        Error::NotFound { source, .. } if names_no_bucket(source.as_ref()) => Fault::Permanent,
        Error::NotFound { .. } => Fault::Missing,
        Error::NotSupported { .. } | Error::NotImplemented { .. } => Fault::Unsupported,
        Error::Generic { source, .. } => chain(source.as_ref()).find_map(cause).unwrap_or(Fault::Permanent),
        _ => Fault::Permanent,
    }
}

/// A store that has no such bucket says it with the status of one that has no such object.
fn names_no_bucket(source: &(dyn StdError + 'static)) -> bool {
    const TEXTS: [&str; 3] = ["NoSuchBucket", "ContainerNotFound", "bucket does not exist"];
    let text = source.to_string();
    TEXTS.iter().any(|no_bucket| text.contains(no_bucket))
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
    // Said with another status: within an answer of 200, of a bulk deletion, and by S3 of a body that came too slowly.
    const BUSY: [&str; 4] = [
        "Server returned error response: ",
        "(code: SlowDown)",
        "(code: InternalError)",
        "<Code>RequestTimeout</Code>",
    ];
    if BUSY.iter().any(|busy| text.contains(busy)) {
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
