//! Rows that a stream has already, by the values of their key columns.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;

use super::state::FrameRows;

/// What makes two rows the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOptions {
    /// Columns, in ascending order.
    pub columns: Vec<usize>,
    /// Rows that are remembered.
    pub rows: usize,
}

/// The values of the key columns of one row. Two hashes of 64 bits with seeds of this process: that two different keys are taken
/// for the same is less likely than that memory fails.
pub type Key = u128;

/// Reads the keys of rows.
#[derive(Debug)]
pub struct Keyer {
    options: KeyOptions,
    converter: RowConverter,
    seeds: [RandomState; 2],
}

impl Keyer {
    /// # Errors
    /// When a column is of a type that cannot be compared.
    pub fn new(options: KeyOptions, schema: &Schema) -> Result<Self, ArrowError> {
        let field = |column: &usize| SortField::new(schema.field(*column).data_type().clone());
        let converter = RowConverter::new(options.columns.iter().map(field).collect())?;
        Ok(Self { options, converter, seeds: [RandomState::new(), RandomState::new()] })
    }

    /// # Errors
    /// When the rows are of another schema.
    pub fn keys(&self, rows: &RecordBatch) -> Result<Vec<Key>, ArrowError> {
        self.of_columns(rows.project(&self.options.columns)?.columns())
    }

    fn of_columns(&self, columns: &[ArrayRef]) -> Result<Vec<Key>, ArrowError> {
        let rows = self.converter.convert_columns(columns)?;
        let [high, low] = &self.seeds;
        let key = |row: &[u8]| (Key::from(high.hash_one(row)) << 64) | Key::from(low.hash_one(row));
        Ok(rows.iter().map(|row| key(row.as_ref())).collect())
    }

    /// The keys of a file of sealed rows.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_file(&self, content: Bytes) -> Result<Vec<Key>, ParquetError> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(content)?;
        let columns = ProjectionMask::roots(reader.parquet_schema(), self.options.columns.iter().copied());
        let mut keys = vec![];
        for batch in reader.with_projection(columns).build()? {
            keys.extend(self.of_columns(batch?.columns())?);
        }
        Ok(keys)
    }

    /// Without any row yet.
    pub fn recent(&self) -> Recent {
        Recent { limit: self.options.rows, known: HashSet::new(), order: VecDeque::new() }
    }

    /// Rows that are remembered.
    pub fn limit(&self) -> usize {
        self.options.rows
    }
}

/// The keys of the latest rows of a stream.
#[derive(Debug)]
pub struct Recent {
    limit: usize,
    known: HashSet<Key>,
    /// With the places of their rows.
    order: VecDeque<(u64, Key)>,
}

impl Recent {
    /// Which rows are new; `None` when all are.
    pub fn news(&self, keys: &[Key]) -> Option<BooleanArray> {
        let mut here = HashSet::with_capacity(keys.len());
        let new: Vec<bool> = keys.iter().map(|key| !self.known.contains(key) && here.insert(*key)).collect();
        (!new.iter().all(|new| *new)).then(|| new.into())
    }

    /// Adds the keys of rows from `place` on.
    pub fn add(&mut self, place: u64, keys: &[Key]) {
        for (place, key) in (place..).zip(keys) {
            if self.known.insert(*key) {
                self.order.push_back((place, *key));
            }
        }
        while self.order.len() > self.limit
            && let Some((_, key)) = self.order.pop_front()
        {
            self.known.remove(&key);
        }
    }

    /// Forgets rows from `end` on, which were taken back.
    pub fn truncate(&mut self, end: u64) {
        while let Some((_, key)) = self.order.pop_back_if(|(place, _)| *place >= end) {
            self.known.remove(&key);
        }
    }
}

/// The rows that are new, and how many each frame has of them.
///
/// # Errors
/// None in practice: the mask is as long as the batch.
pub fn only_new(
    rows: &RecordBatch,
    frames: &mut [FrameRows],
    new: &BooleanArray,
) -> Result<RecordBatch, ArrowError> {
    let mut at = 0;
    for frame in frames {
        let of_frame = new.slice(at, frame.rows);
        at += frame.rows;
        frame.rows = of_frame.true_count();
    }
    filter_record_batch(rows, new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hot::samples::{rows, schema};

    fn keyer(rows: usize) -> Keyer {
        Keyer::new(KeyOptions { columns: vec![0], rows }, &schema()).unwrap()
    }

    #[test]
    fn what_is_known_is_left_out_and_counted_out_of_its_frame() {
        let keyer = keyer(100);
        let mut recent = keyer.recent();
        recent.add(0, &keyer.keys(&rows(0, 10)).unwrap());
        let sent = rows(5, 10);
        let new = recent.news(&keyer.keys(&sent).unwrap()).unwrap();
        let mut frames = [FrameRows { number: 1, rows: 3 }, FrameRows { number: 2, rows: 7 }];
        let left = only_new(&sent, &mut frames, &new).unwrap();
        assert_eq!((left, frames[0].rows, frames[1].rows), (rows(10, 5), 0, 5));
        assert_eq!(recent.news(&keyer.keys(&rows(10, 5)).unwrap()), None);
        let twice = keyer.keys(&rows(20, 1)).unwrap().repeat(2);
        assert_eq!(recent.news(&twice), Some(vec![true, false].into()));
    }

    #[test]
    fn old_rows_and_rows_that_were_taken_back_are_forgotten() {
        let keyer = keyer(10);
        let mut recent = keyer.recent();
        recent.add(0, &keyer.keys(&rows(0, 15)).unwrap());
        assert_eq!(recent.news(&keyer.keys(&rows(0, 5)).unwrap()), None, "there is room for ten");
        assert!(recent.news(&keyer.keys(&rows(5, 1)).unwrap()).is_some());
        recent.truncate(12);
        assert_eq!(recent.news(&keyer.keys(&rows(12, 3)).unwrap()), None);
        assert!(recent.news(&keyer.keys(&rows(11, 1)).unwrap()).is_some());
    }
}
