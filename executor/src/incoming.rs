//! Accepted connections with TCP_NODELAY set: without it each small answer waits for the peer's delayed ACK.

use std::net::SocketAddr;

use polarway_common::{Error, ErrorKind, HostPort};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;

pub async fn bind(address: &HostPort) -> Result<(TcpIncoming, SocketAddr), Error> {
    let fault = |error: std::io::Error| {
        Error::new(ErrorKind::Configuration, format!("cannot listen on {address}: {error}"))
            .with_hint("choose another address with --listen; port 0 takes a free one")
    };
    let listener = TcpListener::bind(address.as_pair()).await.map_err(fault)?;
    let bound = listener.local_addr().map_err(fault)?;
    Ok((TcpIncoming::from(listener).with_nodelay(Some(true)), bound))
}
