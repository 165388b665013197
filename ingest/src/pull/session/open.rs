//! A connection that is there: its timers and what it still waits for.

use std::time::{Duration, Instant};

use super::state::SessionOptions;

/// Farther than any timer that matters, for clocks that end before.
const FAR: Duration = Duration::from_secs(86_400 * 365);

/// What is due on a connection, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Dead,
    NotAcknowledged,
    Silent,
    Ping,
    Heartbeat,
}

#[derive(Debug, Clone)]
pub(super) struct Open {
    /// A bit for each acknowledgement that is still to come.
    pub waited_for: u64,
    /// Since when it is subscribed.
    pub subscribed: Option<Instant>,
    dialled: Instant,
    heard: Instant,
    /// When the last row came.
    rows: Instant,
    pinged: Instant,
    beaten: Instant,
}

impl Open {
    pub fn new(acks: u64, now: Instant) -> Self {
        Self {
            waited_for: acks,
            subscribed: (acks == 0).then_some(now),
            dialled: now,
            heard: now,
            rows: now,
            pinged: now,
            beaten: now,
        }
    }

    /// Takes one of the acknowledgements that a message fulfils; several that are alike need as many messages.
    pub fn acknowledge(&mut self, fulfilled: u64, now: Instant) {
        let candidates = self.waited_for & fulfilled;
        let one = candidates & candidates.wrapping_neg();
        self.waited_for &= !one;
        if self.waited_for == 0 && self.subscribed.is_none() {
            self.subscribed = Some(now);
        }
    }

    pub fn heard(&mut self, at: Instant) {
        self.heard = self.heard.max(at);
    }

    pub fn rows(&mut self, now: Instant) {
        self.rows = now;
    }

    /// Silence up to now means nothing.
    pub fn resume(&mut self, now: Instant) {
        (self.heard, self.rows) = (now, now);
    }

    /// When something is due next.
    pub fn deadline(&self, options: &SessionOptions) -> Option<Instant> {
        self.timers(options).map(|(at, _)| at).min()
    }

    /// The most urgent of what is due.
    pub fn due(&self, options: &SessionOptions, now: Instant) -> Option<Due> {
        self.timers(options).find(|(at, _)| *at <= now).map(|(_, due)| due)
    }

    fn timers(&self, options: &SessionOptions) -> impl Iterator<Item = (Instant, Due)> + use<> {
        let timer = |from: Instant, time: Duration, due| {
            (!time.is_zero()).then(|| (from.checked_add(time).unwrap_or_else(|| from + FAR), due))
        };
        let heartbeat = options.heartbeat_interval.unwrap_or(Duration::ZERO);
        let ack = if self.subscribed.is_none() { options.subscribe_timeout } else { Duration::ZERO };
        [
            timer(self.heard, options.dead_after, Due::Dead),
            timer(self.dialled, ack, Due::NotAcknowledged),
            timer(self.rows, options.silent_after, Due::Silent),
            timer(self.pinged, options.ping_interval, Due::Ping),
            timer(self.beaten, heartbeat, Due::Heartbeat),
        ]
        .into_iter()
        .flatten()
    }

    pub fn pinged(&mut self, now: Instant) {
        self.pinged = now;
    }

    pub fn beaten(&mut self, now: Instant) {
        self.beaten = now;
    }
}
