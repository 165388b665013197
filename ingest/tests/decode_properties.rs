//! Random rows and random damage.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, PrimitiveArray, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use polarway_ingest::decode::{BadRow, DecodeOptions, Decoder, Pushed};
use proptest::prelude::*;

fn schema() -> SchemaRef {
    let zone = || Some("+00:00".into());
    Arc::new(Schema::new(vec![
        Field::new("boolean", DataType::Boolean, true),
        Field::new("i8", DataType::Int8, true),
        Field::new("i16", DataType::Int16, true),
        Field::new("i32", DataType::Int32, true),
        Field::new("i64", DataType::Int64, false),
        Field::new("u8", DataType::UInt8, true),
        Field::new("u16", DataType::UInt16, true),
        Field::new("u32", DataType::UInt32, true),
        Field::new("u64", DataType::UInt64, true),
        Field::new("f32", DataType::Float32, true),
        Field::new("f64", DataType::Float64, true),
        Field::new("decimal", DataType::Decimal128(38, 8), true),
        Field::new("text \"é\\", DataType::Utf8, true),
        Field::new("date", DataType::Date32, true),
        Field::new("seconds", DataType::Timestamp(TimeUnit::Second, None), true),
        Field::new("micros", DataType::Timestamp(TimeUnit::Microsecond, zone()), true),
    ]))
}

#[derive(Debug, Clone)]
struct Row {
    boolean: Option<bool>,
    small: (Option<i8>, Option<i16>, Option<i32>, i64),
    unsigned: (Option<u8>, Option<u16>, Option<u32>, Option<u64>),
    floats: (Option<f32>, Option<f64>),
    decimal: Option<i128>,
    text: Option<String>,
    date: Option<i32>,
    times: (Option<i64>, Option<i64>),
    /// The order of the fields, which nulls are left out, whether times and decimals are strings, and how much
    /// white space there is.
    order: Vec<usize>,
    leave_out: bool,
    as_text: bool,
    space: &'static str,
}

fn row() -> impl Strategy<Value = Row> {
    let finite32 = || any::<f32>().prop_filter("JSON has finite numbers only", |value| value.is_finite());
    let finite64 = || any::<f64>().prop_filter("JSON has finite numbers only", |value| value.is_finite());
    // Years 1 to 9999, which RFC 3339 can say.
    let seconds = || -62_135_596_800_i64..253_402_300_800;
    (
        (
            any::<Option<bool>>(),
            any::<(Option<i8>, Option<i16>, Option<i32>, i64)>(),
            any::<(Option<u8>, Option<u16>, Option<u32>, Option<u64>)>(),
        ),
        (prop::option::of(finite32()), prop::option::of(finite64())),
        prop::option::of(-10_i128.pow(38) + 1..10_i128.pow(38)),
        any::<Option<String>>(),
        prop::option::of(-719_162_i32..2_932_896),
        (
            prop::option::of(seconds()),
            prop::option::of(
                seconds().prop_map(|seconds| seconds * 1_000_000 + seconds.rem_euclid(1_000_000)),
            ),
        ),
        Just((0..16).collect::<Vec<usize>>()).prop_shuffle(),
        any::<bool>(),
        any::<bool>(),
        prop::sample::select(vec!["", " ", "\t ", "\r"]),
    )
        .prop_map(
            |(
                (boolean, small, unsigned),
                floats,
                decimal,
                text,
                date,
                times,
                order,
                leave_out,
                as_text,
                space,
            )| Row {
                boolean,
                small,
                unsigned,
                floats,
                decimal,
                text,
                date,
                times,
                order,
                leave_out,
                as_text,
                space,
            },
        )
}

impl Row {
    fn json(&self) -> String {
        fn plain<T: ToString>(value: Option<T>) -> Option<String> {
            value.map(|value| value.to_string())
        }
        let quoted = |text: String| format!("\"{text}\"");
        let time = |micros: i64| chrono::DateTime::from_timestamp_micros(micros).unwrap();
        let values = [
            plain(self.boolean),
            plain(self.small.0),
            plain(self.small.1),
            plain(self.small.2),
            plain(Some(self.small.3)),
            plain(self.unsigned.0),
            plain(self.unsigned.1),
            plain(self.unsigned.2),
            plain(self.unsigned.3),
            plain(self.floats.0),
            self.floats.1.map(|value| format!("{value:e}")),
            self.decimal.map(|value| {
                let sign = if value < 0 { "-" } else { "" };
                let size = value.unsigned_abs();
                let text = format!("{sign}{}.{:08}", size / 100_000_000, size % 100_000_000);
                if self.as_text { quoted(text) } else { text }
            }),
            self.text.as_ref().map(|text| serde_json::to_string(text).unwrap()),
            self.date.map(|days| {
                quoted((chrono::NaiveDate::default() + chrono::TimeDelta::days(days.into())).to_string())
            }),
            self.times.0.map(|seconds| {
                if self.as_text {
                    quoted(time(seconds * 1_000_000).format("%Y-%m-%dT%H:%M:%S").to_string())
                } else {
                    seconds.to_string()
                }
            }),
            self.times.1.map(|micros| {
                if self.as_text { quoted(time(micros).to_rfc3339()) } else { micros.to_string() }
            }),
        ];
        let space = self.space;
        let mut fields = Vec::new();
        for &column in &self.order {
            let key = serde_json::to_string(schema().field(column).name()).unwrap();
            match &values[column] {
                Some(value) => fields.push(format!("{key}{space}:{space}{value}")),
                None if self.leave_out => {}
                None => fields.push(format!("{key}:{space}null")),
            }
        }
        format!("{{{space}{}{space}}}", fields.join(&format!("{space},{space}")))
    }
}

