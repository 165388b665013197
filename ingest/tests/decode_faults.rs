//! Every coercion and every fault, with the exact message.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use arrow::array::cast::AsArray;
use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::datatypes::{Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};
use polarway_ingest::decode::{BadRow, DecodeOptions, Decoder, Pushed, UnknownFields, UnsupportedType};

fn one(data_type: DataType, nullable: bool) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("a", data_type, nullable)]))
}

fn two() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int64, false),
        Field::new("b", DataType::Utf8, true),
    ]))
}

/// Message, column and bytes of a bad row.
type Bad = (String, Option<String>, Vec<u8>);

/// The batch and the bad rows.
fn decode_with(schema: SchemaRef, options: DecodeOptions, frame: &[u8]) -> (RecordBatch, Vec<Bad>) {
    let mut decoder = Decoder::new(schema, options).unwrap();
    let mut bad = Vec::new();
    let pushed = decoder.push(frame, &mut |row: BadRow<'_>| {
        assert_eq!(row.reason.column(), row.column);
        bad.push((row.reason.to_string(), row.column.map(str::to_owned), row.bytes.to_vec()));
    });
    assert_eq!(pushed, Pushed { rows: decoder.len(), bad: bad.len() });
    let batch = decoder.finish().unwrap();
    assert_eq!(batch.num_rows(), pushed.rows);
    assert!(decoder.is_empty());
    (batch, bad)
}

fn decode(schema: SchemaRef, frame: &str) -> (RecordBatch, Vec<Bad>) {
    decode_with(schema, DecodeOptions::default(), frame.as_bytes())
}

/// The message of the single bad row that `{"a": value}` is.
#[track_caller]
fn refused(data_type: DataType, value: &str) -> String {
    let frame = format!("{{\"a\":{value}}}");
    let (batch, bad) = decode(one(data_type, true), &frame);
    assert_eq!(batch.num_rows(), 0, "{value} was taken: {batch:?}");
    let [(message, column, bytes)] = &bad[..] else { panic!("{bad:?}") };
    assert_eq!(column.as_deref(), Some("a"));
    assert_eq!(bytes, frame.as_bytes());
    message.clone()
}

#[track_caller]
fn taken(data_type: DataType, value: &str) -> arrow::array::ArrayRef {
    let (batch, bad) = decode(one(data_type, true), &format!("{{\"a\":{value}}}"));
    assert!(bad.is_empty(), "{bad:?}");
    batch.column(0).clone()
}

#[test]
fn integers() {
    assert_eq!(taken(DataType::Int64, "-5").as_primitive::<Int64Type>().value(0), -5);
    assert_eq!(refused(DataType::Int64, "1.0"), "column \"a\": found 1.0, expected an integer of 64 bits");
    assert_eq!(
        refused(DataType::Int64, "\"5\""),
        "column \"a\": found \"5\", expected an integer of 64 bits"
    );
    assert_eq!(refused(DataType::Int64, "1e3"), "column \"a\": found 1e3, expected an integer of 64 bits");
    assert_eq!(refused(DataType::Int64, "true"), "column \"a\": found true, expected an integer of 64 bits");
    assert_eq!(
        refused(DataType::Int64, "9223372036854775808"),
        "column \"a\": 9223372036854775808 is out of range, expected an integer of 64 bits"
    );
    assert_eq!(
        refused(DataType::Int8, "128"),
        "column \"a\": 128 is out of range, expected an integer from -128 to 127"
    );
    assert_eq!(
        refused(DataType::Int16, "-32769"),
        "column \"a\": -32769 is out of range, expected an integer from -32768 to 32767"
    );
    assert_eq!(
        refused(DataType::Int32, "2147483648"),
        "column \"a\": 2147483648 is out of range, expected an integer of 32 bits"
    );
    assert_eq!(
        refused(DataType::UInt8, "-1"),
        "column \"a\": -1 is out of range, expected an integer from 0 to 255"
    );
    assert_eq!(
        refused(DataType::UInt16, "65536"),
        "column \"a\": 65536 is out of range, expected an integer from 0 to 65535"
    );
    assert_eq!(
        refused(DataType::UInt32, "4294967296"),
        "column \"a\": 4294967296 is out of range, expected an unsigned integer of 32 bits"
    );
    assert_eq!(
        refused(DataType::UInt64, "-1"),
        "column \"a\": -1 is out of range, expected an unsigned integer of 64 bits"
    );
}

