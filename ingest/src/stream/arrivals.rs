//! How fast rows arrive, for people who look: a count for each of the last seconds.

use std::time::{Duration, Instant};

/// Seconds that are counted.
const WINDOW: u64 = 10;

/// See the module's page. Time is passed in.
#[derive(Debug)]
pub struct Arrivals {
    since: Instant,
    /// The rows of a second, and which second that is, counted from `since`.
    seconds: [(u64, u64); WINDOW as usize],
    last: Option<Instant>,
}

/// What has arrived lately.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recent {
    pub rows: u64,
    /// In this time, which ends now.
    pub within: Duration,
    /// Since the last row; none before the first.
    pub idle: Option<Duration>,
}

impl Arrivals {
    pub fn new(now: Instant) -> Self {
        Self { since: now, seconds: Default::default(), last: None }
    }

    pub fn add(&mut self, now: Instant, rows: u64) {
        if rows == 0 {
            return;
        }
        let second = self.second(now);
        if let Some(slot) = self.seconds.get_mut((second % WINDOW) as usize) {
            let before = if slot.0 == second { slot.1 } else { 0 };
            *slot = (second, before + rows);
        }
        self.last = Some(now);
    }

    pub fn recent(&self, now: Instant) -> Recent {
        let first = self.second(now).saturating_sub(WINDOW - 1);
        let rows = self.seconds.iter().filter(|(second, _)| *second >= first).map(|(_, rows)| rows).sum();
        let open = now.saturating_duration_since(self.since);
        let within = open.saturating_sub(Duration::from_secs(first));
        Recent { rows, within, idle: self.last.map(|last| now.saturating_duration_since(last)) }
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.since).as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_49_rows_of_the_last_seconds_are_counted_and_older_ones_are_not() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut arrivals = Arrivals::new(start);
        assert_eq!(arrivals.recent(start), Recent::default());
        arrivals.add(at(100), 5);
        arrivals.add(at(1_500), 7);
        arrivals.add(at(1_600), 0);
        let recent = arrivals.recent(at(2_000));
        assert_eq!((recent.rows, recent.within), (12, Duration::from_secs(2)));
        assert_eq!(recent.idle, Some(Duration::from_millis(500)));
        // Ten seconds after the first row its second is out of sight.
        let recent = arrivals.recent(at(10_500));
        assert_eq!((recent.rows, recent.within), (7, Duration::from_millis(9_500)));
        // A slot that is used again holds nothing of before.
        arrivals.add(at(10_600), 1);
        assert_eq!(arrivals.recent(at(10_600)).rows, 8);
        assert_eq!(arrivals.recent(at(60_000)).rows, 0);
        assert_eq!(arrivals.recent(at(60_000)).idle, Some(Duration::from_millis(49_400)));
    }
}
