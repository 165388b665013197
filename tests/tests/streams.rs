//! Streams: rows that arrive over WebSocket.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "streams/definitions.rs"]
mod definitions;
#[path = "streams/queries.rs"]
mod queries;
#[path = "streams/survival.rs"]
mod survival;
