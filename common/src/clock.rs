//! Time as an argument, so that decisions that depend on it are tested without waiting.

use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Where a component reads the time.
pub trait Clock: Debug + Send + Sync {
    /// Monotonic time, for measuring how long something took.
    fn now(&self) -> Instant;

    /// Time of day, for records that outlive the process.
    fn wall(&self) -> SystemTime;
}

/// Milliseconds from the beginning of 1970 to `time`; zero for earlier times.
pub fn unix_millis(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
}

/// The operating system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A clock that stands still until a test advances it.
#[derive(Debug)]
pub struct ManualClock {
    start: Instant,
    wall_start: SystemTime,
    elapsed: Mutex<Duration>,
}

impl ManualClock {
    /// A clock whose time of day is `wall_start` and whose monotonic time starts at an arbitrary instant.
    pub fn new(wall_start: SystemTime) -> Self {
        Self { start: Instant::now(), wall_start, elapsed: Mutex::new(Duration::ZERO) }
    }

    /// Moves both times forward.
    pub fn advance(&self, by: Duration) {
        *self.elapsed.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }

    fn elapsed(&self) -> Duration {
        *self.elapsed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ManualClock {
    /// Starts at the Unix epoch.
    fn default() -> Self {
        Self::new(SystemTime::UNIX_EPOCH)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.start + self.elapsed()
    }

    fn wall(&self) -> SystemTime {
        self.wall_start + self.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::default();
        let (now, wall) = (clock.now(), clock.wall());
        assert_eq!((clock.now(), clock.wall()), (now, wall));
        clock.advance(Duration::from_secs(3));
        assert_eq!(clock.now() - now, Duration::from_secs(3));
        assert_eq!(clock.wall(), wall + Duration::from_secs(3));
    }
}
