//! What the listener needs from the rest of the system.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

use super::fault::Fault;
use super::frame::Frame;
use crate::durability::Durability;

/// The streams that clients can write to.
#[async_trait]
pub trait Streams: Send + Sync {
    /// Opens a stream for one connection. `name` is `schema.name` or only `name`, with the schema as it is stored: its client
    /// may be of any namespace.
    async fn open(&self, name: &str, producer: Option<&str>) -> Result<Arc<dyn Feed>, OpenError>;
}

/// Why a stream cannot be opened; answered in HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    #[error("no such stream")]
    Unknown,
    /// Another server has the stream, at this `host:port`.
    #[error("the stream is at {address}")]
    Elsewhere { address: String },
    /// This client may not write here.
    #[error("{0}")]
    NotAllowed(String),
    /// The stream exists and takes no rows or no further connection now.
    #[error("{message}")]
    Unavailable { message: String, retry_after: Duration },
    #[error("the server is shutting down")]
    Draining,
    #[error("{0}")]
    Internal(String),
}

/// One connection's way into a stream.
///
/// Both futures may be dropped before they end, because the connection has gone or because a shutdown's grace is
/// over. What [`Feed::write`] had handed on by then may stay; the client has no acknowledgement of it and sends it
/// again, which is harmless with a producer.
#[async_trait]
pub trait Feed: Send + Sync {
    /// The stream's full name as its clients know it, for example `public.ticks`.
    fn name(&self) -> &str;

    /// The durability to wait for where the client names none.
    fn default_ack(&self) -> Durability;

    /// The last number of this connection's producer that the stream holds durably; 0 if there is none.
    fn last(&self) -> u64;

    /// Takes a group of frames in order: decodes them, gives the rows their places and hands them to the log.
    /// Waits while there is no room; meanwhile the socket is not read. `frames` is never empty.
    ///
    /// With a producer, the feed skips frames whose number the stream has already (another connection may have sent
    /// them meanwhile, so only the feed can know) and counts their rows neither as stored nor as bad.
    async fn write(&self, frames: &[Frame]) -> Result<Written, Fault>;

    /// A token of all rows that are durable now; see [`ReadToken`](polarway_engine::live::ReadToken).
    fn token(&self) -> String;

    /// Waits until everything before `place` has reached `durability`; at once if it has.
    async fn reached(&self, place: u64, durability: Durability) -> Result<(), Fault>;
}

/// What became of the frames given to [`Feed::write`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// All rows of the frames taken, and of those skipped because they were there, lie before this place.
    pub place: u64,
    /// Rows that were given a place.
    pub rows: u64,
    /// Rows refused, for example because they do not fit the schema.
    pub bad: u64,
    /// Number of the last frame taken or skipped. If it is below the group's last, the rest is offered again.
    pub upto: u64,
}