#[test]
fn floats_booleans_and_strings() {
    assert_eq!(taken(DataType::Float64, "7").as_primitive::<Float64Type>().value(0), 7.0);
    assert_eq!(
        refused(DataType::Float64, "\"1.5\""),
        "column \"a\": found \"1.5\", expected a number (Float64)"
    );
    assert_eq!(
        refused(DataType::Float64, "1e400"),
        "column \"a\": 1e400 is out of range, expected a number (Float64)"
    );
    assert_eq!(
        refused(DataType::Float32, "1e39"),
        "column \"a\": 1e39 is out of range, expected a number (Float32)"
    );
    assert!(taken(DataType::Boolean, "true").as_boolean().value(0));
    assert_eq!(refused(DataType::Boolean, "1"), "column \"a\": found 1, expected true or false");
    assert_eq!(taken(DataType::Utf8, "\"\\u00e9\"").as_string::<i32>().value(0), "é");
    assert_eq!(refused(DataType::Utf8, "5"), "column \"a\": found 5, expected a string");
    assert_eq!(
        refused(DataType::Utf8, "{\"x\":[1,2,3],\"y\":\"a long nested value\"}"),
        "column \"a\": found {\"x\":[1,2,3],\"y\":\"a long nested value\"}, expected a string"
    );
    let long = format!("[{}1]", "1,".repeat(50));
    let message = format!("column \"a\": found [{}1…, expected a string", "1,".repeat(19));
    assert_eq!(refused(DataType::Utf8, &long), message);
}

#[test]
fn decimals() {
    let decimal = DataType::Decimal128(6, 2);
    for text in ["1.5", "\"1.5\"", "1.5000", "\"150e-2\"", "0.00015e4"] {
        assert_eq!(taken(decimal.clone(), text).as_primitive::<Decimal128Type>().value(0), 150, "{text}");
    }
    assert_eq!(
        refused(decimal.clone(), "1.234"),
        "column \"a\": 1.234 is too fine, expected a decimal(6, 2)"
    );
    assert_eq!(
        refused(decimal.clone(), "\"10000\""),
        "column \"a\": \"10000\" is out of range, expected a decimal(6, 2)"
    );
    assert_eq!(refused(decimal.clone(), "\"abc\""), "column \"a\": found \"abc\", expected a decimal(6, 2)");
    assert_eq!(refused(decimal.clone(), "\"\""), "column \"a\": found \"\", expected a decimal(6, 2)");
    assert_eq!(refused(decimal, "false"), "column \"a\": found false, expected a decimal(6, 2)");
}

#[test]
fn dates_and_timestamps() {
    assert_eq!(taken(DataType::Date32, "\"1970-01-02\"").as_primitive::<Date32Type>().value(0), 1);
    assert_eq!(refused(DataType::Date32, "1"), "column \"a\": found 1, expected a date as \"YYYY-MM-DD\"");
    assert_eq!(
        refused(DataType::Date32, "\"2023-02-29\""),
        "column \"a\": found \"2023-02-29\", expected a date as \"YYYY-MM-DD\""
    );
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("Europe/Paris".into()));
    let local = DataType::Timestamp(TimeUnit::Microsecond, None);
    let value = |kind: &DataType, text: &str| {
        taken(kind.clone(), text).as_primitive::<TimestampMicrosecondType>().value(0)
    };
    assert_eq!(value(&zoned, "1732537200123456"), 1_732_537_200_123_456);
    assert_eq!(value(&zoned, "\"2024-11-25T12:20:00.123456Z\""), 1_732_537_200_123_456);
    assert_eq!(value(&local, "\"2024-11-25T12:20:00.123456\""), 1_732_537_200_123_456);
    assert_eq!(value(&local, "\"2024-11-25T14:20:00.123456+02:00\""), 1_732_537_200_123_456);
    let expected = "expected a timestamp as an integer of microseconds or an RFC 3339 string with an offset";
    assert_eq!(
        refused(zoned.clone(), "\"2024-11-25T12:20:00\""),
        format!("column \"a\": \"2024-11-25T12:20:00\" has no offset from UTC, {expected}")
    );
    assert_eq!(
        refused(zoned.clone(), "\"2024-11-25T12:20:00.1234567Z\""),
        format!("column \"a\": \"2024-11-25T12:20:00.1234567Z\" is too fine, {expected}")
    );
    assert_eq!(refused(zoned.clone(), "1.5"), format!("column \"a\": found 1.5, {expected}"));
    assert_eq!(refused(zoned, "\"yesterday\""), format!("column \"a\": found \"yesterday\", {expected}"));
    assert_eq!(
        refused(DataType::Timestamp(TimeUnit::Nanosecond, None), "\"2300-01-01T00:00:00\""),
        "column \"a\": \"2300-01-01T00:00:00\" is out of range, expected a timestamp as an integer of nanoseconds or an RFC 3339 string"
    );
}

