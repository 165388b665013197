//! What a stream holds and how far it has come. Decides; does nothing.
//!
//! Rows can be queried as soon as they are taken, and are acknowledged when the log has them. When the log fails for some
//! rows, these and all that were taken after them are taken back and a new *generation* begins at the last durable row:
//! a place in the stream says which row is meant only together with its generation.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use datafusion::common::Result;

use super::producers::Producers;
use super::record::Origin;
use crate::hot::{Hot, HotSnapshot};

/// Failures of the log that a waiter may sleep through.
const REMEMBERED: usize = 64;

/// The rows that one frame gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRows {
    pub number: u64,
    pub rows: usize,
}

/// Where rows were put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub generation: u64,
    pub from: u64,
    pub to: u64,
    /// The record's number among all that this process has taken: one without rows has no place of its own.
    pub record: u64,
    pub origin: Origin,
}

/// How far the log has come, for those who wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub generation: u64,
    /// Rows before it are in the log.
    pub durable: u64,
    /// Records up to this number are in the log, or were taken back.
    settled: u64,
    /// Where the latest generations began.
    beginnings: VecDeque<u64>,
}

/// Whether rows that were taken are in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Open,
    Durable,
    TakenBack,
}

impl Progress {
    fn new(generation: u64, durable: u64) -> Self {
        Self { generation, durable, settled: 0, beginnings: VecDeque::new() }
    }

    /// What became of all rows before `place` and of all records up to `record`, taken in `generation`.
    pub fn fate(&self, generation: u64, place: u64, record: u64) -> Fate {
        if generation >= self.generation {
            let durable = place <= self.durable && record <= self.settled;
            return if durable { Fate::Durable } else { Fate::Open };
        }
        // The generation after theirs began where theirs ended.
        let back = (self.generation - generation) as usize;
        match self.beginnings.len().checked_sub(back).and_then(|index| self.beginnings.get(index)) {
            Some(end) if place <= *end => Fate::Durable,
            _ => Fate::TakenBack,
        }
    }
}

/// See the module's page.
#[derive(Debug)]
pub struct State {
    hot: Hot,
    seen: Producers,
    durable: Producers,
    progress: Progress,
    /// Records taken so far.
    records: u64,
}

