//! The rows of a stream that are held in memory, in the order of their arrival.

mod read;
mod run;
#[cfg(test)]
pub(crate) mod samples;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;

pub use read::read;
pub use run::Run;

/// A run of so many rows is not merged with others any more: larger ones would make a query of one row read more, smaller
/// ones cost more each than their rows do.
const FULL_RUN: usize = 4096;
/// Nor is one of so many bytes: merging is done while others wait.
const FULL_RUN_BYTES: usize = 2 << 20;
/// So many runs of like size become one, so that a row is copied as often as its run grows by this factor.
const FAN: usize = 8;

/// See the module's page. It decides and holds; who may call it when is its owner's matter.
#[derive(Debug)]
pub struct Hot {
    schema: SchemaRef,
    runs: Vec<Arc<Run>>,
    /// The place after the last row.
    end: u64,
    /// Rows before this place are leaving memory, and runs that hold them are not merged with others.
    mark: u64,
    bytes: usize,
}

/// Rows `from..to` as they were when asked for.
#[derive(Debug, Clone)]
pub struct HotSnapshot {
    pub schema: SchemaRef,
    pub runs: Vec<Arc<Run>>,
    pub from: u64,
    pub to: u64,
}

impl Hot {
    /// Without rows; the first to come is row `start` of the stream.
    pub fn new(schema: SchemaRef, start: u64) -> Self {
        Self { schema, runs: vec![], end: start, mark: start, bytes: 0 }
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The place after the last row.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The first row that is held, or [`end`](Self::end).
    pub fn start(&self) -> u64 {
        self.runs.first().map_or(self.end, |run| run.from())
    }

    /// Bytes of all batches.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the batches that hold rows from `place` on.
    pub fn bytes_from(&self, place: u64) -> usize {
        let first = self.runs.partition_point(|run| run.to() <= place);
        self.runs.iter().skip(first).map(|run| run.bytes()).sum()
    }

    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Adds rows after the last one.
    ///
    /// # Errors
    /// When the batch does not fit the stream's columns; nothing is added then.
    pub fn append(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), batch.columns().to_vec())?;
        let run = Run::new(self.end, batch)?;
        self.end = run.to();
        self.bytes += run.bytes();
        self.runs.push(Arc::new(run));
        while self.merge() {}
        Ok(())
    }

    /// Puts the last runs together if there are [`FAN`] of like size; whether it did.
    fn merge(&mut self) -> bool {
        let Some(last) = self.runs.last() else { return false };
        let size = tier(last.rows());
        let alike = |run: &&Arc<Run>| {
            run.rows() < FULL_RUN
                && run.bytes() < FULL_RUN_BYTES
                && run.from() >= self.mark
                && tier(run.rows()) <= size
        };
        let count = self.runs.iter().rev().take_while(alike).count();
        if count < FAN {
            return false;
        }
        let first = self.runs.len() - count;
        // Runs that cannot become one are read one by one.
        let Ok(Some(merged)) = Run::merged(&self.runs[first..]) else { return false };
        let before: usize = self.runs[first..].iter().map(|run| run.bytes()).sum();
        self.bytes = self.bytes - before + merged.bytes();
        self.runs.truncate(first);
        self.runs.push(Arc::new(merged));
        true
    }

    /// Says that rows before `place` will leave memory together.
    pub fn mark(&mut self, place: u64) {
        self.mark = self.mark.max(place);
    }

    /// Drops runs that hold rows before `place` only; snapshots keep what they have.
    pub fn release(&mut self, place: u64) {
        let count = self.runs.iter().take_while(|run| run.to() <= place).count();
        for run in self.runs.drain(..count) {
            self.bytes -= run.bytes();
        }
    }

    /// Drops rows from `place` on; snapshots keep what they have.
    pub fn truncate(&mut self, place: u64) {
        while let Some(run) = self.runs.pop_if(|run| run.to() > place) {
            self.bytes -= run.bytes();
            if let Some(kept) = run.first(place) {
                self.bytes += kept.bytes();
                self.runs.push(Arc::new(kept));
                break;
            }
        }
        self.end = self.end.min(place);
    }

    /// Rows `from..to`, as far as they are held. Costs a reference count a run.
    pub fn snapshot(&self, from: u64, to: u64) -> HotSnapshot {
        let first = self.runs.partition_point(|run| run.to() <= from);
        let last = self.runs.partition_point(|run| run.from() < to);
        let runs = self.runs.get(first..last).map(<[_]>::to_vec).unwrap_or_default();
        HotSnapshot { schema: Arc::clone(&self.schema), runs, from, to }
    }
}

impl HotSnapshot {
    /// Whether all of `from..to` is there.
    pub fn is_whole(&self) -> bool {
        let (first, last) = (self.runs.first(), self.runs.last());
        self.from >= self.to
            || (first.is_some_and(|run| run.from() <= self.from)
                && last.is_some_and(|run| run.to() >= self.to))
    }

