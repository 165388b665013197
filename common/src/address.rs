//! Network addresses as configuration names them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A text that is not an address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not an address; write host and port, for example \"127.0.0.1:50051\" or \"scheduler:50051\""
)]
pub struct AddressError(String);

/// A host (name, IPv4 or IPv6 address) and a port. Names are resolved when the address is used, not before.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// Without the brackets of an IPv6 address.
    pub host: String,
    /// To listen on port 0 means to let the system choose.
    pub port: u16,
}

impl HostPort {
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// The form that `tokio` and `std` bind and connect to.
    pub fn as_pair(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError(text.to_owned());
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(error)?;
        let port = port.parse().map_err(|_| error())?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let well_formed = match bracketed {
            Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && !host.contains([':', '/', '[', ']'])
                    && !host.contains(char::is_whitespace)
            }
        };
        if well_formed { Ok(Self::new(bracketed.unwrap_or(host), port)) } else { Err(error()) }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", url_host(&self.host), self.port)
    }
}

/// `host` as it stands before a port: an IPv6 address gets brackets there, unless it has them.
pub fn url_host(host: &str) -> Cow<'_, str> {
    if host.contains(':') && !host.starts_with('[') {
        Cow::Owned(format!("[{host}]"))
    } else {
        Cow::Borrowed(host)
    }
}

/// Whether `text` is a host without a port: a name, an IPv4 address, or an IPv6 address with or without brackets.
pub fn is_host(text: &str) -> bool {
    format!("{}:0", url_host(text)).parse::<HostPort>().is_ok()
}

/// Whether a server that listens on `host` takes connections on every interface.
pub fn is_wildcard(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_unspecified())
}

impl Serialize for HostPort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HostPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back() {
        for text in ["127.0.0.1:50051", "scheduler:1", "[::1]:8080", "0.0.0.0:0", "a-b.c_d:65535"] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
        assert_eq!("[::1]:8080".parse::<HostPort>().unwrap().as_pair(), ("::1", 8080));
    }

    #[test]
    fn an_ipv6_host_gets_its_brackets_once() {
        for host in ["::1", "[::1]"] {
            assert_eq!(url_host(host), "[::1]");
            assert_eq!(HostPort::new(host, 7).to_string(), "[::1]:7");
        }
        assert_eq!(url_host("executor-1"), "executor-1");
    }

    #[test]
    fn a_host_is_told_from_an_address_and_from_all_interfaces() {
        for host in ["executor-1", "10.0.0.1", "fe80::1", "[fe80::1]"] {
            assert!(is_host(host) && !is_wildcard(host), "{host}");
        }
        for text in ["", "executor-1:50052", "http://executor-1", "a b", "[x]"] {
            assert!(!is_host(text), "{text}");
        }
        for host in ["0.0.0.0", "::", "[::]", "0:0:0:0:0:0:0:0"] {
            assert!(is_wildcard(host), "{host}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_by_name() {
        for text in
            ["", "scheduler", ":50051", "scheduler:", "host:70000", "http://host:1", "::1:80", "[x]:1"]
        {
            let error = text.parse::<HostPort>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
