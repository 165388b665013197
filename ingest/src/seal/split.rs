//! Which rows of a seal go into which file, and in which order.

use std::iter;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{
    SortColumn, SortOptions, concat, interleave_record_batch, lexsort_to_indices, partition, take,
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

/// Rows that are read or put in order at once.
const CHUNK_ROWS: usize = 8192;

/// Rows in the order in which files hold them, and which of them go into which.
#[derive(Debug)]
pub struct Split<'a> {
    batches: &'a [RecordBatch],
    /// The place of each batch's first row among all.
    starts: Vec<usize>,
    /// Places of the rows in the files' order; none when it is that of arrival.
    order: Option<Vec<u32>>,
    pub shares: Vec<Share>,
}

/// What one file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Below the directory of data: empty, or `day=2026-11-25/symbol=BTC`.
    pub directory: String,
    /// Places in the files' order.
    pub rows: Range<usize>,
    pub events: Option<EventRange>,
}

/// What files are sorted by and cut at, for all rows in the order of arrival.
struct Keys {
    /// The event times, and how many ticks a day has.
    times: Option<(Int64Array, i64)>,
    partitions: Vec<ArrayRef>,
}

impl Layout {
    /// The rows of `batches` by files; every row is in exactly one of them. Only what decides on the order is copied.
    pub fn split<'a>(&self, schema: &SchemaRef, batches: &'a [RecordBatch]) -> Result<Split<'a>, ArrowError> {
        let mut starts = Vec::with_capacity(batches.len());
        let mut rows = 0;
        for batch in batches {
            starts.push(rows);
            rows += batch.num_rows();
        }
        let split = |order, shares| Split { batches, starts, order, shares };
        if rows == 0 {
            return Ok(split(None, vec![]));
        }
        let keys = self.keys(batches)?;
        if keys.times.is_none() && keys.partitions.is_empty() {
            return Ok(split(None, vec![Share { directory: String::new(), rows: 0..rows, events: None }]));
        }
        let order = keys.order()?;
        let shares = self.shares(schema, &keys, rows, order.as_deref())?;
        Ok(split(order, shares))
    }

    fn keys(&self, batches: &[RecordBatch]) -> Result<Keys, ArrowError> {
        let column = |of: &dyn Fn(&RecordBatch) -> Result<ArrayRef, ArrowError>| {
            let parts = batches.iter().map(of).collect::<Result<Vec<_>, _>>()?;
            concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<_>>())
        };
        let mut times = None;
        if let (Some(place), Some(first)) = (self.event_time, batches.first()) {
            let per_day = ticks_per_second(first.column(place).data_type()) * SECONDS_A_DAY;
            let ticks = column(&|batch| ticks(batch.column(place)))?.as_primitive::<Int64Type>().clone();
            times = Some((ticks, per_day));
        }
        let partitions =
            self.partition_by.iter().map(|place| column(&|batch| Ok(Arc::clone(batch.column(*place)))));
        Ok(Keys { times, partitions: partitions.collect::<Result<_, _>>()? })
    }

    /// The files of so many rows in `order`, or in the order of arrival.
    fn shares(
        &self,
        schema: &SchemaRef,
        keys: &Keys,
        rows: usize,
        order: Option<&[u32]>,
    ) -> Result<Vec<Share>, ArrowError> {
        let place = |at: usize| order.map_or(at, |order| order.get(at).map_or(at, |place| *place as usize));
        let ranges = match keys.lone_times() {
            Some((ticks, per_day)) => ranges(rows, |at| ticks.value(place(at)).div_euclid(per_day)),
            None => keys.ranges(order)?,
        };
        let format = FormatOptions::default();
        let mut shares = vec![];
        for rows in ranges {
            let (first, last) = (place(rows.start), place(rows.end - 1));
            let (mut parts, mut events) = (vec![], None);
            if let Some((ticks, per_day)) = &keys.times {
                if ticks.is_valid(first) {
                    events = Some(EventRange { first: ticks.value(first), last: ticks.value(last) });
                }
                let day = events.map_or(NO_VALUE.into(), |events| date(events.first.div_euclid(*per_day)));
                parts.push(format!("day={day}"));
            }
            for (column, values) in self.partition_by.iter().zip(&keys.partitions) {
                let value = match values.is_valid(first) {
                    true => ArrayFormatter::try_new(values, &format)?.value(first).to_string(),
                    false => NO_VALUE.to_owned(),
                };
                parts.push(format!(
                    "{}={}",
                    escaped(schema.field(*column).name()),
                    if value.is_empty() { NO_VALUE.into() } else { escaped(&value) }
                ));
            }
            shares.push(Share { directory: parts.join("/"), rows, events });
        }
        Ok(shares)
    }
}

