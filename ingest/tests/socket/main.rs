//! The listener over real sockets on loopback, with streams in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod client;
mod endings;
mod handshake;
mod identity;
mod limits;
mod protocol;
mod server;
mod sink;
