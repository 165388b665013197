//! What a server that has started tells about itself.

use std::net::SocketAddr;

/// The addresses a server is bound to; they differ from the configured ones where those name port 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    pub grpc: SocketAddr,
    /// Absent when no HTTP server was asked for.
    pub http: Option<SocketAddr>,
    /// Absent where there are no streams.
    pub ws: Option<SocketAddr>,
}