impl Keys {
    /// The event times if they are all there is, and each row has one.
    fn lone_times(&self) -> Option<(&Int64Array, i64)> {
        let (ticks, per_day) = self.times.as_ref()?;
        (self.partitions.is_empty() && ticks.null_count() == 0).then_some((ticks, *per_day))
    }

    fn days(&self) -> Option<ArrayRef> {
        let (ticks, per_day) = self.times.as_ref()?;
        Some(Arc::new(ticks.unary::<_, Int64Type>(|tick| tick.div_euclid(*per_day))))
    }

    /// Places of the rows in the files' order; none when they are in it already, as they mostly are.
    fn order(&self) -> Result<Option<Vec<u32>>, ArrowError> {
        if let Some((ticks, _)) = self.lone_times() {
            // The day grows with the time.
            let ticks = ticks.values();
            if ticks.is_sorted() {
                return Ok(None);
            }
            let count = u32::try_from(ticks.len())
                .map_err(|_| ArrowError::ComputeError("more than 2^32 rows in one seal".into()))?;
            let mut order: Vec<u32> = (0..count).collect();
            // Stable, and quick where long parts are in order, which is how feeds come.
            order.sort_by_key(|place| ticks.get(*place as usize));
            return Ok(Some(order));
        }
        let options = Some(SortOptions { descending: false, nulls_first: false });
        let mut columns: Vec<ArrayRef> = vec![];
        columns.extend(self.days());
        columns.extend(self.partitions.iter().cloned());
        columns.extend(self.times.iter().map(|(ticks, _)| Arc::new(ticks.clone()) as ArrayRef));
        let columns: Vec<SortColumn> =
            columns.into_iter().map(|values| SortColumn { values, options }).collect();
        Ok(Some(lexsort_to_indices(&columns, None)?.values().to_vec()))
    }

    /// Where day or partition changes in `order`.
    fn ranges(&self, order: Option<&[u32]>) -> Result<Vec<Range<usize>>, ArrowError> {
        let mut bounds: Vec<ArrayRef> = self.days().into_iter().collect();
        bounds.extend(self.partitions.iter().cloned());
        if let Some(order) = order {
            let order = UInt32Array::from(order.to_vec());
            bounds = bounds.iter().map(|values| take(values, &order, None)).collect::<Result<_, _>>()?;
        }
        Ok(partition(&bounds)?.ranges())
    }
}

/// Where the value at places `0..count`, in which it grows, is the same.
fn ranges(count: usize, value: impl Fn(usize) -> i64) -> Vec<Range<usize>> {
    let mut ranges = vec![];
    let mut from = 0;
    while from < count {
        let this = value(from);
        let (mut same, mut other) = (from, count);
        while same + 1 < other {
            let middle = same + (other - same) / 2;
            if value(middle) == this { same = middle } else { other = middle }
        }
        ranges.push(from..other);
        from = other;
    }
    ranges
}

impl Split<'_> {
    /// The rows of a share in order, some thousands at a time.
    pub fn rows(&self, share: &Share) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> {
        let (mut at, end) = (share.rows.start, share.rows.end);
        iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let rows = self.some(at, end);
            at += rows.as_ref().map_or(end - at, RecordBatch::num_rows);
            Some(rows)
        })
    }

    /// Some of the rows `from..to` of the files' order, beginning with the first.
    fn some(&self, from: usize, to: usize) -> Result<RecordBatch, ArrowError> {
        let chunk = to.min(from + CHUNK_ROWS);
        let Some(order) = &self.order else {
            let (batch, row) = self.find(from);
            let rows = self.batches.get(batch).ok_or_else(no_such_row)?;
            return Ok(rows.slice(row, (rows.num_rows() - row).min(to - from)));
        };
        let places: Vec<(usize, usize)> = order
            .get(from..chunk)
            .ok_or_else(no_such_row)?
            .iter()
            .map(|place| self.find(*place as usize))
            .collect();
        // Only the batches that these rows come from: all of them would be looked at for each column.
        let mut used: Vec<usize> = places.iter().map(|(batch, _)| *batch).collect();
        used.sort_unstable();
        used.dedup();
        let batches: Vec<&RecordBatch> = used.iter().filter_map(|batch| self.batches.get(*batch)).collect();
        let places: Vec<(usize, usize)> = places
            .into_iter()
            .map(|(batch, row)| (used.partition_point(|other| *other < batch), row))
            .collect();
        interleave_record_batch(&batches, &places)
    }

    /// Batch of a row, and its place in it.
    fn find(&self, place: usize) -> (usize, usize) {
        let batch = self.starts.partition_point(|start| *start <= place).saturating_sub(1);
        (batch, place - self.starts.get(batch).copied().unwrap_or(place))
    }
}

