//! Where a server listens.

use std::fmt;
use std::str::FromStr;

use polarway_common::{Error, ErrorKind};
use url::Host;

/// The port of the SQL front door when an address names none.
pub const DEFAULT_PORT: u16 = 50051;

/// Host and port of a gRPC server, and whether it speaks TLS.
///
/// Parses from `host`, `host:port`, `[v6]:port` and the same after `grpc://`, `grpc+tcp://` or `http://`, all without TLS, and
/// after `https://` or `grpc+tls://`, with TLS. Prints as what it can be parsed from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    host: Host,
    port: u16,
    tls: bool,
}

impl Endpoint {
    /// Whether the connection is encrypted, and the server has to prove that it is this host.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The address in the form the transport wants it. It never says `https`: TLS is added below the transport, which
    /// would refuse to do without its own.
    pub(crate) fn uri(&self) -> String {
        format!("http://{}:{}", self.host, self.port)
    }

    /// What requests say of where they go.
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https://" } else { "" };
        write!(f, "{scheme}{}:{}", self.host, self.port)
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (tls, address) = strip_scheme(text)?;
        let address = address.strip_suffix('/').unwrap_or(address);
        let (host, port) = split_port(address).ok_or_else(|| invalid(text, "it is not HOST:PORT"))?;
        let host = Host::parse(host).map_err(|error| invalid(text, &format!("bad host: {error}")))?;
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => match port.parse() {
                Ok(0) | Err(_) => return Err(invalid(text, "the port is not a number from 1 to 65535")),
                Ok(port) => port,
            },
        };
        Ok(Self { host, port, tls })
    }
}

/// Whether the scheme asks for TLS, and what comes after it.
fn strip_scheme(text: &str) -> Result<(bool, &str), Error> {
    let Some((scheme, address)) = text.split_once("://") else { return Ok((false, text)) };
    match scheme {
        "grpc" | "grpc+tcp" | "http" => Ok((false, address)),
        "grpc+tls" | "https" => Ok((true, address)),
        other => Err(invalid(text, &format!("unknown scheme `{other}`"))),
    }
}

/// Splits the port off; an IPv6 address must stand in brackets, or its last group would pass for a port.
fn split_port(address: &str) -> Option<(&str, Option<&str>)> {
    if address.starts_with('[') {
        let end = address.find(']')? + 1;
        let (host, rest) = address.split_at(end);
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match address.split_once(':') {
        None => Some((address, None)),
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
    }
}

fn invalid(text: &str, why: &str) -> Error {
    Error::new(ErrorKind::Configuration, format!("`{text}` is not a server address: {why}")).with_hint(
        "write HOST:PORT, for example 127.0.0.1:50051 or [::1]:50051, and https://HOST:PORT for TLS",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        text.parse::<Endpoint>().unwrap().to_string()
    }

    #[test]
    fn common_spellings_are_understood() {
        assert_eq!(parsed("localhost"), "localhost:50051");
        assert_eq!(parsed("127.0.0.1:4000"), "127.0.0.1:4000");
        assert_eq!(parsed("grpc://db.example:1"), "db.example:1");
        assert_eq!(parsed("grpc+tcp://10.0.0.7:50052"), "10.0.0.7:50052");
        assert_eq!(parsed("http://localhost:50051/"), "localhost:50051");
        assert_eq!(parsed("[::1]"), "[::1]:50051");
        assert_eq!(parsed("grpc://[::1]:9"), "[::1]:9");
    }

    #[test]
    fn what_is_not_an_address_is_refused_with_a_hint() {
        for text in [
            "",
            ":50051",
            "::1",
            "host:0",
            "host:99999",
            "host:x",
            "[::1",
            "[::1]x",
            "ftp://host",
            "a b:1",
            "https://",
        ] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert_eq!(error.kind, ErrorKind::Configuration, "{text}");
            assert!(error.hint.is_some(), "{text}");
        }
    }

    #[test]
    fn row_47_encryption_is_asked_for_and_not_silently_dropped() {
        for text in ["https://host:1", "grpc+tls://host:1", "https://host:1/"] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert!(endpoint.is_tls(), "{text}");
            assert_eq!(endpoint.to_string(), "https://host:1");
            assert_eq!(endpoint.to_string().parse::<Endpoint>().unwrap(), endpoint);
            // So that a token for one is not sent to the other.
            assert_ne!(endpoint, "host:1".parse::<Endpoint>().unwrap());
        }
        for text in ["host:1", "http://host:1", "grpc://host:1", "grpc+tcp://host:1"] {
            assert!(!text.parse::<Endpoint>().unwrap().is_tls(), "{text}");
        }
        assert_eq!(parsed("https://[::1]"), "https://[::1]:50051");
        // Names of other systems for the same are not guessed.
        assert_eq!("grpcs://host:1".parse::<Endpoint>().unwrap_err().kind, ErrorKind::Configuration);
    }

    #[test]
    fn the_uri_is_what_the_transport_accepts() {
        for text in ["[::1]:50051", "https://[::1]:50051"] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.uri(), "http://[::1]:50051");
            assert!(tonic::transport::Endpoint::from_shared(endpoint.uri()).is_ok());
            let origin: tonic::transport::Uri = endpoint.origin().parse().unwrap();
            assert_eq!(origin.scheme_str() == Some("https"), endpoint.is_tls());
        }
    }
}