    pub fn rows(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }

    /// The part of it that lies in `from..to`.
    pub fn part(&self, from: u64, to: u64) -> Self {
        Self { from: from.max(self.from), to: to.min(self.to), ..self.clone() }
    }
}

/// Sizes whose runs are alike: a power of [`FAN`] apart.
fn tier(rows: usize) -> u32 {
    rows.max(1).ilog(FAN)
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    use super::samples::{rows, schema};
    use super::*;

    fn ids(snapshot: &HotSnapshot) -> Vec<i64> {
        let parts = snapshot.runs.iter().filter_map(|run| run.part(snapshot.from, snapshot.to));
        parts.flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
    }

    fn filled(counts: &[usize], start: u64) -> Hot {
        let mut hot = Hot::new(schema(), start);
        for count in counts {
            let batch = rows(hot.end(), *count);
            hot.append(batch).unwrap();
        }
        hot
    }

    #[test]
    fn single_rows_become_few_runs() {
        let hot = filled(&[1; 20_000], 5);
        assert_eq!((hot.start(), hot.end()), (5, 20_005));
        assert!(hot.runs() < 40, "{} runs", hot.runs());
        assert!(hot.runs.iter().all(|run| run.rows() < FULL_RUN * FAN));
        assert_eq!(ids(&hot.snapshot(5, 20_005)), (5..20_005).collect::<Vec<i64>>());
    }

    #[test]
    fn rows_that_are_leaving_are_not_merged_with_others() {
        let mut hot = filled(&[1; 7], 0);
        hot.mark(7);
        for _ in 0..100 {
            hot.append(rows(hot.end(), 1)).unwrap();
        }
        hot.release(7);
        assert_eq!(hot.start(), 7);
        assert_eq!(ids(&hot.snapshot(7, 107)), (7..107).collect::<Vec<i64>>());
    }

    #[test]
    fn a_snapshot_outlives_a_release() {
        let mut hot = filled(&[100, 100], 0);
        let before = hot.snapshot(50, 150);
        hot.release(200);
        assert_eq!((hot.bytes(), hot.runs(), hot.start()), (0, 0, 200));
        assert_eq!(ids(&before), (50..150).collect::<Vec<i64>>());
        assert!(before.is_whole() && !hot.snapshot(50, 150).is_whole());
        assert_eq!(hot.bytes_from(0), 0);
        assert!(hot.snapshot(200, 200).is_whole());
    }

    #[test]
    fn columns_that_do_not_fit_are_refused_and_nothing_changes() {
        let mut hot = filled(&[3], 0);
        let other = rows(3, 1).project(&[0]).unwrap();
        assert!(hot.append(other).is_err());
        assert_eq!((hot.end(), hot.runs()), (3, 1));
    }

    #[test]
    fn ranges_are_those_of_the_rows() {
        let hot = filled(&[10; 8], 100);
        let run = &hot.runs[0];
        assert_eq!(hot.runs(), 1);
        let (low, high) = run.range(0).unwrap();
        assert_eq!((low.to_string(), high.to_string()), ("100".to_owned(), "179".to_owned()));
        assert!(run.range(1).is_none());
        assert_eq!(run.null_count(1), 26);
    }

    proptest! {
        #[test]
        fn any_snapshot_holds_its_rows_and_no_other(
            counts in prop::collection::vec(1usize..3000, 1..30),
            cuts in (0.0f64..1.0, 0.0f64..1.0),
            marks in prop::collection::vec(0.0f64..1.0, 0..3),
        ) {
            let mut hot = Hot::new(schema(), 0);
            for (index, count) in counts.iter().enumerate() {
                hot.append(rows(hot.end(), *count)).unwrap();
                if let Some(mark) = marks.get(index) {
                    let place = (hot.end() as f64 * mark) as u64;
                    hot.mark(place);
                }
            }
            let (one, other) = ((hot.end() as f64 * cuts.0) as u64, (hot.end() as f64 * cuts.1) as u64);
            let (from, to) = (one.min(other), one.max(other));
            hot.truncate(to);
            prop_assert_eq!(hot.end(), to);
            let snapshot = hot.snapshot(from, to);
            prop_assert!(snapshot.is_whole());
            prop_assert_eq!(ids(&snapshot), (from as i64..to as i64).collect::<Vec<_>>());
            let bytes: usize = hot.runs.iter().map(|run| run.bytes()).sum();
            prop_assert_eq!(hot.bytes(), bytes);
            hot.release(from);
            prop_assert!(hot.start() <= from);
            prop_assert_eq!(ids(&hot.snapshot(from, to)), (from as i64..to as i64).collect::<Vec<_>>());
        }
    }
}
