//! Which rows of a seal go into which file, and in which order.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{SortOptions, concat_batches, sort_to_indices, take_record_batch};
use arrow::datatypes::{
    DataType, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow::error::ArrowError;
use chrono::DateTime;
use polarway_storage::streams::EventRange;

const SECONDS_A_DAY: i64 = 24 * 60 * 60;
/// Directory of rows without an event time; Hive's own name for it.
const NO_DAY: &str = "__HIVE_DEFAULT_PARTITION__";

/// How a stream's sealed rows are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// In the order of arrival.
    Arrival,
    /// One directory a day (UTC) of the event time in this column, sorted by it.
    ByDay { column: usize },
}

/// The rows of one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// Below the directory of data: empty, or `day=2026-11-25`.
    pub directory: String,
    pub rows: RecordBatch,
    pub events: Option<EventRange>,
}

impl Layout {
    /// The rows of `batches` by files. Every row is in exactly one of them.
    pub fn split(self, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<Share>, ArrowError> {
        let rows = concat_batches(schema, batches)?;
        let Layout::ByDay { column } = self else {
            return Ok(vec![Share { directory: String::new(), rows, events: None }]);
        };
        let order = SortOptions { descending: false, nulls_first: false };
        let sorted = take_record_batch(&rows, &sort_to_indices(rows.column(column), Some(order), None)?)?;
        let (ticks, unit) = ticks(sorted.column(column))?;
        let known = ticks.len() - ticks.null_count();
        let day = per_second(unit) * SECONDS_A_DAY;
        let values = &ticks.as_primitive::<Int64Type>().values()[..known];
        let mut shares = vec![];
        let mut from = 0;
        for same in values.chunk_by(|a, b| a.div_euclid(day) == b.div_euclid(day)) {
            let (Some(first), Some(last)) = (same.first(), same.last()) else { continue };
            shares.push(Share {
                directory: format!("day={}", date(first.div_euclid(day))),
                rows: sorted.slice(from, same.len()),
                events: Some(EventRange { first: *first, last: *last }),
            });
            from += same.len();
        }
        if known < sorted.num_rows() {
            let rows = sorted.slice(known, sorted.num_rows() - known);
            shares.push(Share { directory: format!("day={NO_DAY}"), rows, events: None });
        }
        Ok(shares)
    }
}

/// A column of times as numbers of its unit.
fn ticks(column: &ArrayRef) -> Result<(ArrayRef, TimeUnit), ArrowError> {
    let DataType::Timestamp(unit, _) = column.data_type() else {
        return Err(ArrowError::SchemaError(format!("{} is not a time", column.data_type())));
    };
    let ticks: ArrayRef = match unit {
        TimeUnit::Second => {
            Arc::new(column.as_primitive::<TimestampSecondType>().reinterpret_cast::<Int64Type>())
        }
        TimeUnit::Millisecond => {
            Arc::new(column.as_primitive::<TimestampMillisecondType>().reinterpret_cast::<Int64Type>())
        }
        TimeUnit::Microsecond => {
            Arc::new(column.as_primitive::<TimestampMicrosecondType>().reinterpret_cast::<Int64Type>())
        }
        TimeUnit::Nanosecond => {
            Arc::new(column.as_primitive::<TimestampNanosecondType>().reinterpret_cast::<Int64Type>())
        }
    };
    Ok((ticks, *unit))
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// Days since 1970 as a date; days that no calendar reaches as their number.
fn date(day: i64) -> String {
    let seconds = day.checked_mul(SECONDS_A_DAY);
    match seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0)) {
        Some(time) => time.format("%Y-%m-%d").to_string(),
        None => day.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, TimestampMicrosecondArray, TimestampSecondArray};
    use arrow::datatypes::{Field, Schema};
    use proptest::prelude::*;

    use super::*;

    fn batch(times: ArrayRef) -> RecordBatch {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..times.len() as i64));
        let fields =
            [Field::new("id", DataType::Int64, false), Field::new("at", times.data_type().clone(), true)];
        RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), vec![ids, times]).unwrap()
    }

    fn ids(share: &Share) -> Vec<i64> {
        share.rows.column(0).as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn rows_are_sorted_by_day_and_time() {
        let day = 86_400;
        let times = [Some(day + 5), None, Some(-1), Some(day), Some(day + 5), Some(0)];
        let batch = batch(Arc::new(TimestampSecondArray::from(times.to_vec())));
        let halves = [batch.slice(0, 3), batch.slice(3, 3)];
        let shares = Layout::ByDay { column: 1 }.split(&batch.schema(), &halves).unwrap();
        let told: Vec<_> =
            shares.iter().map(|share| (share.directory.as_str(), ids(share), share.events)).collect();
        let range = |first, last| Some(EventRange { first, last });
        assert_eq!(
            told,
            [
                ("day=1969-12-31", vec![2], range(-1, -1)),
                ("day=1970-01-01", vec![5], range(0, 0)),
                ("day=1970-01-02", vec![3, 0, 4], range(day, day + 5)),
                ("day=__HIVE_DEFAULT_PARTITION__", vec![1], None),
            ]
        );
    }

    #[test]
    fn without_an_event_time_the_order_is_that_of_arrival() {
        let batch = batch(Arc::new(TimestampSecondArray::from(vec![3, 1, 2])));
        let shares = Layout::Arrival.split(&batch.schema(), std::slice::from_ref(&batch)).unwrap();
        assert_eq!((shares.len(), ids(&shares[0]), shares[0].events), (1, vec![0, 1, 2], None));
    }

    proptest! {
        #[test]
        fn every_row_is_in_one_file(times in prop::collection::vec(any::<Option<i64>>(), 1..200)) {
            let count = times.len() as i64;
            let batch = batch(Arc::new(TimestampMicrosecondArray::from(times)));
            let shares = Layout::ByDay { column: 1 }.split(&batch.schema(), &[batch]).unwrap();
            let mut all: Vec<i64> = shares.iter().flat_map(ids).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..count).collect::<Vec<_>>());
            let mut directories: Vec<_> = shares.iter().map(|share| share.directory.clone()).collect();
            directories.sort();
            directories.dedup();
            prop_assert_eq!(directories.len(), shares.len());
        }
    }
}
