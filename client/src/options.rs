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
    /// What the server keeps `SET` values under. Clients that share an id share their settings.
    pub session: SessionId,
}

impl ClientOptions {
    /// One server, five seconds to connect, a session of its own.
    pub fn to(endpoint: Endpoint) -> Self {
        Self {
            endpoints: vec![endpoint],
            connect_timeout: Duration::from_secs(5),
            session: SessionId::random(),
        }
    }
}
