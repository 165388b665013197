//! Which outputs share an object, and when it is written.
//!
//! A put costs the same whatever its size, and none if the query is over before, so outputs wait, but not for long. Outputs of a query are packed in
//! the order in which they came, and never with those of another query, because objects are deleted by query.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use polarway_common::Attempt;

use super::output::{Output, OutputId};
use super::plan::{Pack, segments};
use super::record::longest;

/// When a pack is due, and how large it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of an object. It has at most those of one record more.
    pub target: u64,
    /// How long an output waits for others.
    pub max_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { target: 32 << 20, max_age: Duration::from_secs(2) }
    }
}

/// The outputs that wait to be packed.
#[derive(Debug)]
pub struct Packer {
    limits: Limits,
    runs: BTreeMap<String, Queue>,
    /// The sequence number of the next object.
    seq: u32,
    /// How many outputs ever came.
    arrivals: u64,
}

/// The outputs of one query, in the order in which they came. Never empty.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: u64,
    /// Outputs that came before this number are due at once.
    due_before: u64,
}

#[derive(Debug)]
struct Waiting {
    output: Output,
    bytes: u64,
    /// The most that its record can have.
    record: u64,
    since: Instant,
    arrival: u64,
}

impl Packer {
    pub fn new(limits: Limits) -> Self {
        // An object takes at least a byte, or nothing would ever be stored.
        let limits = Limits { target: limits.target.max(1), ..limits };
        Self { limits, runs: BTreeMap::new(), seq: 0, arrivals: 0 }
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    pub fn add(&mut self, output: Output, now: Instant) {
        let bytes = output.bytes();
        let record = longest(&output, segments(&output));
        let queue = self.runs.entry(output.id.run.clone()).or_default();
        queue.bytes += bytes;
        queue.waiting.push_back(Waiting { output, bytes, record, since: now, arrival: self.arrivals });
        self.arrivals += 1;
    }

    /// A pack that is due: of the query whose oldest output came first among those whose oldest output has waited long
    /// enough, or that were flushed. That an object would be full makes none due: what waits is on disk and takes no
    /// memory, and of a query that is over before it is due nothing is written.
    pub fn next(&mut self, now: Instant) -> Option<Pack> {
        let due = |queue: &Queue| queue.due_at(&self.limits).is_some_and(|due| due <= now);
        let (_, run) = self
            .runs
            .iter()
            .filter(|(_, queue)| due(queue))
            .filter_map(|(run, queue)| Some((queue.waiting.front()?.arrival, run)))
            .min()?;
        let run = run.clone();
        let queue = self.runs.get_mut(&run)?;
        let outputs = queue.take(self.limits.target);
        if queue.waiting.is_empty() {
            self.runs.remove(&run);
        }
        let pack = Pack::plan(run, outputs, self.seq, self.limits.target);
        self.seq = self.seq.wrapping_add(u32::try_from(pack.objects.len()).unwrap_or(u32::MAX));
        Some(pack)
    }

    /// Makes due what waits of a query; [`Packer::next`] gives it.
    pub fn flush(&mut self, run: &str) {
        if let Some(queue) = self.runs.get_mut(run) {
            queue.due_before = self.arrivals;
        }
    }

    /// Makes due all that waits.
    pub fn flush_all(&mut self) {
        self.runs.values_mut().for_each(|queue| queue.due_before = self.arrivals);
    }

    /// Forgets what waits of an attempt, and says what that was.
    pub fn forget(&mut self, attempt: &Attempt) -> Vec<OutputId> {
        let Some(queue) = self.runs.get_mut(&attempt.run) else { return vec![] };
        let (gone, left) = std::mem::take(&mut queue.waiting)
            .into_iter()
            .partition(|waiting: &Waiting| waiting.output.id.attempt == attempt.number);
        let gone: VecDeque<Waiting> = gone;
        queue.waiting = left;
        queue.bytes -= gone.iter().map(|waiting| waiting.bytes).sum::<u64>();
        if queue.waiting.is_empty() {
            self.runs.remove(&attempt.run);
        }
        gone.into_iter().map(|waiting| waiting.output.id).collect()
    }

    /// When the next pack is due; it may be in the past.
    pub fn deadline(&self) -> Option<Instant> {
        self.runs.values().filter_map(|queue| queue.due_at(&self.limits)).min()
    }

    /// The length of the outputs that wait, in bytes.
    pub fn waiting_bytes(&self) -> u64 {
        self.runs.values().map(|queue| queue.bytes).sum()
    }
}

impl Queue {
    fn due_at(&self, limits: &Limits) -> Option<Instant> {
        let oldest = self.waiting.front()?;
        let at_once = oldest.arrival < self.due_before;
        if at_once { Some(oldest.since) } else { oldest.since.checked_add(limits.max_age) }
    }

    /// The oldest outputs that fit into one object, or the oldest alone.
    fn take(&mut self, target: u64) -> Vec<Output> {
        let mut outputs = Vec::new();
        let mut filled = 0_u64;
        while let Some(waiting) = self.waiting.pop_front() {
            // The records of those before count, its own does not.
            if !outputs.is_empty() && filled.saturating_add(waiting.bytes) > target {
                self.waiting.push_front(waiting);
                break;
            }
            self.bytes -= waiting.bytes;
            filled = filled.saturating_add(waiting.bytes).saturating_add(waiting.record);
            outputs.push(waiting.output);
        }
        outputs
    }
}
