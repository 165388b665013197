//! Decisions that depend on time; time is an argument.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// A token bucket that holds one second's worth. It may go into debt, so that a frame above the rate still passes;
/// what follows waits until the debt is paid.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Bytes per second, and the most that is saved up.
    rate: f64,
    /// Bytes that may pass now; negative in debt.
    level: f64,
    at: Instant,
}

impl Bucket {
    pub fn new(bytes_per_second: NonZeroU64, now: Instant) -> Self {
        let rate = bytes_per_second.get() as f64;
        Self { rate, level: rate, at: now }
    }

    /// Notes that `bytes` have passed, and says how long to wait before more may.
    pub fn take(&mut self, bytes: usize, now: Instant) -> Duration {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.rate;
        self.at = self.at.max(now);
        self.level = (self.level + gained).min(self.rate) - bytes as f64;
        Duration::try_from_secs_f64((-self.level / self.rate).max(0.0)).unwrap_or(Duration::MAX)
    }
}

/// What is due on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Ping,
    /// The peer is to be given up.
    Idle,
    /// Nothing before this instant.
    Nothing(Instant),
}

/// When to ping a peer, and when to give it up.
#[derive(Debug)]
pub(super) struct Liveness {
    ping_interval: Duration,
    idle_timeout: Duration,
    pinged: Instant,
}

impl Liveness {
    pub fn new(ping_interval: Duration, idle_timeout: Duration, now: Instant) -> Self {
        Self { ping_interval, idle_timeout, pinged: now }
    }

    /// What is due at `now`. `heard` is when the last byte came. While the socket is not read (`reading` false)
    /// silence says nothing about the peer; the reader sets `heard` anew when it resumes.
    pub fn due(&mut self, now: Instant, heard: Instant, reading: bool) -> Due {
        let idle_at = after(if reading { heard } else { now }, self.idle_timeout);
        let ping_at = after(self.pinged, self.ping_interval);
        if idle_at <= now {
            Due::Idle
        } else if ping_at <= now {
            self.pinged = now;
            Due::Ping
        } else {
            Due::Nothing(idle_at.min(ping_at))
        }
    }
}

/// `at + by`, or far away where the clock ends before that.
fn after(at: Instant, by: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(86_400 * 365);
    at.checked_add(by).unwrap_or_else(|| at + FAR)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rate(bytes: u64) -> NonZeroU64 {
        NonZeroU64::new(bytes).unwrap()
    }

    #[test]
    fn a_second_is_saved_up_and_debt_is_waited_off() {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate(1000), start);
        assert_eq!(bucket.take(1000, start), Duration::ZERO);
        assert_eq!(bucket.take(500, start), SECOND / 2);
        assert_eq!(bucket.take(0, start + SECOND / 2), Duration::ZERO);
        assert_eq!(bucket.take(3000, start + 60 * SECOND), 2 * SECOND, "an hour of silence saves one second");
    }

    #[test]
    fn time_that_goes_backwards_gives_nothing() {
        let start = Instant::now() + SECOND;
        let mut bucket = Bucket::new(rate(1000), start);
        bucket.take(1000, start);
        assert_eq!(bucket.take(1000, start - SECOND / 2), SECOND);
        assert_eq!(bucket.take(0, start), SECOND);
    }

    #[test]
    fn pings_come_at_their_interval_whatever_is_heard() {
        let start = Instant::now();
        let mut live = Liveness::new(20 * SECOND, 60 * SECOND, start);
        assert_eq!(live.due(start, start, true), Due::Nothing(start + 20 * SECOND));
        let now = start + 20 * SECOND;
        assert_eq!(live.due(now, now, true), Due::Ping);
        assert_eq!(live.due(now, now, true), Due::Nothing(now + 20 * SECOND));
    }

    #[test]
    fn silence_is_idle_only_while_the_socket_is_read() {
        let start = Instant::now();
        let mut live = Liveness::new(1000 * SECOND, 60 * SECOND, start);
        let now = start + 60 * SECOND;
        assert_eq!(live.due(now - SECOND, start, true), Due::Nothing(now));
        assert_eq!(live.due(now, start, false), Due::Nothing(now + 60 * SECOND));
        assert_eq!(live.due(now, start, true), Due::Idle);
    }

    proptest! {
        #[test]
        fn over_any_time_the_rate_holds(
            limit in 1u64..1_000_000,
            takes in prop::collection::vec((0usize..100_000, 0u64..2_000), 1..50),
        ) {
            let start = Instant::now();
            let (mut now, mut passed, mut largest) = (start, 0, 0);
            let mut bucket = Bucket::new(rate(limit), start);
            for (bytes, pause) in takes {
                let wait = bucket.take(bytes, now);
                passed += bytes;
                largest = largest.max(bytes);
                now += wait + Duration::from_millis(pause);
                // After the wait no debt is left: what passed is within the rate plus the second saved up.
                let allowed = (now - start).as_secs_f64() * limit as f64 + limit as f64;
                prop_assert!(passed as f64 <= allowed * (1.0 + 1e-9) + 1.0);
            }
        }
    }
}
