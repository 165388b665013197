//! Where a server listens, and what it tells about it.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::address::HostPort;
use crate::error::{Error, ErrorKind};

/// The addresses a server is bound to; they differ from the configured ones where those name port 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    pub grpc: SocketAddr,
    /// Absent when no HTTP server was asked for.
    pub http: Option<SocketAddr>,
    /// Absent where there are no streams.
    pub ws: Option<SocketAddr>,
}

/// Listens at `address`, which the key `key` of the configuration names; gives the address that it is bound to.
///
/// # Errors
/// [`ErrorKind::Configuration`] if the address is another process's or none of this machine.
pub async fn bind(address: &HostPort, key: &str) -> Result<(TcpListener, SocketAddr), Error> {
    let fault = |error: io::Error| {
        Error::new(ErrorKind::Configuration, format!("cannot listen on {address}: {error}"))
            .with_hint(format!("`{key}` names the address; port 0 takes a free one"))
    };
    let listener = TcpListener::bind(address.as_pair()).await.map_err(fault)?;
    let bound = listener.local_addr().map_err(fault)?;
    Ok((listener, bound))
}