fn no_such_row() -> ArrowError {
    ArrowError::ComputeError("a row to be sealed is not there".into())
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// Ticks a second of a column of times.
pub fn ticks_per_second(kind: &DataType) -> i64 {
    match kind {
        DataType::Timestamp(unit, _) => ticks_of(*unit),
        _ => 1,
    }
}

/// A column of times as numbers of its unit.
fn ticks(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
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
    Ok(ticks)
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

    fn ids(split: &Split<'_>, share: &Share) -> Vec<i64> {
        let rows = split.rows(share).map(Result::unwrap);
        rows.flat_map(|rows| rows.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
    }

    #[test]
    fn rows_are_sorted_by_day_and_time() {
        let day = 86_400;
        let times = [Some(day + 5), None, Some(-1), Some(day), Some(day + 5), Some(0)];
        let batch = batch(Arc::new(TimestampSecondArray::from(times.to_vec())));
        let halves = [batch.slice(0, 3), batch.slice(3, 3)];
        let layout = Layout { event_time: Some(1), ..Layout::default() };
        let split = layout.split(&batch.schema(), &halves).unwrap();
        let told = |share: &Share| (share.directory.clone(), ids(&split, share), share.events);
        let told: Vec<_> = split.shares.iter().map(told).collect();
        let range = |first, last| Some(EventRange { first, last });
        assert_eq!(
            told,
            [
                ("day=1969-12-31".into(), vec![2], range(-1, -1)),
                ("day=1970-01-01".into(), vec![5], range(0, 0)),
                ("day=1970-01-02".into(), vec![3, 0, 4], range(day, day + 5)),
                ("day=__HIVE_DEFAULT_PARTITION__".into(), vec![1], None),
            ]
        );
    }

    #[test]
    fn without_an_event_time_the_order_is_that_of_arrival() {
        let batch = batch(Arc::new(TimestampSecondArray::from(vec![3, 1, 2])));
        let halves = [batch.slice(0, 1), batch.slice(1, 2)];
        let split = Layout::default().split(&batch.schema(), &halves).unwrap();
        let [share] = split.shares.as_slice() else { panic!("{} shares", split.shares.len()) };
        assert_eq!((ids(&split, share), share.events), (vec![0, 1, 2], None));
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
            let split = layout.split(&batch.schema(), std::slice::from_ref(&batch)).unwrap();
            split.shares.into_iter().map(|share| (share.directory, share.rows.len(), share.events)).collect()
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

    /// Rows of the same time stay as they came, whatever came between.
    #[test]
    fn rows_of_one_time_keep_their_order() {
        let times: Vec<i64> = (0..20_000).map(|row| (row % 5_000) / 100).collect();
        let batch = batch(Arc::new(TimestampSecondArray::from(times.clone())));
        let parts: Vec<RecordBatch> = (0..20).map(|part| batch.slice(part * 1_000, 1_000)).collect();
        let layout = Layout { event_time: Some(1), ..Layout::default() };
        let split = layout.split(&batch.schema(), &parts).unwrap();
        let mut expected: Vec<i64> = (0..20_000).collect();
        expected.sort_by_key(|row| times[*row as usize]);
        assert_eq!(ids(&split, &split.shares[0]), expected);
    }

    proptest! {
        #[test]
        fn every_row_is_in_one_file(
            times in prop::collection::vec(any::<Option<i64>>(), 1..200),
            cut in 0.0f64..1.0,
        ) {
            let count = times.len();
            let batch = batch(Arc::new(TimestampMicrosecondArray::from(times.clone())));
            let cut = (count as f64 * cut) as usize;
            let parts = [batch.slice(0, cut), batch.slice(cut, count - cut)];
            let layout = Layout { event_time: Some(1), ..Layout::default() };
            let split = layout.split(&batch.schema(), &parts).unwrap();
            let mut all = vec![];
            for share in &split.shares {
                let ids = ids(&split, share);
                prop_assert!(ids.is_sorted_by_key(|id| times[*id as usize]));
                all.extend(ids);
            }
            all.sort_unstable();
            prop_assert_eq!(all, (0..count as i64).collect::<Vec<_>>());
            let mut directories: Vec<_> = split.shares.iter().map(|share| &share.directory).collect();
            directories.sort();
            directories.dedup();
            prop_assert_eq!(directories.len(), split.shares.len());
        }
    }
}
