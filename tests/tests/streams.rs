//! Streams: rows that arrive over WebSocket.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "streams/definitions.rs"]
mod definitions;
#[path = "streams/full_log.rs"]
mod full_log;
#[path = "streams/numbered.rs"]
mod numbered;
#[path = "streams/processes.rs"]
mod processes;
#[path = "streams/put.rs"]
mod put;
#[path = "streams/queries.rs"]
mod queries;
#[path = "streams/row_22_feeds.rs"]
mod row_22_feeds;
#[path = "streams/row_23_pull.rs"]
mod row_23_pull;
#[path = "streams/row_24_no_loss.rs"]
mod row_24_no_loss;
#[path = "streams/row_25_freshness.rs"]
mod row_25_freshness;
#[path = "streams/row_26_seals.rs"]
mod row_26_seals;
#[path = "streams/row_27_ownership.rs"]
mod row_27_ownership;
#[path = "streams/row_28_hot_and_cold.rs"]
mod row_28_hot_and_cold;
#[path = "streams/row_29_memory.rs"]
mod row_29_memory;
#[path = "streams/sealed.rs"]
mod sealed;
#[path = "streams/settings.rs"]
mod settings;
#[path = "streams/survival.rs"]
mod survival;
