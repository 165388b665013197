//! Which rows of a seal go into which file, and in which order.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::{
    SortColumn, SortOptions, concat_batches, lexsort_to_indices, partition, take_record_batch,
};
use arrow::datatypes::{
    DataType, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::DateTime;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use polarway_storage::streams::EventRange;

const SECONDS_A_DAY: i64 = 24 * 60 * 60;
/// Directory of rows without a value; Hive's own name for it.
const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";
/// What Hive escapes in the names of directories, and what stores and URLs take for something else.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'\'')
    .add(b'*')
    .add(b'/')
    .add(b':')
    .add(b'=')
    .add(b'?')
    .add(b'\\')
    .add(b'{')
    .add(b'[')
    .add(b']')
    .add(b'^')
    .add(b'.');

/// How a stream's sealed rows are laid out: in one directory a day (UTC) of the event time, and in it one for each value of
/// the partition columns, sorted by event time; in the order of arrival where there is neither.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// Column of the event time.
    pub event_time: Option<usize>,
    /// Partition columns.
    pub partition_by: Vec<usize>,
}

/// The rows of one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// Below the directory of data: empty, or `day=2026-11-25/symbol=BTC`.
    pub directory: String,
    pub rows: RecordBatch,
    pub events: Option<EventRange>,
}

