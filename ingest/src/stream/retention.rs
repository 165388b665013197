//! When sealed rows have to go.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use polarway_storage::streams::{Manifest, Segment};

/// How long rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub keep: Duration,
    /// Ticks a second of the event time; without one the time of sealing counts.
    pub ticks: Option<i64>,
}

impl Retention {
    /// The next manifest without what is over at `now`; `None` when nothing is. A file goes as a whole, when its latest row
    /// is over.
    pub fn applied(&self, manifest: &Manifest, now: SystemTime) -> Option<Manifest> {
        let limit = micros(now).saturating_sub(i64::try_from(self.keep.as_micros()).unwrap_or(i64::MAX));
        if !manifest.segments.iter().any(|segment| self.is_over(segment, limit)) {
            return None;
        }
        let mut next = manifest.clone();
        next.version += 1;
        next.segments.retain(|segment| !self.is_over(segment, limit));
        Some(next)
    }

    fn is_over(&self, segment: &Segment, limit: i64) -> bool {
        let last = match (self.ticks, segment.events) {
            (Some(ticks), Some(events)) => in_micros(events.last, ticks),
            // Rows without an event time go by the time when they were sealed.
            _ if segment.sealed_at > 0 => segment.sealed_at,
            _ => return false,
        };
        last < limit
    }
}

fn in_micros(time: i64, ticks: i64) -> i64 {
    let micros = i128::from(time) * 1_000_000 / i128::from(ticks.max(1));
    i64::try_from(micros).unwrap_or(if micros < 0 { i64::MIN } else { i64::MAX })
}

/// Since 1970.
pub fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use polarway_storage::streams::EventRange;

    use super::*;

    fn segment(path: &str, last: Option<i64>, sealed_at: i64) -> Segment {
        Segment {
            path: path.into(),
            from: 0,
            to: 1,
            rows: 1,
            bytes: 1,
            events: last.map(|last| EventRange { first: 0, last }),
            sealed_at,
        }
    }

    #[test]
    fn what_is_over_goes_and_nothing_else() {
        let hour = Duration::from_secs(3600);
        let now = UNIX_EPOCH + 10 * hour;
        let second = 1_000_000;
        let segments = vec![
            segment("old", Some(3600 * 1000), 36_000 * second),
            segment("new", Some(3600 * 1000 * 9), 0),
            segment("no time, old", None, second),
            segment("no time, new", None, 35_999 * second),
            segment("unknown", None, 0),
        ];
        let manifest = Manifest { version: 4, sealed_to: 5, segments, ..Manifest::default() };
        let names = |manifest: &Manifest| -> Vec<String> {
            manifest.segments.iter().map(|segment| segment.path.clone()).collect()
        };
        let by_event = Retention { keep: 2 * hour, ticks: Some(1000) };
        let next = by_event.applied(&manifest, now).unwrap();
        assert_eq!(names(&next), ["new", "no time, new", "unknown"]);
        assert_eq!((next.version, next.sealed_to), (5, 5));
        assert_eq!(by_event.applied(&next, now), None);
        let by_seal = Retention { keep: 2 * hour, ticks: None };
        assert_eq!(
            names(&by_seal.applied(&manifest, now).unwrap()),
            ["old", "new", "no time, new", "unknown"]
        );
    }
}
