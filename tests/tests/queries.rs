//! What queries answer, on every route.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "queries/catalog.rs"]
mod catalog;
#[path = "queries/errors.rs"]
mod errors;
#[path = "queries/features.rs"]
mod features;
#[path = "queries/formats.rs"]
mod formats;
#[path = "queries/freshness.rs"]
mod freshness;
#[path = "queries/parameters.rs"]
mod parameters;
#[path = "queries/routing.rs"]
mod routing;
#[path = "queries/streaming.rs"]
mod streaming;
#[path = "queries/tpcds.rs"]
mod tpcds;
#[path = "queries/tpch.rs"]
mod tpch;