impl State {
    /// A stream whose rows in `hot`, and those before, are in the log.
    pub fn new(hot: Hot, producers: Producers, generation: u64) -> Self {
        let progress = Progress::new(generation, hot.end());
        Self { hot, seen: producers.clone(), durable: producers, progress, records: 0 }
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    pub fn hot(&self) -> &Hot {
        &self.hot
    }

    pub fn hot_mut(&mut self) -> &mut Hot {
        &mut self.hot
    }

    /// The last number of a producer that is in the log.
    pub fn last_durable(&self, producer: &str) -> u64 {
        self.durable.last(producer)
    }

    pub fn durable_producers(&self) -> &Producers {
        &self.durable
    }

    /// As of all rows that were taken, in the log or not.
    pub fn seen_producers(&self) -> &Producers {
        &self.seen
    }

    /// The rows of a log of an owner before this one are all there.
    pub fn settle(&mut self, log: u64) {
        self.seen.settle(log);
        self.durable.settle(log);
    }

    /// How many of `frames`, from the first on, the stream has already.
    pub fn known(&self, producer: &str, frames: &[FrameRows]) -> usize {
        let last = self.seen.last(producer);
        frames.iter().take_while(|frame| frame.number <= last).count()
    }

    /// Where the next rows will be put.
    pub fn next(&self) -> (u64, u64) {
        (self.progress.generation, self.hot.end())
    }

    /// Records taken so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Adds rows; they can be queried from now on.
    ///
    /// # Errors
    /// When they do not fit the stream's columns; nothing changes then.
    pub fn take(&mut self, rows: RecordBatch, origin: Origin) -> Result<Taken> {
        let (generation, from) = self.next();
        self.hot.append(rows)?;
        self.seen.note(&origin);
        self.records += 1;
        Ok(Taken { generation, from, to: self.hot.end(), record: self.records, origin })
    }

    /// The log has these rows and all that were taken before. False when they had been taken back meanwhile.
    pub fn written(&mut self, taken: &Taken) -> bool {
        self.progress.settled = self.progress.settled.max(taken.record);
        if taken.generation != self.progress.generation {
            return false;
        }
        self.progress.durable = self.progress.durable.max(taken.to);
        self.durable.note(&taken.origin);
        true
    }

    /// The log does not have these rows: they go, and with them all that came after the last durable one. False when they
    /// had gone before.
    pub fn failed(&mut self, taken: &Taken) -> bool {
        self.progress.settled = self.progress.settled.max(taken.record);
        if taken.generation != self.progress.generation {
            return false;
        }
        let end = self.progress.durable;
        self.hot.truncate(end);
        self.seen = self.durable.clone();
        self.progress.generation += 1;
        self.progress.beginnings.push_back(end);
        if self.progress.beginnings.len() > REMEMBERED {
            self.progress.beginnings.pop_front();
        }
        true
    }

    pub fn snapshot(&self, from: u64, to: u64) -> HotSnapshot {
        self.hot.snapshot(from, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hot::samples::{rows, schema};
    use crate::stream::Sender;

    fn state() -> State {
        State::new(Hot::new(schema(), 0), Producers::default(), 0)
    }

    fn sender(number: u64) -> Origin {
        Origin { sender: Some(Sender { producer: "p".into(), number }), ..Origin::default() }
    }

    #[test]
    fn rows_are_seen_at_once_and_durable_later() {
        let mut state = state();
        let taken = state.take(rows(0, 10), sender(1)).unwrap();
        assert_eq!((state.hot().end(), state.progress().durable), (10, 0));
        assert_eq!(state.progress().fate(taken.generation, taken.to, taken.record), Fate::Open);
        let frame = |number| FrameRows { number, rows: 1 };
        assert_eq!(state.known("p", &[frame(1), frame(2)]), 1);
        assert_eq!(state.last_durable("p"), 0);
        assert!(state.written(&taken));
        assert_eq!(state.progress().fate(taken.generation, taken.to, taken.record), Fate::Durable);
        assert_eq!(state.last_durable("p"), 1);
    }

    #[test]
    fn what_the_log_does_not_have_goes_with_all_that_came_after() {
        let mut state = state();
        let kept = state.take(rows(0, 10), sender(1)).unwrap();
        let lost = state.take(rows(10, 10), sender(2)).unwrap();
        let after = state.take(rows(20, 10), sender(3)).unwrap();
        state.written(&kept);
        assert!(state.failed(&lost));
        assert!(!state.written(&after) && !state.failed(&after));
        assert_eq!((state.hot().end(), state.last_durable("p")), (10, 1));
        assert_eq!(state.known("p", &[FrameRows { number: 2, rows: 10 }]), 0, "it may be sent again");

        let again = state.take(rows(10, 30), sender(3)).unwrap();
        state.written(&again);
        let fate = |taken: &Taken| state.progress().fate(taken.generation, taken.to, taken.record);
        assert_eq!(fate(&kept), Fate::Durable);
        assert_eq!((fate(&lost), fate(&after)), (Fate::TakenBack, Fate::TakenBack));
        assert_eq!(fate(&again), Fate::Durable);
    }

    #[test]
    fn a_fate_outlives_many_failures_and_is_never_guessed() {
        let mut state = state();
        let kept = state.take(rows(0, 1), Origin::default()).unwrap();
        let lost = state.take(rows(1, 1), Origin::default()).unwrap();
        state.written(&kept);
        state.failed(&lost);
        for _ in 0..REMEMBERED - 1 {
            let taken = state.take(rows(1, 1), Origin::default()).unwrap();
            state.failed(&taken);
        }
        assert_eq!(state.progress().fate(0, 1, 1), Fate::Durable);
        let taken = state.take(rows(1, 1), Origin::default()).unwrap();
        state.failed(&taken);
        // Too long ago to tell: not acknowledged, though it is there.
        assert_eq!(state.progress().fate(0, 1, 1), Fate::TakenBack);
    }
}
