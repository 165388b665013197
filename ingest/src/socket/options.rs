//! Settings of the listener.

use std::num::NonZeroU64;
use std::time::Duration;

use thiserror::Error;

/// Limits and times; the defaults suit a server with some hundred clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Connections at once, those in handshake included; further ones are answered 503.
    pub max_connections: usize,
    /// Largest frame in bytes, its header line included.
    pub max_frame_bytes: usize,
    /// Bytes of frames that one connection may send per second, with one second's burst. Above it the socket is not
    /// read for a while.
    pub max_bytes_per_second: Option<NonZeroU64>,
    /// Frames that are there already are handed on together up to this many bytes; a larger frame goes alone or
    /// ends its group.
    pub max_group_bytes: usize,
    /// Most frames handed on together.
    pub max_group_frames: usize,
    /// Groups of one connection that wait for durability apart; when they are as many, further ones are acknowledged
    /// together.
    pub groups_in_flight: usize,
    /// How often a peer is pinged.
    pub ping_interval: Duration,
    /// A peer from which nothing came for so long, while the socket was read, is closed. Above `ping_interval`.
    pub idle_timeout: Duration,
    /// From accepting a connection to its upgrade, opening the stream included.
    pub handshake_timeout: Duration,
    /// How long one write may wait for a client that does not read.
    pub write_timeout: Duration,
    /// How long to wait for a peer to end the TCP connection after the close frame.
    pub close_timeout: Duration,
    /// How long acknowledgements are waited for after reading has ended: at shutdown, after a client's close frame
    /// and after an error.
    pub grace: Duration,
    /// Largest HTTP request head in bytes.
    pub max_head_bytes: usize,
    /// What `Retry-After` says when there are too many connections or the server is shutting down.
    pub retry_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_frame_bytes: 16 << 20,
            max_bytes_per_second: None,
            max_group_bytes: 1 << 20,
            max_group_frames: 1024,
            groups_in_flight: 64,
            ping_interval: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(2),
            grace: Duration::from_secs(30),
            max_head_bytes: 16 << 10,
            retry_after: Duration::from_secs(5),
        }
    }
}

/// A setting that the listener cannot work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OptionsError {
    #[error("`{0}` must be above zero")]
    Zero(&'static str),
    #[error(
        "`idle_timeout` must be above `ping_interval`, or silent peers are closed before they are pinged"
    )]
    IdleBeforePing,
}

impl Options {
    /// # Errors
    /// The first setting that does not make sense.
    pub fn check(&self) -> Result<(), OptionsError> {
        let above_zero = [
            ("max_connections", self.max_connections > 0),
            ("max_frame_bytes", self.max_frame_bytes > 0),
            ("max_group_bytes", self.max_group_bytes > 0),
            ("max_group_frames", self.max_group_frames > 0),
            ("groups_in_flight", self.groups_in_flight > 0),
            ("ping_interval", !self.ping_interval.is_zero()),
            ("handshake_timeout", !self.handshake_timeout.is_zero()),
            ("write_timeout", !self.write_timeout.is_zero()),
            ("max_head_bytes", self.max_head_bytes > 0),
        ];
        if let Some((name, _)) = above_zero.into_iter().find(|(_, fine)| !fine) {
            return Err(OptionsError::Zero(name));
        }
        if self.idle_timeout <= self.ping_interval {
            return Err(OptionsError::IdleBeforePing);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused_and_the_defaults_are_not() {
        assert_eq!(Options::default().check(), Ok(()));
        let none = Options { max_connections: 0, ..Options::default() };
        assert_eq!(none.check(), Err(OptionsError::Zero("max_connections")));
        let impatient = Options { idle_timeout: Duration::from_secs(20), ..Options::default() };
        assert_eq!(impatient.check(), Err(OptionsError::IdleBeforePing));
    }
}
