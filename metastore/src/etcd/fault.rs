//! What etcd's errors mean, and what is known of the call then.
//!
//! etcd tells its errors apart by text: one gRPC code stands for many. The texts are those of its package `rpctypes`,
//! which keeps them for compatibility.

use std::io;

use etcd_client::Error;
use tonic::{Code, Status};

use crate::error::MetaStoreError;
pub(super) use crate::error::unavailable;
use crate::status::{never_sent, told};

/// For a call that may be repeated.
pub(super) fn of_read(place: &str, error: &Error) -> MetaStoreError {
    match certain(place, error) {
        Some(error) => error,
        None => unavailable(place, text(error)),
    }
}

/// For a transaction: unless it is certain that it did not take place, it may have.
pub(super) fn of_txn(place: &str, error: &Error) -> MetaStoreError {
    match certain(place, error) {
        Some(error) => error,
        None => MetaStoreError::OutcomeUnknown { place: place.to_owned(), detail: text(error) },
    }
}

/// The lease of a transaction, or one that should be kept alive or revoked, has ended.
pub(super) fn is_lease_not_found(error: &Error) -> bool {
    match error {
        Error::GRpcStatus(status) => status.message().contains("requested lease not found"),
        // What the client makes of a time to live of zero.
        Error::LeaseKeepAliveError(text) => text == "lease not found",
        _ => false,
    }
}

/// The revision that was asked for is no longer kept.
pub(super) fn is_compacted(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status)
        if status.message().contains("required revision has been compacted"))
}

/// The revision that was asked for has not been reached.
pub(super) fn is_future(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status)
        if status.message().contains("required revision is a future"))
}

/// An answer is longer than we read.
pub(super) fn is_too_long(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status)
        if status.code() == Code::OutOfRange && status.message().contains("message length too large"))
}

/// The size of a request is more than etcd was set up for.
pub(super) fn is_request_too_large(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status)
        if status.message().contains("request is too large")
            || status.message().contains("received message larger than max"))
}

/// A transaction has more operations than etcd was set up for.
pub(super) fn is_too_many_operations(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status) if status.message().contains("too many operations"))
}

/// We have to log in anew: users or their rights have changed, or our password has and the client knows the old one.
pub(super) fn is_login_outdated(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status)
        if status.code() == Code::Unauthenticated
            || status.message().contains("authentication failed")
            || status.message().contains("auth store is old")
            || status.message().contains("invalid auth token"))
}

/// What is so again if it is asked again, or what certainly did not take place.
fn certain(place: &str, error: &Error) -> Option<MetaStoreError> {
    match error {
        Error::GRpcStatus(status) => certain_status(place, status),
        // Made before anything is sent.
        Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::InvalidMetadataValue(_) => {
            Some(MetaStoreError::Engine { place: place.to_owned(), detail: text(error) })
        }
        _ => None,
    }
}

fn certain_status(place: &str, status: &Status) -> Option<MetaStoreError> {
    let says = |text: &str| status.message().contains(text);
    if never_sent(status) || says("Service was not ready") {
        return Some(unavailable(place, told(status)));
    }
    // Refused before it was proposed to the members; another member, or this one later, may take it.
    if says("etcdserver: no leader") || says("too many requests") || says("auth store is old") {
        return Some(unavailable(place, told(status)));
    }
    if says("database space exceeded") {
        let source = io::Error::new(io::ErrorKind::StorageFull, told(status));
        return Some(MetaStoreError::Io { place: place.to_owned(), source });
    }
    let refused = ["authentication failed", "user name is empty", "authentication is not enabled"];
    if refused.into_iter().any(says)
        || matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated)
    {
        return Some(MetaStoreError::NotAllowed { detail: told(status) });
    }
    let fixed = [
        Code::InvalidArgument,
        Code::NotFound,
        Code::AlreadyExists,
        Code::FailedPrecondition,
        Code::OutOfRange,
        Code::Unimplemented,
    ];
    let engine = || MetaStoreError::Engine { place: place.to_owned(), detail: told(status) };
    fixed.contains(&status.code()).then(engine)
}

pub(super) fn text(error: &Error) -> String {
    match error {
        Error::GRpcStatus(status) => told(status),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_certain_is_told_from_what_is_not() {
        for (status, read, txn) in [
            (Status::unavailable("etcdserver: request timed out"), "be reached", "not known"),
            (Status::unavailable("etcdserver: leader changed"), "be reached", "not known"),
            (Status::unavailable("etcdserver: server stopped"), "be reached", "not known"),
            (Status::unknown("transport error"), "be reached", "not known"),
            (Status::internal("h2 protocol error"), "be reached", "not known"),
            (Status::cancelled("stopped"), "be reached", "not known"),
            (Status::unavailable("etcdserver: no leader"), "be reached", "be reached"),
            (Status::resource_exhausted("etcdserver: too many requests"), "be reached", "be reached"),
            (
                Status::invalid_argument("etcdserver: revision of auth store is old"),
                "be reached",
                "be reached",
            ),
            (Status::resource_exhausted("etcdserver: mvcc: database space exceeded"), "access", "access"),
            (Status::permission_denied("etcdserver: permission denied"), "is refused", "is refused"),
            (Status::unauthenticated("etcdserver: invalid auth token"), "is refused", "is refused"),
            (Status::invalid_argument("etcdserver: user name is empty"), "is refused", "is refused"),
            (Status::invalid_argument("etcdserver: duplicate key given"), "failed", "failed"),
        ] {
            let error = Error::GRpcStatus(status);
            let (read_text, txn_text) = (of_read("x", &error).to_string(), of_txn("x", &error).to_string());
            assert!(read_text.contains(read), "{read_text}");
            assert!(txn_text.contains(txn), "{txn_text}");
        }
    }

    #[test]
    fn a_broken_stream_leaves_a_transaction_unknown() {
        let error = Error::WatchError("closed".into());
        assert!(matches!(of_read("x", &error), MetaStoreError::Unavailable { .. }));
        assert!(matches!(of_txn("x", &error), MetaStoreError::OutcomeUnknown { .. }));
    }
}
