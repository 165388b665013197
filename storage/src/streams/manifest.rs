//! Which rows of a stream are sealed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
            let last = next.producers.entry(producer).or_default();
            *last = number.max(*last);
        }
        next
    }

    pub fn rows(&self) -> u64 {
        self.segments.iter().map(|segment| segment.rows).sum()
    }

    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}