#[test]
fn null_missing_unknown_and_double() {
    let (batch, bad) = decode(two(), "{\"a\":1,\"b\":null}\n{\"a\":2}\n{\"b\":\"x\",\"a\":3}");
    assert!(bad.is_empty(), "{bad:?}");
    assert_eq!(batch.column(1).null_count(), 2);
    assert_eq!(batch.column(1).as_string::<i32>().value(2), "x");
    let fault = |frame: &str| decode(two(), frame).1[0].0.clone();
    assert_eq!(
        fault("{\"a\":null}"),
        "column \"a\": found null, expected an integer of 64 bits (the column is NOT NULL)"
    );
    assert_eq!(
        fault("{}"),
        "column \"a\": the field is missing, expected an integer of 64 bits (the column is NOT NULL)"
    );
    assert_eq!(fault("{\"a\":1,\"c\":2}"), "unknown field \"c\": no column of this name is declared");
    assert_eq!(fault("{\"a\":1,\"b\":null,\"a\":1}"), "column \"a\": the key is given twice in one row");
    assert_eq!(fault("{\"a\":1,\"\\u0061\":1}"), "column \"a\": the key is given twice in one row");
    // The first fault is told.
    assert_eq!(fault("{\"b\":1,\"c\":2,\"a\":null}"), "column \"b\": found 1, expected a string");
}

#[test]
fn unknown_fields_may_be_ignored() {
    let options = DecodeOptions { unknown_fields: UnknownFields::Ignore };
    let (batch, bad) = decode_with(two(), options, br#"{"x":{"a":[9]},"a":1,"y":"\n","b":"z"}"#);
    assert!(bad.is_empty(), "{bad:?}");
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().value(0), 1);
    assert_eq!(batch.column(1).as_string::<i32>().value(0), "z");
    let (_, bad) = decode_with(two(), options, br#"{"a":1,"x":"\ud800"}"#);
    assert_eq!(bad[0].0, "not JSON at byte 18: expected the second surrogate, found '\"'");
    let deep = format!("{{\"a\":1,\"x\":{}}}", "[".repeat(200));
    let (_, bad) = decode_with(two(), options, deep.as_bytes());
    assert_eq!(bad[0].0, "nested too deep at byte 139: more than 128 levels below the row");
}

#[test]
fn a_bad_row_leaves_nothing_behind() {
    let (batch, bad) = decode(
        two(),
        "[{\"a\":1,\"b\":\"x\"},{\"b\":\"lost\",\"a\":\"bad\"},{\"a\":2,\"b\":null},{\"b\":null},{\"a\":3,\"b\":\"y\"}]",
    );
    assert_eq!(
        bad.iter().map(|bad| bad.2.as_slice()).collect::<Vec<_>>(),
        [b"{\"b\":\"lost\",\"a\":\"bad\"}".as_slice(), b"{\"b\":null}",]
    );
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &[1, 2, 3]);
    let texts: Vec<_> = batch.column(1).as_string::<i32>().iter().collect();
    assert_eq!(texts, [Some("x"), None, Some("y")]);
}

/// Frames as a whole: how many rows, and message and bytes of what is bad.
#[track_caller]
fn frame(frame: &[u8], rows: usize, faults: &[(&str, &[u8])]) {
    let (batch, bad) = decode_with(two(), DecodeOptions::default(), frame);
    let found: Vec<_> = bad.iter().map(|bad| (bad.0.as_str(), bad.2.as_slice())).collect();
    assert_eq!(found, faults, "{}", String::from_utf8_lossy(frame));
    assert_eq!(batch.num_rows(), rows);
}

#[test]
fn frames_without_rows() {
    for text in ["", " \r\n\t", "\n\n", "[]", " [ ] \n"] {
        frame(text.as_bytes(), 0, &[]);
    }
}

#[test]
fn one_object_may_span_lines() {
    frame(b"{\n  \"a\": 1,\n  \"b\": \"x\"\n}\n", 1, &[]);
    frame(b"5", 0, &[("found 5, expected a row (a JSON object)", b"5")]);
    frame(
        b"{\"a\":\n\"x\"}\n",
        0,
        &[("column \"a\": found \"x\", expected an integer of 64 bits", b"{\"a\":\n\"x\"}")],
    );
}

