//! What a failed call means: an answer from the server, or no answer at all.

use arrow_flight::error::FlightError;
use polarway_common::error::root_cause;
use polarway_common::{Error, ErrorKind};
use polarway_proto::status::{error_from_status, is_of_transport};
use polarway_tls::handshake_failure;
use tonic::{Code, Status};

use crate::Endpoint;

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server (or the decoder) said no.
    Answer(Error),
    /// No connection could be made; another server may do.
    Unreachable(Error),
    /// No connection was made, since the TLS handshake failed. It will fail again until somebody changes something.
    Untrusted(Error),
    /// The connection broke after it was made; another server may do.
    Lost(Error),
}

impl Failure {
    pub(crate) fn into_error(self) -> Error {
        match self {
            Failure::Answer(error)
            | Failure::Unreachable(error)
            | Failure::Untrusted(error)
            | Failure::Lost(error) => error,
        }
    }

    /// Whether the same call is worth sending to another server of the cluster.
    pub(crate) fn is_elsewhere_retryable(&self) -> bool {
        match self {
            Failure::Answer(error) => error.kind == ErrorKind::Draining,
            Failure::Unreachable(_) | Failure::Lost(_) => true,
            Failure::Untrusted(_) => false,
        }
    }

    /// Whether the server does not know the caller.
    pub(crate) fn is_unauthenticated(&self) -> bool {
        matches!(self, Failure::Answer(error) if error.kind == ErrorKind::Unauthenticated)
    }

    /// Of a connection that did not come about.
    pub(crate) fn from_dial(error: &tonic::transport::Error, server: &Endpoint) -> Self {
        match handshake_failure(error) {
            Some(cause) => Failure::Untrusted(untrusted(server, &cause)),
            None => Failure::Unreachable(unreachable(server, &root_cause(error))),
        }
    }

    pub(crate) fn from_status(status: &Status, server: &Endpoint) -> Self {
        let local = is_of_transport(status) || is_not_ready(status);
        if !local {
            return Failure::Answer(error_from_status(status));
        }
        // Of a connection that the transport has made anew.
        if let Some(cause) = handshake_failure(status) {
            return Failure::Untrusted(untrusted(server, &cause));
        }
        if status.code() == Code::Unavailable {
            return Failure::Unreachable(unreachable(server, &root_cause(status)));
        }
        Failure::Lost(
            Error::new(
                ErrorKind::ExecutorLost,
                format!("lost the connection to polarway at {server}: {}", root_cause(status)),
            )
            .with_hint(lost_hint(server)),
        )
    }

    pub(crate) fn from_flight(error: FlightError, server: &Endpoint) -> Self {
        match error {
            FlightError::Tonic(status) => Failure::from_status(&status, server),
            other => {
                Failure::Answer(Error::internal(format!("bad answer from polarway at {server}: {other}")))
            }
        }
    }
}

/// The server does not take connections. `Draining` is the kind a stopping server answers with, and what a caller
/// must do is the same: wait for it or go elsewhere.
pub(crate) fn unreachable(server: &Endpoint, cause: &str) -> Error {
    Error::new(ErrorKind::Draining, format!("cannot reach polarway at {server}: {cause}"))
        .with_hint("is the server running? `polarway up` starts one")
}

/// The kind is that of what a caller can do: correct whom it trusts, or what it calls the server.
fn untrusted(server: &Endpoint, cause: &str) -> Error {
    Error::new(ErrorKind::Configuration, format!("no TLS connection to polarway at {server}: {cause}")).with_hint(
        "the server's certificate has to name the host as it is written here, and to be from an authority that the client trusts: \
         `tls_ca` (`--tls-ca`, POLARWAY_TLS_CA) names a file with others than the system's; a server without TLS is written \
         http://HOST:PORT",
    )
}

/// A server with TLS accepts a connection without, and ends it at its first words: it looks like one that has stopped.
fn lost_hint(server: &Endpoint) -> String {
    let hint = "the server may have stopped; run the statement again";
    if server.is_tls() {
        return hint.to_owned();
    }
    format!("{hint}; if it has TLS, write https://{server}")
}

fn is_not_ready(status: &Status) -> bool {
    status.code() == Code::Unknown && status.message().starts_with("Service was not ready")
}

#[cfg(test)]
mod tests {
    use polarway_proto::status::status_from_error;

    use super::*;

    fn server() -> Endpoint {
        "127.0.0.1:50051".parse().unwrap()
    }

    #[test]
    fn an_answer_keeps_everything_the_server_said() {
        let error = Error::new(ErrorKind::TableNotFound, "no table `t`").with_hint("did you mean `u`?");
        let failure = Failure::from_flight(status_from_error(&error).into(), &server());
        assert!(!failure.is_elsewhere_retryable());
        assert_eq!(failure.into_error(), error);
    }

    #[test]
    fn a_stopping_server_is_left_for_another() {
        let error = Error::new(ErrorKind::Draining, "the server is shutting down");
        assert!(Failure::from_status(&status_from_error(&error), &server()).is_elsewhere_retryable());
    }

    #[test]
    fn a_broken_connection_is_retryable_and_names_the_server() {
        let io = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "connection reset by peer");
        let failure = Failure::from_status(&Status::from_error(Box::new(io)), &server());
        assert!(failure.is_elsewhere_retryable());
        let error = failure.into_error();
        assert!(error.is_retryable());
        assert!(error.message.contains("127.0.0.1:50051: connection reset by peer"), "{}", error.message);
    }

    #[test]
    fn row_47_a_connection_that_broke_without_tls_hints_at_it() {
        let failure = |server: &str| {
            let io = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "connection reset by peer");
            Failure::from_status(&Status::from_error(Box::new(io)), &server.parse().unwrap()).into_error()
        };
        assert!(failure("db.example:1").hint.unwrap().contains("write https://db.example:1"));
        let error = failure("https://db.example:1");
        assert!(!error.hint.unwrap().contains("https"));
        assert!(error.message.contains("https://db.example:1: "), "{}", error.message);
    }

    #[test]
    fn row_47_who_is_not_trusted_is_a_matter_of_configuration_and_not_tried_again() {
        let failure = Failure::Untrusted(untrusted(&server(), "UnknownIssuer"));
        assert!(!failure.is_elsewhere_retryable() && !failure.is_unauthenticated());
        let error = failure.into_error();
        assert_eq!((error.kind, error.is_retryable()), (ErrorKind::Configuration, false));
        assert!(error.message.contains("127.0.0.1:50051: UnknownIssuer"), "{}", error.message);
        let hint = error.hint.unwrap();
        assert!(hint.contains("tls_ca") && hint.contains("http://"), "{hint}");
    }

    #[test]
    fn who_is_not_known_here_is_not_known_elsewhere() {
        let unknown = Error::new(ErrorKind::Unauthenticated, "the token is not known");
        let ours = Failure::from_status(&status_from_error(&unknown), &server());
        let foreign = Failure::from_status(&Status::unauthenticated("who are you?"), &server());
        for failure in [ours, foreign] {
            assert!(failure.is_unauthenticated(), "{failure:?}");
            assert!(!failure.is_elsewhere_retryable(), "{failure:?}");
        }
        let low = Failure::Answer(Error::new(ErrorKind::NotAllowed, "no"));
        assert!(!low.is_unauthenticated() && !low.is_elsewhere_retryable());
    }

    #[test]
    fn an_undecodable_answer_is_internal() {
        let failure = Failure::from_flight(FlightError::DecodeError("short".into()), &server());
        assert_eq!(failure.into_error().kind, ErrorKind::Internal);
    }
}