impl Layout {
    /// The rows of `batches` by files. Every row is in exactly one of them.
    pub fn split(&self, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<Share>, ArrowError> {
        let rows = concat_batches(schema, batches)?;
        let mut keys = vec![];
        let mut time = None;
        if let Some(column) = self.event_time {
            let (ticks, unit) = ticks(rows.column(column))?;
            let per_day = ticks_of(unit) * SECONDS_A_DAY;
            if self.partition_by.is_empty() {
                // The day grows with the time.
                keys.push(Arc::clone(&ticks));
            } else {
                let days =
                    ticks.as_primitive::<Int64Type>().unary::<_, Int64Type>(|tick| tick.div_euclid(per_day));
                keys.push(Arc::new(days) as ArrayRef);
            }
            time = Some((column, per_day, ticks));
        }
        keys.extend(self.partition_by.iter().map(|column| Arc::clone(rows.column(*column))));
        if let Some((_, _, ticks)) = time.as_ref().filter(|_| !self.partition_by.is_empty()) {
            keys.push(Arc::clone(ticks));
        }
        if keys.is_empty() {
            return Ok(vec![Share { directory: String::new(), rows, events: None }]);
        }
        let sorted = if is_sorted(&keys) { rows } else { sort(rows, keys)? };
        self.cut(&sorted, time.map(|(column, per_day, _)| (column, per_day)))
    }

    /// Cuts sorted rows where the directory changes.
    fn cut(&self, sorted: &RecordBatch, time: Option<(usize, i64)>) -> Result<Vec<Share>, ArrowError> {
        let mut days: Option<(Int64Array, ArrayRef)> = None;
        if let Some((column, per_day)) = time {
            let (ticks, _) = ticks(sorted.column(column))?;
            let of_ticks = ticks.as_primitive::<Int64Type>().unary(|tick| tick.div_euclid(per_day));
            days = Some((of_ticks, ticks));
        }
        let mut bounds: Vec<ArrayRef> = vec![];
        bounds.extend(days.iter().map(|(days, _)| Arc::new(days.clone()) as ArrayRef));
        bounds.extend(self.partition_by.iter().map(|column| Arc::clone(sorted.column(*column))));
        let format = FormatOptions::default();
        let mut shares = vec![];
        for range in partition(&bounds)?.ranges() {
            let at = range.start;
            let mut parts = vec![];
            if let Some((days, _)) = &days {
                parts.push(format!(
                    "day={}",
                    if days.is_valid(at) { date(days.value(at)) } else { NO_VALUE.into() }
                ));
            }
            for column in &self.partition_by {
                let (values, field) = (sorted.column(*column), sorted.schema_ref().field(*column));
                let value = match values.is_valid(at) {
                    true => ArrayFormatter::try_new(values, &format)?.value(at).to_string(),
                    false => NO_VALUE.to_owned(),
                };
                parts.push(format!(
                    "{}={}",
                    escaped(field.name()),
                    if value.is_empty() { NO_VALUE.into() } else { escaped(&value) }
                ));
            }
            let events = days.as_ref().and_then(|(_, ticks)| {
                let ticks = ticks.as_primitive::<Int64Type>();
                ticks
                    .is_valid(at)
                    .then(|| EventRange { first: ticks.value(at), last: ticks.value(range.end - 1) })
            });
            let rows = sorted.slice(at, range.len());
            shares.push(Share { directory: parts.join("/"), rows, events });
        }
        Ok(shares)
    }
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// Whether rows come in order already, as they mostly do.
fn is_sorted(keys: &[ArrayRef]) -> bool {
    match keys {
        [ticks] if ticks.null_count() == 0 => {
            ticks.as_primitive_opt::<Int64Type>().is_some_and(|ticks| ticks.values().is_sorted())
        }
        _ => false,
    }
}

/// Rows that are alike stay in the order of their arrival as far as the sort keeps it.
fn sort(rows: RecordBatch, keys: Vec<ArrayRef>) -> Result<RecordBatch, ArrowError> {
    let options = Some(SortOptions { descending: false, nulls_first: false });
    let columns: Vec<_> = keys.into_iter().map(|values| SortColumn { values, options }).collect();
    let order = lexsort_to_indices(&columns, None)?;
    take_record_batch(&rows, &order)
}

/// Ticks a second of a column of times.
pub fn ticks_per_second(kind: &DataType) -> i64 {
    match kind {
        DataType::Timestamp(unit, _) => ticks_of(*unit),
        _ => 1,
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

fn ticks_of(unit: TimeUnit) -> i64 {
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
    use arrow::array::{StringArray, TimestampMicrosecondArray, TimestampSecondArray};
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
        let shares =
            Layout { event_time: Some(1), ..Layout::default() }.split(&batch.schema(), &halves).unwrap();
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
        let shares = Layout::default().split(&batch.schema(), std::slice::from_ref(&batch)).unwrap();
        assert_eq!((shares.len(), ids(&shares[0]), shares[0].events), (1, vec![0, 1, 2], None));
    }

    #[test]
    fn partition_columns_are_directories_below_the_day() {
        let day = 86_400;
        let times: ArrayRef = Arc::new(TimestampSecondArray::from(vec![day + 2, 3, day + 1, 1, 2]));
        let names: ArrayRef =
            Arc::new(StringArray::from(vec![Some("B/T=C"), Some("ETH"), Some("B/T=C"), None, Some("")]));
        let fields =
            [Field::new("at", times.data_type().clone(), true), Field::new("symbol", DataType::Utf8, true)];
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), vec![times, names]).unwrap();
        let told = |layout: &Layout| -> Vec<(String, usize, Option<EventRange>)> {
            let shares = layout.split(&batch.schema(), std::slice::from_ref(&batch)).unwrap();
            shares.into_iter().map(|share| (share.directory, share.rows.num_rows(), share.events)).collect()
        };
        let range = |first, last| Some(EventRange { first, last });
        assert_eq!(
            told(&Layout { event_time: Some(0), partition_by: vec![1] }),
            [
                ("day=1970-01-01/symbol=__HIVE_DEFAULT_PARTITION__".into(), 1, range(2, 2)),
                ("day=1970-01-01/symbol=ETH".into(), 1, range(3, 3)),
                ("day=1970-01-01/symbol=__HIVE_DEFAULT_PARTITION__".into(), 1, range(1, 1)),
                ("day=1970-01-02/symbol=B%2FT%3DC".into(), 2, range(day + 1, day + 2)),
            ]
        );
        let directories: Vec<_> = told(&Layout { event_time: None, partition_by: vec![1] })
            .into_iter()
            .map(|told| told.0)
            .collect();
        assert_eq!(directories.len(), 4);
    }

    proptest! {
        #[test]
        fn every_row_is_in_one_file(times in prop::collection::vec(any::<Option<i64>>(), 1..200)) {
            let count = times.len() as i64;
            let batch = batch(Arc::new(TimestampMicrosecondArray::from(times)));
            let shares = Layout { event_time: Some(1), ..Layout::default() }.split(&batch.schema(), &[batch]).unwrap();
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
