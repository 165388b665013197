//! How to connect.

use std::path::PathBuf;
use std::time::Duration;

use crate::{Endpoint, SessionId, Token, TraceContext};

/// Plain data; [`crate::Client::connect`] acts on it.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Servers of one cluster, tried in this order; the first that answers is used until it fails. All are with TLS, or none.
    pub endpoints: Vec<Endpoint>,
    /// How long to wait for one server to accept a connection.
    pub connect_timeout: Duration,
    /// For how long a statement of whose result nothing has come yet is sent again after its server was lost or stopped:
    /// to the others and the same one in turn, under the same id. Zero: not at all.
    pub retry_for: Duration,
    /// What the server keeps `SET` values under. Clients that share an id share their settings.
    pub session: SessionId,
    /// Goes with every call to one of `endpoints`, and to no other server: those that a result names get its ticket alone.
    /// `None`: nothing does, which is what servers without identity expect.
    pub token: Option<Token>,
    /// File (PEM) with the authorities that servers with TLS have to have their certificates from. It is read when the client
    /// connects. `None`: the system's authorities.
    pub tls_ca: Option<PathBuf>,
    /// Which trace each call is part of. `None`: the servers begin their own.
    pub trace: Option<TraceContext>,
}

impl ClientOptions {
    /// One server, five seconds to connect, a session of its own, no token, the system's authorities.
    pub fn to(endpoint: Endpoint) -> Self {
        Self::to_any(vec![endpoint])
    }

    /// Servers of one cluster.
    pub fn to_any(endpoints: Vec<Endpoint>) -> Self {
        Self {
            endpoints,
            connect_timeout: Duration::from_secs(5),
            retry_for: Duration::from_secs(30),
            session: SessionId::random(),
            token: None,
            tls_ca: None,
            trace: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_do_not_show_their_token() {
        let token = Some(Token::new("s3cret").unwrap());
        let options = ClientOptions { token, ..ClientOptions::to("a:1".parse().unwrap()) };
        let shown = format!("{options:?}");
        assert!(shown.contains("token: Some(***)") && !shown.contains("s3cret"), "{shown}");
    }
}
