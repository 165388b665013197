//! What a gRPC status means for a call, and what is known of the call then.

use tonic::{Code, Status};

use crate::error::MetaStoreError;
pub(super) use crate::error::unavailable;
use crate::status::{never_sent, told};

/// For a call that may be repeated.
pub(super) fn of_read(place: &str, status: &Status) -> MetaStoreError {
    match refused(place, status) {
        Some(error) => error,
        // An answer that is too long here is so again.
        None if status.code() == Code::OutOfRange => {
            MetaStoreError::Engine { place: place.to_owned(), detail: told(status) }
        }
        None => unavailable(place, told(status)),
    }
}

/// For a transaction: unless it is certain that it was not sent or not taken, it may have taken place.
pub(super) fn of_txn(place: &str, status: &Status) -> MetaStoreError {
    match refused(place, status) {
        Some(error) => error,
        None if never_sent(status) => unavailable(place, told(status)),
        None => MetaStoreError::OutcomeUnknown { place: place.to_owned(), detail: told(status) },
    }
}

/// Of a call that did not come as far as the door.
fn refused(place: &str, status: &Status) -> Option<MetaStoreError> {
    match status.code() {
        Code::PermissionDenied | Code::Unauthenticated => {
            Some(MetaStoreError::NotAllowed { detail: told(status) })
        }
        Code::Unimplemented => Some(MetaStoreError::Engine {
            place: place.to_owned(),
            detail: format!("the server there does not offer it: {}", told(status)),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tonic::ConnectError;

    use super::*;

    #[test]
    fn what_is_certain_is_told_from_what_is_not() {
        for (status, read, txn) in [
            (Status::unavailable("gone"), "cannot be reached", "not known"),
            (Status::unknown(""), "cannot be reached", "not known"),
            (Status::cancelled("stopped"), "cannot be reached", "not known"),
            (Status::out_of_range("too long"), "failed: too long", "not known"),
            (Status::unimplemented("no such service"), "does not offer", "does not offer"),
            (Status::unauthenticated("no token"), "is refused", "is refused"),
        ] {
            let read_text = of_read("at x", &status).to_string();
            let txn_text = of_txn("at x", &status).to_string();
            assert!(read_text.contains(read), "{read_text}");
            assert!(txn_text.contains(txn), "{txn_text}");
        }
    }

    #[test]
    fn a_connection_that_was_not_made_sent_nothing() {
        let cause = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused");
        let status = Status::from_error(Box::new(ConnectError(Box::new(cause))));
        let error = of_txn("at x", &status);
        assert!(matches!(error, MetaStoreError::Unavailable { .. }), "{error}");
        assert!(error.to_string().contains("connection refused"), "{error}");
    }
}
