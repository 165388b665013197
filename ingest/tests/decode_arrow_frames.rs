//! Arrow IPC frames: what is taken, every fault, and random damage.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Decimal128Array, Int64Array, LargeStringArray, RecordBatch, StringArray,
    StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use polarway_ingest::decode::{ArrowFault, ArrowFrames, Reason};
use proptest::prelude::*;

const LIMIT: usize = 1 << 20;

fn declared() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("price", DataType::Decimal128(10, 2), true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
    ]))
}

fn columns() -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ("name", Arc::new(StringArray::from(vec![Some("a"), None, Some("a name longer than a view holds")]))),
        (
            "price",
            Arc::new(
                Decimal128Array::from(vec![Some(150), Some(-1), None])
                    .with_precision_and_scale(10, 2)
                    .unwrap(),
            ),
        ),
        ("ts", Arc::new(TimestampMicrosecondArray::from(vec![1, 2, 3]).with_timezone("UTC"))),
    ]
}

fn batch(columns: Vec<(&'static str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .unwrap()
}

fn with(name: &'static str, array: ArrayRef) -> RecordBatch {
    let mut columns = columns();
    match columns.iter_mut().find(|column| column.0 == name) {
        Some(column) => column.1 = array,
        None => columns.push((name, array)),
    }
    batch(columns)
}

fn frame_as(batches: &[RecordBatch], compression: Option<CompressionType>) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap()
}

fn frame(batch: &RecordBatch) -> Vec<u8> {
    frame_as(std::slice::from_ref(batch), None)
}

fn decode(frame: &[u8]) -> Result<Vec<RecordBatch>, ArrowFault> {
    ArrowFrames::new(declared(), LIMIT).unwrap().decode(frame)
}

fn wanted() -> RecordBatch {
    RecordBatch::try_new(declared(), columns().into_iter().map(|column| column.1).collect()).unwrap()
}

#[track_caller]
fn fault(batch: &RecordBatch) -> String {
    decode(&frame(batch)).unwrap_err().to_string()
}

#[test]
fn frames_of_the_declared_schema_are_taken() {
    for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
        let two = frame_as(&[batch(columns()), batch(columns()).slice(1, 2)], compression);
        assert_eq!(decode(&two).unwrap(), [wanted(), wanted().slice(1, 2)]);
    }
    let mut reversed = columns();
    reversed.reverse();
    assert_eq!(decode(&frame(&batch(reversed))).unwrap(), [wanted()]);
}

#[test]
fn other_strings_become_utf8() {
    let values = vec![Some("a"), None, Some("a name longer than a view holds")];
    for array in [
        Arc::new(LargeStringArray::from(values.clone())) as ArrayRef,
        Arc::new(StringViewArray::from(values)),
    ] {
        assert_eq!(decode(&frame(&with("name", array))).unwrap(), [wanted()]);
    }
}

#[test]
fn other_schemas_name_the_column() {
    assert_eq!(
        fault(&with("id", Arc::new(StringArray::from(vec!["1", "2", "3"])))),
        "column \"id\": found type Utf8 in the Arrow frame, expected Int64"
    );
    assert_eq!(
        fault(&with("ts", Arc::new(TimestampMicrosecondArray::from(vec![1, 2, 3])))),
        "column \"ts\": found type Timestamp(µs) in the Arrow frame, expected Timestamp(µs, \"UTC\")"
    );
    assert_eq!(
        fault(&with(
            "name",
            arrow::array::new_null_array(
                &DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
                3
            )
        )),
        "column \"name\": found type Dictionary in the Arrow frame, expected Utf8"
    );
    assert_eq!(
        fault(&with(
            "name",
            arrow::array::new_null_array(
                &DataType::List(Arc::new(Field::new("item", DataType::Int8, true))),
                3
            )
        )),
        "column \"name\": found type List in the Arrow frame, expected Utf8"
    );
    assert_eq!(
        fault(&with("more", columns()[0].1.clone())),
        "column \"more\": found in the Arrow frame, but not declared"
    );
    assert_eq!(
        fault(&batch(columns()[..3].to_vec())),
        "column \"ts\": missing in the Arrow frame, expected Timestamp(µs, \"UTC\")"
    );
    let twice = [columns(), vec![columns()[0].clone()]].concat();
    assert_eq!(fault(&batch(twice)), "column \"id\": given twice in the Arrow frame");
}

