//! Why no connection was made.

use std::error::Error as StdError;
use std::io;

use polarway_common::error::root_cause;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum ConnectError {
    #[error("`{0}` names no host and port")]
    Address(String),
    #[error("{place}: {}", root_cause(cause.as_ref()))]
    Tcp {
        place: String,
        #[source]
        cause: Box<dyn StdError + Send + Sync>,
    },
    /// The other end is there, and the handshake failed or broke off.
    #[error("TLS with {place}: {cause}")]
    Handshake { place: String, cause: io::Error },
    #[error(transparent)]
    Files(#[from] polarway_common::Error),
}

/// What a handshake failed of, if `error` or one of its sources is a failed one: an authority that is not trusted, another
/// name, a server without TLS. To try again does not help. A connection that broke off is none.
pub fn handshake_failure(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(ConnectError::Handshake { cause, .. }) = error.downcast_ref()
            && let Some(inner) = cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            return Some(told(inner));
        }
        // What an I/O error is made of is not among its sources.
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inside.map(|inside| inside as &(dyn StdError + 'static)).or_else(|| error.source());
    }
    None
}

fn told(error: &rustls::Error) -> String {
    match error {
        // What comes from a server that speaks something else.
        rustls::Error::InvalidMessage(_) => "the server does not speak TLS at this port".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_so_is_a_failed_handshake() {
        let of = |cause: io::Error| ConnectError::Handshake { place: "x:1".to_owned(), cause };
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = of(io::Error::new(io::ErrorKind::InvalidData, unknown));
        assert!(handshake_failure(&error).unwrap().contains("UnknownIssuer"));
        let wrapped = io::Error::other(error);
        assert!(handshake_failure(&wrapped).is_some());
        assert!(handshake_failure(&of(io::ErrorKind::UnexpectedEof.into())).is_none());
        let tcp = ConnectError::Tcp {
            place: "x:1".to_owned(),
            cause: io::Error::from(io::ErrorKind::ConnectionRefused).into(),
        };
        assert!(handshake_failure(&tcp).is_none());
    }
}
