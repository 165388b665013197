//! What a session is told, and what it tells.

use std::time::{Duration, Instant};

use super::super::gap::Gap;

/// The time, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    pub instant: Instant,
    /// Time of day, microseconds since 1970.
    pub micros: i64,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// The connection is there.
    Dialled,
    /// It is not. `refused`: the server answered, with a no, and perhaps with a time before which not to ask again.
    NotDialled { detail: String, refused: bool, retry_after: Option<Duration> },
    /// Bytes came, the last of them then.
    Heard(Instant),
    /// Messages came; `rows` where some of them had rows, good or bad.
    Read { rows: bool },
    /// A message fulfilled these of the acknowledgements, a bit each.
    Acknowledged(u64),
    /// The server refused the subscription.
    Refused { detail: String },
    /// The connection has ended.
    Lost { detail: String },
    /// For a while nothing was read, and silence meant nothing.
    Resumed,
    /// The feed is to end.
    Stop,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Dial,
    /// Send the subscription's messages.
    Subscribe,
    Ping,
    Heartbeat,
    Hangup(Hangup),
    Gap(Gap),
}

/// How to end a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hangup {
    /// With a close frame.
    Gracefully,
    /// Nobody would answer.
    AtOnce,
}
