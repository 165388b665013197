//! The rows of all live suites: about 90 bytes of JSON, equal for equal ids.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::ipc::writer::StreamWriter;

use crate::failure::Result;
use crate::socket::flood::Parcel;
use crate::socket::frame::{BINARY, TEXT, frame};

/// Name of the stream.
pub const STREAM: &str = "ticks";

/// 2026-11-25T00:00:00Z, the day of all rows.
const DAY_MICROSECONDS: i64 = 1_795_564_800_000_000;
/// A row each 100 µs, as many as a day has.
const STEP: u64 = 100;
const MICROSECONDS_OF_DAY: u64 = 86_400_000_000;

/// Bytes that are written with one call, roughly.
const PARCEL_BYTES: usize = 256 * 1024;

/// The statement that makes the stream, with `options` besides the event time.
pub fn create(options: &str) -> String {
    format!(
        "CREATE STREAM {STREAM} (id BIGINT NOT NULL, at TIMESTAMP(6), symbol VARCHAR, price DOUBLE, size BIGINT) \
         WITH (event_time = 'at'{options})"
    )
}

/// The same columns for Arrow's own readers.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("symbol", DataType::Utf8, true),
        Field::new("price", DataType::Float64, true),
        Field::new("size", DataType::Int64, true),
    ]))
}

/// Row `id` as a JSON object.
pub fn json(id: u64) -> String {
    let (time, whole) = (time_of_day(id), time_of_day(id) / 1_000_000);
    let (hour, minute, second, micros) = (whole / 3_600, whole / 60 % 60, whole % 60, time % 1_000_000);
    let (symbol, price, size) = values(id);
    format!(
        r#"{{"id":{id},"at":"2026-11-25T{hour:02}:{minute:02}:{second:02}.{micros:06}","symbol":"SYM{symbol:03}","price":{price:.2},"size":{size}}}"#
    )
}

/// Rows `first..first + count` as an Arrow IPC stream.
///
/// # Errors
/// Arrow refuses the columns, which would be a defect here.
pub fn arrow(first: u64, count: u64) -> Result<Vec<u8>> {
    let ids = first..first + count;
    let of = |pick: fn(u64) -> i64| ids.clone().map(pick).collect::<Vec<_>>();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(of(|id| id as i64))),
        Arc::new(TimestampMicrosecondArray::from(of(|id| DAY_MICROSECONDS + time_of_day(id) as i64))),
        Arc::new(StringArray::from_iter_values(ids.clone().map(|id| format!("SYM{:03}", values(id).0)))),
        Arc::new(Float64Array::from_iter_values(ids.clone().map(|id| values(id).1))),
        Arc::new(Int64Array::from(of(|id| values(id).2 as i64))),
    ];
    let batch = RecordBatch::try_new(schema(), columns)?;
    let mut writer = StreamWriter::try_new(Vec::new(), &schema())?;
    writer.write(&batch)?;
    Ok(writer.into_inner()?)
}

/// How rows lie in frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One JSON object a line, so many a frame.
    Json { rows: u64 },
    /// An Arrow IPC stream of one batch with so many rows.
    Arrow { rows: u64 },
}

impl Form {
    /// Frames of at least `count` rows in all, ready to be written.
    ///
    /// # Errors
    /// As [`arrow`].
    pub fn parcels(self, count: u64) -> Result<Vec<Parcel>> {
        let (Form::Json { rows } | Form::Arrow { rows }) = self;
        let (mut parcels, mut parcel) = (Vec::new(), Parcel { bytes: Vec::new(), frames: 0, rows: 0 });
        for first in (0..count).step_by(rows.max(1) as usize) {
            parcel.bytes.extend(match self {
                Form::Json { .. } => {
                    let lines: Vec<String> = (first..first + rows).map(json).collect();
                    frame(TEXT, lines.join("\n").as_bytes())
                }
                Form::Arrow { .. } => frame(BINARY, &arrow(first, rows)?),
            });
            parcel.frames += 1;
            parcel.rows += rows;
            if parcel.bytes.len() >= PARCEL_BYTES {
                parcels
                    .push(std::mem::replace(&mut parcel, Parcel { bytes: Vec::new(), frames: 0, rows: 0 }));
            }
        }
        if parcel.frames > 0 {
            parcels.push(parcel);
        }
        Ok(parcels)
    }
}

fn time_of_day(id: u64) -> u64 {
    id.wrapping_mul(STEP) % MICROSECONDS_OF_DAY
}

/// Number of the symbol, price and size.
fn values(id: u64) -> (u64, f64, u64) {
    (id % 100, 100.0 + (id % 9_973) as f64 / 4.0, 1 + id % 500)
}

#[cfg(test)]
mod tests {
    use arrow::ipc::reader::StreamReader;
    use arrow::json::ReaderBuilder;

    use super::*;

    #[test]
    fn json_and_arrow_are_the_same_rows() {
        let text: Vec<String> = (863_999_990..864_000_010).map(json).collect();
        assert!(text.iter().all(|row| (80..=100).contains(&row.len())), "{}", text[0]);
        let mut read = ReaderBuilder::new(schema()).build(std::io::Cursor::new(text.join("\n"))).unwrap();
        let bytes = arrow(863_999_990, 20).unwrap();
        let mut reader = StreamReader::try_new(&bytes[..], None).unwrap();
        assert_eq!(read.next().unwrap().unwrap(), reader.next().unwrap().unwrap());
    }

    #[test]
    fn parcels_hold_what_they_say() {
        for form in [Form::Json { rows: 1 }, Form::Json { rows: 100 }, Form::Arrow { rows: 8_000 }] {
            let parcels = form.parcels(16_000).unwrap();
            assert_eq!(parcels.iter().map(|parcel| parcel.rows).sum::<u64>(), 16_000);
            assert!(parcels.len() > 1, "{form:?}");
        }
    }
}