#[test]
fn a_damaged_line_stays_alone() {
    frame(
        b"{\"a\":1}\r\n\r\n{\"a\":2\r\n  {\"a\":3} \r\n",
        2,
        &[("not JSON at byte 6: expected ',' or '}', found the end", b"{\"a\":2")],
    );
    // The torn first line would be a row together with the second; lines are read one by one.
    frame(
        b"{\"a\":1,\n\"b\":\"x\"}\n{\"a\":2}",
        1,
        &[
            ("not JSON at byte 7: expected a key, found the end", b"{\"a\":1,"),
            ("not JSON at byte 3: expected the end of the line, found ':'", b"\"b\":\"x\"}"),
        ],
    );
    frame(
        b"{\"a\":1} {\"a\":2}\n{\"a\":3}",
        1,
        &[("not JSON at byte 8: expected the end of the line, found '{'", b"{\"a\":1} {\"a\":2}")],
    );
    frame(
        b"{\"a\":1}\n[{\"a\":2}]\n\x0c{\"a\":3}",
        1,
        &[
            ("found [{\"a\":2}], expected a row (a JSON object)", b"[{\"a\":2}]"),
            ("not JSON at byte 0: expected a value, found byte 0x0c", b"\x0c{\"a\":3}"),
        ],
    );
    frame(
        b"{\"a\":1}\n{\"a\":2,\"b\":\"\xff\"}\n{\"a\":3}",
        2,
        &[("not UTF-8 at byte 12", b"{\"a\":2,\"b\":\"\xff\"}")],
    );
    frame(b"{\"a\":1,\"b\":\"\xc3\"}", 0, &[("not UTF-8 at byte 12", b"{\"a\":1,\"b\":\"\xc3\"}")]);
    frame(
        "\u{feff}{\"a\":1}".as_bytes(),
        0,
        &[("not JSON at byte 0: expected a value, found '\u{feff}'", "\u{feff}{\"a\":1}".as_bytes())],
    );
}

#[test]
fn a_damaged_array_keeps_the_rows_before() {
    frame(
        b"[{\"a\":1}, {\"a\":2,}, {\"a\":3}]",
        1,
        &[("not JSON at byte 7: expected a key, found '}'", b"{\"a\":2,}, {\"a\":3}]")],
    );
    frame(
        b"[{\"a\":1} {\"a\":2}]",
        1,
        &[("not JSON at byte 1: expected ',' or ']', found '{'", b" {\"a\":2}]")],
    );
    frame(b"[{\"a\":1}", 1, &[("not JSON at byte 0: expected ',' or ']', found the end", b"")]);
    frame(b"[{\"a\":1},", 1, &[("not JSON at byte 1: expected a row, found the end", b",")]);
    frame(b"[{\"a\":1},]", 1, &[("not JSON at byte 1: expected a row, found ']'", b",]")]);
    frame(b"[", 0, &[("not JSON at byte 0: expected a row, found the end", b"")]);
    frame(b"[{\"a\":1}]x", 1, &[("not JSON at byte 0: expected the end of the frame, found 'x'", b"x")]);
    frame(b"[{\"a\":1},7,{\"a\":2}]", 2, &[("found 7, expected a row (a JSON object)", b"7")]);
    frame(
        b"[{\"a\":1},{\"a\":2,\"b\":\"\xff\"},{\"a\":3}]",
        1,
        &[("not UTF-8 at byte 12", b"{\"a\":2,\"b\":\"\xff\"},{\"a\":3}]")],
    );
    frame(b"[{\"a\":1}\xff]", 1, &[("not UTF-8 at byte 0", b"\xff]")]);
    frame(
        b"[{\"a\":1},{\"a\":x},{\"b\":\"\xff\"}]",
        1,
        &[("not JSON at byte 5: expected a value, found 'x'", b"{\"a\":x},{\"b\":\"\xff\"}]")],
    );
}

#[test]
fn schemas_are_checked() {
    let message = |schema| Decoder::new(schema, DecodeOptions::default()).err().unwrap().to_string();
    assert_eq!(message(one(DataType::Binary, true)), "column \"a\": a feed cannot fill the type Binary");
    assert_eq!(
        message(one(DataType::Decimal128(4, 6), true)),
        "column \"a\": a feed cannot fill the type Decimal128(4, 6)"
    );
    let twice =
        Schema::new(vec![Field::new("a", DataType::Int8, true), Field::new("a", DataType::Int8, true)]);
    assert_eq!(
        Decoder::new(Arc::new(twice), DecodeOptions::default()).err(),
        Some(UnsupportedType::DuplicateColumn { column: "a".into() })
    );
}

#[test]
fn the_held_bytes_are_counted_and_given_up() {
    let mut decoder = Decoder::new(two(), DecodeOptions::default()).unwrap();
    let mut bad = |row: BadRow<'_>| panic!("{}", row.reason);
    assert_eq!(decoder.bytes(), 0);
    decoder.push(b"{\"a\":1,\"b\":\"four\"}", &mut bad);
    assert_eq!(decoder.bytes(), 8 + 4 + 1 + 4);
    assert_eq!(decoder.finish().unwrap().num_rows(), 1);
    assert_eq!(decoder.bytes(), 0);
    decoder.push(b"{\"a\":2}", &mut bad);
    let batch = decoder.finish().unwrap();
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &[2]);
    assert_eq!(batch.column(1).null_count(), 1);
    assert_eq!(decoder.finish().unwrap().num_rows(), 0);
}

#[test]
fn a_schema_without_columns_counts_rows() {
    let (batch, bad) = decode(Arc::new(Schema::empty()), "[{},{},{\"a\":1}]");
    assert_eq!((batch.num_rows(), bad.len()), (2, 1));
}