fn batch(rows: &[Row]) -> RecordBatch {
    fn column<T: arrow::array::ArrowPrimitiveType>(
        rows: &[Row],
        at: usize,
        value: impl Fn(&Row) -> Option<T::Native>,
    ) -> ArrayRef {
        let array: PrimitiveArray<T> = rows.iter().map(value).collect();
        Arc::new(array.with_data_type(schema().field(at).data_type().clone()))
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.boolean).collect::<BooleanArray>()),
        column::<Int8Type>(rows, 1, |row| row.small.0),
        column::<Int16Type>(rows, 2, |row| row.small.1),
        column::<Int32Type>(rows, 3, |row| row.small.2),
        column::<Int64Type>(rows, 4, |row| Some(row.small.3)),
        column::<UInt8Type>(rows, 5, |row| row.unsigned.0),
        column::<UInt16Type>(rows, 6, |row| row.unsigned.1),
        column::<UInt32Type>(rows, 7, |row| row.unsigned.2),
        column::<UInt64Type>(rows, 8, |row| row.unsigned.3),
        column::<Float32Type>(rows, 9, |row| row.floats.0),
        column::<Float64Type>(rows, 10, |row| row.floats.1),
        column::<Decimal128Type>(rows, 11, |row| row.decimal),
        Arc::new(rows.iter().map(|row| row.text.as_deref()).collect::<StringArray>()),
        column::<Date32Type>(rows, 13, |row| row.date),
        column::<TimestampSecondType>(rows, 14, |row| row.times.0),
        column::<TimestampMicrosecondType>(rows, 15, |row| row.times.1),
    ];
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(schema(), columns, &options).unwrap()
}

type Bad = Vec<(String, Vec<u8>)>;

fn decode(schema: &SchemaRef, frame: &[u8]) -> (RecordBatch, Bad) {
    let mut decoder = Decoder::new(schema.clone(), DecodeOptions::default()).unwrap();
    push(&mut decoder, frame)
}

