//! Which rows of a stream are sealed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::numbers::Numbers;

/// Places that one owner's log may use: the next owner begins behind them, so that a place tells whose row it is.
const PLACES: u64 = 1 << 40;
/// What a producer's name begins with that stands for a log. No client can have it: it has spaces.
const LOG: &str = "polarway log ";

/// The sealed rows of a stream: all before `sealed_to`, in `segments`. Stored as JSON; each version is an object of its
/// own that is never changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Grows by one with every commit; zero is the empty manifest of a new stream.
    pub version: u64,
    /// Place after the last sealed row.
    pub sealed_to: u64,
    /// By the place of their first row.
    pub segments: Vec<Segment>,
    /// The last number of each producer that has rows before `sealed_to`: the log that told it may be gone.
    pub producers: BTreeMap<String, u64>,
    /// Logs of owners before this one that may hold rows which are nowhere else, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owed: Vec<Owed>,
}

/// What an owner that was replaced may have in its log. It hands the rows over when it comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// The process whose log it is.
    pub node: String,
    /// The epoch in which the log was begun, which names it: no two logs of a stream have the same.
    pub log: u64,
    /// Rows of the log before this place were sealed when its owner was replaced.
    pub from: u64,
    /// All its rows lie before this place.
    pub to: u64,
    /// Numbers of frames that have come since, by producer, in another way than by this log: frames of the log that are
    /// among them have been sent again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub received: BTreeMap<String, Numbers>,
}

impl Owed {
    /// The producer that a log's rows are counted by as they are handed over.
    pub fn producer(log: u64) -> String {
        format!("{LOG}{log}")
    }

    /// The log that a producer stands for.
    pub fn log_of(producer: &str) -> Option<u64> {
        producer.strip_prefix(LOG)?.parse().ok()
    }

    pub fn has_received(&self, producer: &str, number: u64) -> bool {
        self.received.get(producer).is_some_and(|numbers| numbers.contains(number))
    }

    pub fn note(&mut self, producer: &str, number: u64) {
        match self.received.get_mut(producer) {
            Some(numbers) => numbers.insert(number),
            None => self.received.entry(producer.to_owned()).or_default().insert(number),
        }
    }
}

/// A file of sealed rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Below the stream's root in the object store.
    pub path: String,
    /// Rows of the stream that were sealed together; several segments may share them.
    pub from: u64,
    pub to: u64,
    /// Rows in this file.
    pub rows: u64,
    pub bytes: u64,
    /// Of the rows' event times; `None` where the stream has none or all are null.
    pub events: Option<EventRange>,
    /// When it was written, microseconds since 1970.
    #[serde(default)]
    pub sealed_at: i64,
}

/// Earliest and latest event time, in the unit of its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRange {
    pub first: i64,
    pub last: i64,
}

impl Manifest {
    /// The next version, with `segments` that hold the rows up to `sealed_to`.
    #[must_use]
    pub fn sealed(&self, segments: Vec<Segment>, sealed_to: u64, producers: BTreeMap<String, u64>) -> Self {
        let mut next = self.clone();
        next.version += 1;
        next.segments.extend(segments);
        next.sealed_to = sealed_to;
        for (producer, number) in producers {
            // The numbers may be older than the end of a handover.
            if Owed::log_of(&producer).is_some_and(|log| next.owes(log).is_none()) {
                continue;
            }
            let last = next.producers.entry(producer).or_default();
            *last = number.max(*last);
        }
        next
    }

    /// The same with what has been received beside the logs that are still owed.
    #[must_use]
    pub fn with_received(mut self, owed: &[Owed]) -> Self {
        for entry in &mut self.owed {
            if let Some(now) = owed.iter().find(|now| now.log == entry.log) {
                entry.received.clone_from(&now.received);
            }
        }
        self
    }

    /// The next version, for another owner: `log` of `node` may hold rows after the last sealed one.
    #[must_use]
    pub fn taken_over(&self, node: &str, log: u64) -> Self {
        let mut next = self.clone();
        next.version += 1;
        next.sealed_to = (self.sealed_to / PLACES + 1) * PLACES;
        next.owed.push(Owed {
            node: node.to_owned(),
            log,
            from: self.sealed_to,
            to: next.sealed_to,
            received: BTreeMap::new(),
        });
        next
    }

    /// The next version, in which the rows of a log are all there.
    #[must_use]
    pub fn settled(&self, log: u64) -> Self {
        let mut next = self.clone();
        next.version += 1;
        next.owed.retain(|owed| owed.log != log);
        next.producers.remove(&Owed::producer(log));
        next
    }

    /// What is owed by a log, if it is.
    pub fn owes(&self, log: u64) -> Option<&Owed> {
        self.owed.iter().find(|owed| owed.log == log)
    }

    pub fn rows(&self) -> u64 {
        self.segments.iter().map(|segment| segment.rows).sum()
    }

    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_owner_has_places_of_its_own() {
        let first = Manifest::default().sealed(vec![], 7, BTreeMap::new());
        let second = first.taken_over("a", 1);
        assert_eq!((second.version, second.sealed_to), (2, PLACES));
        assert_eq!(second.owes(1).map(|owed| (owed.from, owed.to)), Some((7, PLACES)));
        // The second owner has sealed nothing.
        let third = second.taken_over("b", 2);
        assert_eq!(third.owes(2).map(|owed| (owed.from, owed.to)), Some((PLACES, 2 * PLACES)));
        assert_eq!(third.settled(1).owed, third.owed[1..]);
    }

    #[test]
    fn numbers_that_are_older_than_the_end_of_a_handover_bring_nothing_back() {
        let producers = || BTreeMap::from([(Owed::producer(1), 5), ("p".to_owned(), 3)]);
        let owing = Manifest::default().taken_over("a", 1).sealed(vec![], PLACES + 4, producers());
        assert_eq!(owing.producers, producers());
        let mut received = owing.owed.clone();
        received[0].note("p", 3);
        assert!(owing.clone().with_received(&received).owed[0].has_received("p", 3));
        let settled = owing.settled(1).sealed(vec![], PLACES + 9, producers()).with_received(&received);
        assert_eq!((settled.owed.len(), settled.producers), (0, BTreeMap::from([("p".to_owned(), 3)])));
    }

    #[test]
    fn a_manifest_of_an_earlier_version_is_read() {
        let text = r#"{"version":1,"sealed_to":5,"segments":[],"producers":{"p":2}}"#;
        let manifest: Manifest = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&manifest).unwrap(), text);
    }
}
