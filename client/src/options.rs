//! How to connect.

use std::time::Duration;

use crate::{Endpoint, SessionId};

/// Plain data; [`crate::Client::connect`] acts on it.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Servers of one cluster, tried in this order; the first that answers is used until it fails.
    pub endpoints: Vec<Endpoint>,
    /// How long to wait for one server to accept a connection.
    pub connect_timeout: Duration,
    /// For how long a statement of whose result nothing has come yet is sent again after its server was lost or stopped:
    /// to the others and the same one in turn, under the same id. Zero: not at all.
    pub retry_for: Duration,
    /// What the server keeps `SET` values under. Clients that share an id share their settings.
    pub session: SessionId,
}

impl ClientOptions {
    /// One server, five seconds to connect, a session of its own.
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
        }
    }
}