fn push(decoder: &mut Decoder, frame: &[u8]) -> (RecordBatch, Bad) {
    let mut bad = Vec::new();
    let pushed =
        decoder.push(frame, &mut |row: BadRow<'_>| bad.push((row.reason.to_string(), row.bytes.to_vec())));
    assert_eq!(pushed, Pushed { rows: decoder.len(), bad: bad.len() });
    (decoder.finish().unwrap(), bad)
}

/// A frame in each of the forms.
fn frames(rows: &[Row]) -> Vec<String> {
    let rows: Vec<String> = rows.iter().map(Row::json).collect();
    vec![
        format!("[{}]", rows.join(",")),
        format!(" [\n{} ]\n", rows.join(" ,\n ")),
        rows.join("\n"),
        rows.join("\r\n\n") + "\n",
    ]
}

/// Without the white space of JSON, which is not all that ASCII has.
fn trimmed(line: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let from = line.iter().position(|byte| !is_space(byte)).unwrap_or(line.len());
    let to = line.iter().rposition(|byte| !is_space(byte)).map_or(from, |last| last + 1);
    &line[from..to]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_form_of_random_rows_gives_the_rows(rows in prop::collection::vec(row(), 0..8)) {
        let expected = batch(&rows);
        for frame in frames(&rows) {
            let (found, bad) = decode(&schema(), frame.as_bytes());
            prop_assert_eq!(bad, vec![], "{}", frame);
            prop_assert_eq!(&found, &expected, "{}", frame);
        }
    }

    #[test]
    fn arrow_json_reads_the_same(rows in prop::collection::vec(row(), 1..8)) {
        let frame = rows.iter().map(Row::json).collect::<Vec<_>>().join("\n");
        let mut theirs = arrow::json::ReaderBuilder::new(schema()).build_decoder().unwrap();
        prop_assert_eq!(theirs.decode(frame.as_bytes()).unwrap(), frame.len());
        prop_assert_eq!(decode(&schema(), frame.as_bytes()).0, theirs.flush().unwrap().unwrap());
    }

    /// Damage never panics, is the same twice, and never reaches another line.
    #[test]
    fn a_damaged_line_takes_no_other_with_it(
        rows in prop::collection::vec(row(), 2..6),
        damaged in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let damaged = damaged.index(rows.len());
        let mut lines: Vec<Vec<u8>> = rows.iter().map(|row| row.json().into_bytes()).collect();
        for (at, byte) in changes {
            let at = at.index(lines[damaged].len());
            // A line feed would make two lines of it, a bracket at the front an array of the frame.
            if byte != b'\n' && byte != b'[' {
                lines[damaged][at] = byte;
            }
        }
        let frame = lines.join(&b'\n');
        let (found, bad) = decode(&schema(), &frame);
        prop_assert_eq!(found.num_rows() + bad.len(), rows.len());
        prop_assert!(bad.len() <= 1);
        if let [(_, bytes)] = &bad[..] {
            prop_assert_eq!(bytes, trimmed(&lines[damaged]));
            let mut others = rows.clone();
            others.remove(damaged);
            prop_assert_eq!(&found, &batch(&others));
        }
        prop_assert_eq!(decode(&schema(), &frame), (found, bad));
    }

    /// In a damaged array the good rows are a part of the rows, and the bad ones are where they stood.
    #[test]
    fn a_damaged_array_keeps_what_came_before(
        rows in prop::collection::vec(row(), 1..6),
        damaged in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut frame = format!("[{}]", rows.iter().map(Row::json).collect::<Vec<_>>().join(",")).into_bytes();
        let at = damaged.index(frame.len());
        if cut { frame.truncate(at.max(1)) } else if at > 0 { frame[at] = byte }
        let (found, bad) = decode(&schema(), &frame);
        // Whole rows before the damage are kept in any case.
        let mut end = 1;
        let mut whole = 0;
        for row in &rows {
            end += row.json().len();
            if end > at { break }
            whole += 1;
            end += 1;
        }
        if at > 0 {
            prop_assert!(found.num_rows() >= whole);
            prop_assert_eq!(found.slice(0, whole), batch(&rows).slice(0, whole));
        }
        for (_, bytes) in &bad {
            prop_assert!(bytes.is_empty() || frame.windows(bytes.len()).any(|window| window == bytes));
        }
        prop_assert_eq!(decode(&schema(), &frame), (found, bad));
    }

    /// What was pushed before changes nothing: not rows, not faults, not their order.
    #[test]
    fn the_past_of_a_decoder_does_not_matter(rows in prop::collection::vec(row(), 1..6), frame in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = Decoder::new(schema(), DecodeOptions::default()).unwrap();
        push(&mut decoder, &frame);
        for text in frames(&rows) {
            prop_assert_eq!(push(&mut decoder, text.as_bytes()), decode(&schema(), text.as_bytes()));
            prop_assert_eq!(push(&mut decoder, &frame), decode(&schema(), &frame));
        }
    }

    /// Text made of the pieces of rows, whole and broken: every byte that is not white space is in a good row, in a
    /// bad one, or is punctuation between rows.
    #[test]
    fn every_byte_is_accounted_for(pieces in prop::collection::vec(prop::sample::select(vec![
        "{\"a\":1}", "{\"a\":2,\"b\":\"x\"}", "{\"a\":\"bad\"}", "{\"b\":\"x\"}", "{", "}", "[", "]", ",", "\n", "\n", " ", "5", "null", "\"a\"", ":", "\"", "\\",
    ]), 0..24)) {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false), Field::new("b", DataType::Utf8, true)]));
        let frame = pieces.concat();
        let (found, bad) = decode(&schema, frame.as_bytes());
        if !frame.trim_ascii_start().starts_with('[') {
            let lines = frame.split('\n').filter(|line| !line.trim_ascii().is_empty()).count();
            // A single object may span the lines.
            prop_assert!(found.num_rows() + bad.len() == lines || found.num_rows() + bad.len() == 1, "{frame:?}");
            let good: usize = frame.split('\n').filter(|line| decode(&schema, line.as_bytes()).0.num_rows() > 0 && !line.trim_ascii().starts_with('[')).count();
            prop_assert!(found.num_rows() >= good.min(1), "{frame:?}");
        } else {
            prop_assert!(found.num_rows() + bad.len() > 0 || frame.trim_ascii().replace([' ', '\n'], "") == "[]", "{frame:?}");
        }
        prop_assert_eq!(decode(&schema, frame.as_bytes()), (found, bad));
    }
}
