//! What crosses the wire between Polarway's processes and clients, and the conversions to domain types.

pub mod handle;
pub mod ingest;
pub mod job;
pub mod progress;
pub mod statement;
pub mod status;
pub mod streams;
pub mod ticket;
