//! Settings of the host that no feed chooses.

use std::time::Duration;

/// Limits and times of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullOptions {
    /// Largest message; a larger one ends the connection.
    pub max_message_bytes: usize,
    /// Messages that are there already are handed on together up to so many rows, bytes or messages.
    pub batch_rows: usize,
    pub batch_bytes: usize,
    pub batch_messages: usize,
    /// From the name's look-up to the end of the handshake.
    pub connect_timeout: Duration,
    /// How long one message may wait for a peer that does not read.
    pub write_timeout: Duration,
    /// How long to wait for the peer's close frame.
    pub close_timeout: Duration,
    /// How long the sink may take for the last batch at shutdown.
    pub stop_grace: Duration,
    /// Delays between attempts on a sink that fails.
    pub sink_retry_min: Duration,
    pub sink_retry_max: Duration,
    /// When the last message came before this process, microseconds since 1970: what lies between is a gap.
    pub last_message_micros: Option<i64>,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            max_message_bytes: 16 << 20,
            batch_rows: 8192,
            batch_bytes: 1 << 20,
            batch_messages: 4096,
            connect_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(1),
            stop_grace: Duration::from_secs(5),
            sink_retry_min: Duration::from_millis(50),
            sink_retry_max: Duration::from_secs(5),
            last_message_micros: None,
        }
    }
}
