//! What statements and clients write.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "tables/copies.rs"]
mod copies;
#[path = "tables/deaths.rs"]
mod deaths;
#[path = "tables/ingest.rs"]
mod ingest;
#[path = "tables/jobs.rs"]
mod jobs;
#[path = "tables/own.rs"]
mod own;
#[path = "tables/places.rs"]
mod places;
