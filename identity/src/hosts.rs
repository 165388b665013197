//! The names under which an HTTP port answers where it asks nobody who calls. A page of another site whose name leads to this
//! machine (DNS rebinding) is for a browser a page of this port, and could read and change what is here; but the browser says the
//! name.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use polarway_common::config::IdentityConfig;
use polarway_common::{Error, ErrorKind};

use crate::http::refusal;

/// See the module's page.
#[derive(Debug, Clone)]
pub struct Hosts(Known);

#[derive(Debug, Clone)]
enum Known {
    /// Callers show tokens, which no other site has; or the operator trusts whoever reaches the port.
    All,
    /// Addresses, `localhost`, and what the process says to others that it is called.
    Only { advertised: Arc<str>, key: &'static str },
}

impl Hosts {
    /// Of a process that is announced as `advertised`, which `key` says.
    pub fn of(identity: &IdentityConfig, advertised: &str, key: &'static str) -> Self {
        Self(match identity.tokens.is_some() || identity.trusted_network {
            true => Known::All,
            false => Known::Only { advertised: advertised.into(), key },
        })
    }

    /// Requests to other names are answered 403.
    pub fn guard(self, routes: Router) -> Router {
        match self.0 {
            Known::All => routes,
            Known::Only { .. } => routes.layer(from_fn_with_state(self, check)),
        }
    }

    /// # Errors
    /// `NotAllowed` for a request to another name.
    fn check(&self, request: &Request) -> Result<(), Error> {
        let Known::Only { advertised, key } = &self.0 else { return Ok(()) };
        // HTTP/2 has it in the URI.
        let of_uri = request.uri().authority().map(|authority| authority.as_str().as_bytes());
        let of_headers = request.headers().get_all(HOST).iter().map(HeaderValue::as_bytes);
        match of_uri.into_iter().chain(of_headers).find(|host| !is_own(host, advertised)) {
            None => Ok(()),
            Some(host) => Err(refused(&String::from_utf8_lossy(host), key)),
        }
    }
}

fn is_own(host: &[u8], advertised: &str) -> bool {
    let Ok(authority) = Authority::try_from(host) else { return false };
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok()
        || [advertised, "localhost"].iter().any(|own| bare.eq_ignore_ascii_case(own))
}

fn refused(host: &str, key: &str) -> Error {
    let told = format!("this port asks nobody who calls, and does not answer as `{host}`");
    Error::new(ErrorKind::NotAllowed, told).with_hint(format!(
        "ask by its address or as `localhost`; or name the host in `{key}`, or a file of tokens in `identity.tokens`"
    ))
}

/// Lets requests to this process's own names in. Whether it lives everybody may ask.
async fn check(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    if matches!(request.uri().path(), "/healthz" | "/readyz") {
        return next.run(request).await;
    }
    let verdict = hosts.check(&request);
    match verdict {
        Ok(()) => next.run(request).await,
        Err(error) => refusal(&error),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn hosts(identity: &IdentityConfig) -> Hosts {
        Hosts::of(identity, "Query.Example", "scheduler.advertise_host")
    }

    fn asked(hosts: &Hosts, uri: &str, headers: &[&str]) -> Result<(), Error> {
        let mut request = axum::http::Request::builder().uri(uri);
        for host in headers {
            request = request.header(HOST, *host);
        }
        hosts.check(&request.body(Body::empty()).unwrap())
    }

    #[test]
    fn row_47_a_port_without_tokens_answers_under_its_own_names_only() {
        let open = hosts(&IdentityConfig::default());
        for own in [
            "127.0.0.1:8080",
            "10.1.2.3",
            "[::1]:8080",
            "[::1]",
            "localhost:8080",
            "LOCALHOST",
            "query.example:80",
        ] {
            assert_eq!(asked(&open, "/", &[own]), Ok(()), "{own}");
            assert_eq!(asked(&open, &format!("http://{own}/"), &[]), Ok(()), "{own}");
        }
        // No browser leaves it away.
        assert_eq!(asked(&open, "/", &[]), Ok(()));
        for other in [
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "query.example.evil",
            "polarway-scheduler.ns.svc",
            "",
            "a b",
        ] {
            let error = asked(&open, "/queries", &[other]).unwrap_err();
            assert_eq!(error.kind, ErrorKind::NotAllowed, "{other}");
            assert!(error.message.contains(other) && refusal(&error).status() == 403, "{error}");
            let hint = error.hint.unwrap_or_default();
            assert!(
                hint.contains("`scheduler.advertise_host`") && hint.contains("`identity.tokens`"),
                "{hint}"
            );
        }
        assert!(asked(&open, "/", &["localhost", "evil.example"]).is_err());
        assert!(asked(&open, "http://evil.example/", &["localhost"]).is_err());
    }

    #[test]
    fn row_47_names_are_no_matter_with_tokens_and_in_a_trusted_network() {
        let with_tokens = IdentityConfig { tokens: Some("/tokens".into()), ..IdentityConfig::default() };
        let trusted = IdentityConfig { trusted_network: true, ..IdentityConfig::default() };
        for identity in [with_tokens, trusted] {
            assert_eq!(asked(&hosts(&identity), "/", &["polarway-scheduler.ns.svc:8080"]), Ok(()));
        }
    }
}