#[test]
fn values_are_checked() {
    assert_eq!(
        fault(&with("id", Arc::new(Int64Array::from(vec![Some(1), None, None])))),
        "column \"id\": 2 null values in the Arrow frame, expected none (the column is NOT NULL)"
    );
    let wide = Decimal128Array::from(vec![1, 10_i128.pow(10), 3]).with_precision_and_scale(10, 2).unwrap();
    assert_eq!(
        fault(&with("price", Arc::new(wide))),
        "column \"price\": a value in the Arrow frame is out of range, expected Decimal128(10, 2)"
    );
    let reason = Reason::from(ArrowFault::NullValues { column: "id".into(), nulls: 1 });
    assert_eq!(reason.column(), Some("id"));
}

#[test]
fn a_frame_is_one_whole_stream() {
    let whole = frame(&batch(columns()));
    let message = |frame: &[u8]| decode(frame).unwrap_err().to_string();
    assert_eq!(message(b""), "not an Arrow IPC stream: no schema");
    assert_eq!(message(b"{\"a\":1}"), "not an Arrow IPC stream: a message does not begin with 0xffffffff");
    assert_eq!(message(&[&whole[..], b"x"].concat()), "not an Arrow IPC stream: 1 bytes follow its end");
    assert_eq!(
        message(&[&whole[..whole.len() - 8], &whole[..]].concat()),
        "not an Arrow IPC stream: a second schema"
    );
    assert_eq!(message(&whole[..whole.len() - 9]), "not an Arrow IPC stream: it is cut off");
    // The mark of the end may be left out.
    assert_eq!(decode(&whole[..whole.len() - 8]).unwrap(), [wanted()]);
    for end in 0..whole.len() - 1 {
        if let Ok(batches) = decode(&whole[..end]) {
            assert!(batches.is_empty() || end == whole.len() - 8, "cut at {end}");
        }
    }
}

#[test]
fn memory_is_bounded() {
    let rows = 20_000;
    let schema = Arc::new(Schema::new(vec![Field::new("name", DataType::Utf8, true)]));
    let message = |frame: &[u8], limit| {
        ArrowFrames::new(schema.clone(), limit).unwrap().decode(frame).map(|batches| batches[0].num_rows())
    };
    let long = "x".repeat(1_000);
    let texts: ArrayRef = Arc::new(StringArray::from(vec![long.as_str(); rows]));
    for compression in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let small = frame_as(&[batch(vec![("name", texts.clone())])], Some(compression));
        assert!(small.len() < LIMIT, "{}", small.len());
        assert_eq!(message(&small, LIMIT), Err(ArrowFault::TooLarge { limit: LIMIT }));
        assert_eq!(message(&small, 64 * LIMIT), Ok(rows));
    }
    // Views that all show the same bytes.
    let one = StringViewArray::from(vec![long.as_str()]);
    let views =
        StringViewArray::try_new(vec![one.views()[0]; rows].into(), one.data_buffers().to_vec(), None)
            .unwrap();
    let small = frame(&batch(vec![("name", Arc::new(views))]));
    assert!(small.len() < LIMIT, "{}", small.len());
    assert_eq!(message(&small, LIMIT), Err(ArrowFault::TooLarge { limit: LIMIT }));
    assert_eq!(message(&small, 64 * LIMIT), Ok(rows));
}

#[test]
fn an_lz4_buffer_may_not_lie_about_its_size() {
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
    let zeros: ArrayRef = Arc::new(Int64Array::from(vec![0; 100_000]));
    let mut bytes = frame_as(&[batch(vec![("id", zeros)])], Some(CompressionType::LZ4_FRAME));
    let claim = 800_000_i64.to_le_bytes();
    let at = bytes.windows(8).position(|window| window == claim).unwrap();
    bytes[at..at + 8].copy_from_slice(&8_i64.to_le_bytes());
    assert_eq!(
        ArrowFrames::new(schema, LIMIT).unwrap().decode(&bytes).unwrap_err().to_string(),
        "not an Arrow IPC stream: an LZ4 buffer is not of the size it claims"
    );
}

#[test]
fn unsupported_types_are_refused() {
    let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Binary, true)]));
    assert_eq!(
        ArrowFrames::new(schema, LIMIT).err().unwrap().to_string(),
        "column \"a\": a feed cannot fill the type Binary"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Damage anywhere gives a fault or batches of the declared schema; it never panics, and is the same twice.
    #[test]
    fn damage_never_panics(
        compression in prop::sample::select(vec![None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)]),
        views in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(0), Just(255), Just(127)]), 1..4),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        let batch = if views {
            with("name", Arc::new(StringViewArray::from(vec![Some("a"), None, Some("a name longer than a view holds")])))
        } else {
            batch(columns())
        };
        let mut bytes = frame_as(&[batch], compression);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let decoded = decode(&bytes);
        for batch in decoded.iter().flatten() {
            prop_assert_eq!(batch.schema(), declared());
            prop_assert_eq!(batch.column(0).null_count(), 0);
        }
        prop_assert_eq!(decode(&bytes), decoded);
    }
}
