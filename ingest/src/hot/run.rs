//! Rows that lie together in memory.

use std::ptr::NonNull;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{concat_batches, max, min};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::common::{Result, ScalarValue};

/// Consecutive rows of a stream as one batch, with what lets a scan pass over it.
#[derive(Debug)]
pub struct Run {
    from: u64,
    batch: RecordBatch,
    bytes: usize,
    /// Smallest and largest value, for columns of whole numbers and times that hold one.
    ranges: Vec<Option<(ScalarValue, ScalarValue)>>,
}

impl Run {
    /// `from` is the first row's place in the stream.
    ///
    /// # Errors
    /// When a range cannot be told, which would be a defect.
    pub fn new(from: u64, batch: RecordBatch) -> Result<Self> {
        let ranges = batch.columns().iter().map(range).collect::<Result<_>>()?;
        Ok(Self { from, bytes: memory(&batch), batch, ranges })
    }

    /// `runs` put together; they follow each other.
    ///
    /// # Errors
    /// When the batches cannot be put together, for example because texts pass 2 GiB.
    pub fn merged(runs: &[std::sync::Arc<Self>]) -> Result<Option<Self>> {
        let Some(first) = runs.first() else { return Ok(None) };
        let batch = concat_batches(first.batch.schema_ref(), runs.iter().map(|run| &run.batch))?;
        Ok(Some(Self::new(first.from, batch)?))
    }

    /// The rows before `place`; `None` when that is none. Nothing is copied, and the range stays that of all rows.
    pub fn first(&self, place: u64) -> Option<Self> {
        let batch = self.part(self.from, place)?;
        Some(Self { from: self.from, batch, bytes: self.bytes, ranges: self.ranges.clone() })
    }

    pub fn from(&self) -> u64 {
        self.from
    }

    /// The place after the last row.
    pub fn to(&self) -> u64 {
        self.from + self.rows() as u64
    }

    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// Bytes that the batch holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn range(&self, column: usize) -> Option<&(ScalarValue, ScalarValue)> {
        self.ranges.get(column)?.as_ref()
    }

    pub fn null_count(&self, column: usize) -> usize {
        self.batch.columns().get(column).map_or(0, |column| column.null_count())
    }

    /// The rows of this run that lie in `from..to`; `None` when that is none. Nothing is copied.
    pub fn part(&self, from: u64, to: u64) -> Option<RecordBatch> {
        let (from, to) = (from.max(self.from), to.min(self.to()));
        if from >= to {
            return None;
        }
        Some(self.batch.slice((from - self.from) as usize, (to - from) as usize))
    }
}

/// Bytes that a batch keeps from being freed. Columns that were read from one message share its memory, which Arrow's own
/// sum over the columns counts once for each of their buffers.
fn memory(batch: &RecordBatch) -> usize {
    fn add(data: &ArrayData, seen: &mut Vec<NonNull<u8>>) -> usize {
        let nulls = data.nulls().map(|nulls| nulls.buffer());
        let mut bytes = 0;
        for buffer in data.buffers().iter().chain(nulls) {
            if !seen.contains(&buffer.data_ptr()) {
                seen.push(buffer.data_ptr());
                bytes += allocated(buffer.capacity());
            }
        }
        bytes + data.child_data().iter().map(|child| add(child, seen)).sum::<usize>()
    }
    let mut seen = vec![];
    batch.columns().iter().map(|column| add(&column.to_data(), &mut seen)).sum()
}

/// What an allocation of so many bytes takes: allocators have four sizes to a doubling, mimalloc up to half a mebibyte,
/// and whole slices of 64 KiB from there on.
fn allocated(bytes: usize) -> usize {
    const SLICE: usize = 64 << 10;
    let step = match bytes.checked_ilog2() {
        None => return 0,
        Some(log) if log < 5 => 8,
        Some(log) if log < 19 => 1 << (log - 2),
        Some(_) => SLICE,
    };
    bytes.next_multiple_of(step)
}

/// Smallest and largest value of a column.
fn range(column: &ArrayRef) -> Result<Option<(ScalarValue, ScalarValue)>> {
    fn of<T: ArrowPrimitiveType>(column: &ArrayRef) -> Result<Option<(ScalarValue, ScalarValue)>> {
        let values = column.as_primitive::<T>();
        let (Some(low), Some(high)) = (min(values), max(values)) else { return Ok(None) };
        let scalar = |value| ScalarValue::new_primitive::<T>(Some(value), column.data_type());
        Ok(Some((scalar(low)?, scalar(high)?)))
    }
    match column.data_type() {
        DataType::Int8 => of::<Int8Type>(column),
        DataType::Int16 => of::<Int16Type>(column),
        DataType::Int32 => of::<Int32Type>(column),
        DataType::Int64 => of::<Int64Type>(column),
        DataType::UInt8 => of::<UInt8Type>(column),
        DataType::UInt16 => of::<UInt16Type>(column),
        DataType::UInt32 => of::<UInt32Type>(column),
        DataType::UInt64 => of::<UInt64Type>(column),
        DataType::Date32 => of::<Date32Type>(column),
        DataType::Timestamp(TimeUnit::Second, _) => of::<TimestampSecondType>(column),
        DataType::Timestamp(TimeUnit::Millisecond, _) => of::<TimestampMillisecondType>(column),
        DataType::Timestamp(TimeUnit::Microsecond, _) => of::<TimestampMicrosecondType>(column),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => of::<TimestampNanosecondType>(column),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{rows, schema};
    use super::*;
    use crate::stream::{Draft, Origin, Record};

    /// As the log gives rows back: one message, whose memory all columns share.
    #[test]
    fn shared_memory_is_counted_once() {
        let apart = memory(&rows(0, 10_000));
        let record = Draft::new(&rows(0, 10_000), &Origin::default()).unwrap().placed(0, 0).to_vec();
        let read = Record::read(&record, &schema()).unwrap().rows;
        let together = memory(&read);
        assert!(together <= allocated(record.len()) && together * 2 > apart, "{together} of {apart}");
        assert!(read.get_array_memory_size() > 3 * together, "else Arrow's own sum would do");
    }

    #[test]
    fn an_allocation_is_as_large_as_its_size_class() {
        let sizes = [0, 1, 8, 33, 320 << 10, (320 << 10) + 1, 512 << 10, (512 << 10) + 1, 3 << 20];
        let classes = [0, 8, 8, 40, 320 << 10, 384 << 10, 512 << 10, 576 << 10, 3 << 20];
        assert_eq!(sizes.map(allocated), classes);
    }
}
