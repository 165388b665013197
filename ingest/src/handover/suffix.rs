//! The records of a log whose rows are not sealed.

use crate::stream::{Course, Record, ReplayError, Step};

/// Takes the records in the order of the log.
#[derive(Debug)]
pub struct Suffix {
    sealed: u64,
    course: Course,
    records: Vec<Record>,
}

impl Suffix {
    /// Rows before `sealed` are in files.
    pub fn new(sealed: u64) -> Self {
        Self { sealed, course: Course::new(sealed), records: vec![] }
    }

    /// # Errors
    /// Those of [`Course::step`].
    pub fn take(&mut self, record: Record) -> Result<(), ReplayError> {
        let rows = record.rows.num_rows();
        let Step::Add { back_to } = self.course.step(record.generation, record.place, rows)? else {
            return Ok(());
        };
        if let Some(place) = back_to {
            self.records.retain(|record| record.place < place);
            if let Some(last) = self.records.last_mut() {
                cut(last, place);
            }
        }
        let after = record.place + rows as u64;
        // A record without rows may tell numbers that the manifest does not have.
        if after > self.sealed || (rows == 0 && record.place == self.sealed) {
            self.records.push(from(record, self.sealed));
        }
        Ok(())
    }

    /// # Errors
    /// Those of [`Course::finish`].
    pub fn finish(self) -> Result<Vec<Record>, ReplayError> {
        self.course.finish()?;
        Ok(self.records)
    }
}

/// Takes the rows from `place` on off a record. Rows are taken back and sealed by whole records, so that there are none
/// in practice.
fn cut(record: &mut Record, place: u64) {
    let rows = usize::try_from(place.saturating_sub(record.place)).unwrap_or(usize::MAX);
    if rows < record.rows.num_rows() {
        record.rows = record.rows.slice(0, rows);
        let mut left = rows;
        for frame in &mut record.origin.frames {
            frame.rows = frame.rows.min(left);
            left -= frame.rows;
        }
    }
}

/// The same without the rows before `place`.
fn from(mut record: Record, place: u64) -> Record {
    let skipped = usize::try_from(place.saturating_sub(record.place)).unwrap_or(usize::MAX);
    let skipped = skipped.min(record.rows.num_rows());
    if skipped > 0 {
        record.rows = record.rows.slice(skipped, record.rows.num_rows() - skipped);
        record.place += skipped as u64;
        let mut left = skipped;
        for frame in &mut record.origin.frames {
            let of_frame = frame.rows.min(left);
            frame.rows -= of_frame;
            left -= of_frame;
        }
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hot::samples::rows;
    use crate::stream::{FrameRows, Origin};

    fn record(generation: u64, place: u64, count: usize, number: u64) -> Record {
        let frames = [FrameRows { number, rows: count }];
        let origin = Origin::sent(Some(&"p".into()), &frames);
        Record { generation, place, origin, rows: rows(place + 1000 * generation, count) }
    }

    fn suffix(sealed: u64, records: &[Record]) -> Vec<Record> {
        let mut suffix = Suffix::new(sealed);
        records.iter().for_each(|record| suffix.take(record.clone()).unwrap());
        suffix.finish().unwrap()
    }

    #[test]
    fn sealed_records_are_left_out() {
        let log = [record(0, 0, 3, 1), record(0, 3, 0, 2), record(0, 3, 4, 3), record(0, 7, 2, 4)];
        assert_eq!(suffix(0, &log), log);
        assert_eq!(suffix(3, &log), log[1..]);
        assert_eq!(suffix(7, &log), log[3..]);
        assert_eq!(suffix(9, &log), []);
        let part = suffix(5, &log);
        assert_eq!((part[0].place, part[0].rows.clone(), part[0].origin.frames[0].rows), (5, rows(5, 2), 2));
    }

    #[test]
    fn what_was_taken_back_is_left_out() {
        let log = [record(0, 0, 2, 1), record(0, 4, 2, 3), record(1, 2, 2, 2), record(1, 4, 1, 3)];
        assert_eq!(suffix(0, &log), [log[0].clone(), log[2].clone(), log[3].clone()]);
        // A record of uncertain fate, and what came in its place.
        let log = [record(0, 0, 2, 1), record(0, 2, 0, 2), record(0, 2, 3, 9), record(1, 2, 1, 2)];
        assert_eq!(suffix(0, &log), [log[0].clone(), log[3].clone()]);
    }

    #[test]
    fn missing_rows_are_an_error() {
        let mut gap = Suffix::new(3);
        gap.take(record(0, 4, 1, 1)).unwrap();
        assert!(matches!(gap.finish(), Err(ReplayError::Gap { from: 3, to: 4 })));
    }
}
