//! Counters that the host exports.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Closed {
    /// The client sent a close frame.
    Client,
    /// The peer went away without one.
    Lost,
    /// Nothing came for too long.
    Idle,
    /// The client did not read what was sent to it.
    Slow,
    /// The server shut down.
    Draining,
    /// The client broke the protocol or sent what the stream cannot take.
    Protocol,
    /// A frame was too large.
    TooLarge,
    /// The client was not allowed to, or was over its quota.
    Policy,
    /// The stream could not take rows.
    Unavailable,
    /// A defect on our side, a panic included.
    Internal,
}

impl Closed {
    pub const ALL: [Closed; 10] = [
        Closed::Client,
        Closed::Lost,
        Closed::Idle,
        Closed::Slow,
        Closed::Draining,
        Closed::Protocol,
        Closed::TooLarge,
        Closed::Policy,
        Closed::Unavailable,
        Closed::Internal,
    ];

    /// Name for a metric's label.
    pub fn name(self) -> &'static str {
        match self {
            Closed::Client => "client",
            Closed::Lost => "lost",
            Closed::Idle => "idle",
            Closed::Slow => "slow",
            Closed::Draining => "draining",
            Closed::Protocol => "protocol",
            Closed::TooLarge => "too_large",
            Closed::Policy => "policy",
            Closed::Unavailable => "unavailable",
            Closed::Internal => "internal",
        }
    }
}

/// Bounds of what is counted by how long it took, in seconds: 5 µs to 3.9 s, each 1.4 times the one before.
const FIRST_BOUND: f64 = 5e-6;
const NEXT_BOUND: f64 = 1.4;
const BOUNDS: u16 = 41;

/// Counters since start, except where noted. They are read one by one, so they may disagree for a moment.
#[derive(Debug)]
pub struct SocketMetrics {
    /// Upgraded connections now.
    pub connections: AtomicU64,
    /// Upgraded connections since start.
    pub connections_total: AtomicU64,
    /// Connections that ended before the upgrade, answered or not.
    pub refused: AtomicU64,
    /// Frames of rows that the feed has taken or skipped.
    pub frames: AtomicU64,
    /// Bytes of those frames, without header lines.
    pub bytes: AtomicU64,
    /// Rows stored.
    pub rows: AtomicU64,
    /// Rows refused.
    pub bad_rows: AtomicU64,
    /// Acknowledgement messages.
    pub acks: AtomicU64,
    /// Microseconds in which sockets were not read because the feed, the log or the client's reading was behind.
    pub blocked_micros: AtomicU64,
    /// Microseconds in which sockets were not read because of `max_bytes_per_second`.
    pub paced_micros: AtomicU64,
    /// Seconds from when the first frame of a group had been read from its socket until a query saw the group's rows.
    pub visible: Histogram,
    closed: [AtomicU64; Closed::ALL.len()],
}

impl Default for SocketMetrics {
    fn default() -> Self {
        Self {
            connections: AtomicU64::default(),
            connections_total: AtomicU64::default(),
            refused: AtomicU64::default(),
            frames: AtomicU64::default(),
            bytes: AtomicU64::default(),
            rows: AtomicU64::default(),
            bad_rows: AtomicU64::default(),
            acks: AtomicU64::default(),
            blocked_micros: AtomicU64::default(),
            paced_micros: AtomicU64::default(),
            visible: Histogram::new(exponential_buckets(FIRST_BOUND, NEXT_BOUND, BOUNDS)),
            closed: Default::default(),
        }
    }
}

impl SocketMetrics {
    /// Upgraded connections that ended for this reason.
    pub fn closed(&self, reason: Closed) -> u64 {
        self.closed[reason as usize].load(Relaxed)
    }

    pub(super) fn count_closed(&self, reason: Closed) {
        self.closed[reason as usize].fetch_add(1, Relaxed);
    }
}

pub(super) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Relaxed);
}

pub(super) fn add_micros(counter: &AtomicU64, time: Duration) {
    add(counter, u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_counter() {
        let metrics = SocketMetrics::default();
        for (place, reason) in Closed::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
            metrics.count_closed(reason);
            assert_eq!(metrics.closed(reason), 1);
        }
    }
}
