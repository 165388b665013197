//! Rows that were refused, as rows of a table.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BinaryBuilder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder, UInt64Builder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

use crate::decode::{BadRow, BadRows};
use crate::stream::FrameRows;

const UTC: &str = "UTC";

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let received = DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()));
    Arc::new(Schema::new(vec![
        Field::new("received_at", received, false),
        Field::new("producer", DataType::Utf8, true),
        Field::new("frame", DataType::UInt64, false),
        Field::new("reason", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, true),
        Field::new("bytes", DataType::Binary, false),
    ]))
});

/// Columns of a table of dead letters: when the frame came, whose it was and its number, why the row was refused, the
/// column at fault where there is one, and the row's bytes as they stood in the frame.
pub fn dead_letter_schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

/// Collects the refused rows of a group of frames.
#[derive(Debug)]
pub struct DeadLetters {
    received_micros: i64,
    producer: Option<Arc<str>>,
    frames: Vec<FrameRows>,
    received: TimestampMicrosecondBuilder,
    producers: StringBuilder,
    numbers: UInt64Builder,
    reasons: StringBuilder,
    columns: StringBuilder,
    bytes: BinaryBuilder,
}

impl DeadLetters {
    /// For frames that came at this time, microseconds since 1970.
    pub fn new(received_micros: i64, producer: Option<Arc<str>>) -> Self {
        Self {
            received_micros,
            producer,
            frames: vec![],
            received: TimestampMicrosecondBuilder::new().with_timezone(UTC),
            producers: StringBuilder::new(),
            numbers: UInt64Builder::new(),
            reasons: StringBuilder::new(),
            columns: StringBuilder::new(),
            bytes: BinaryBuilder::new(),
        }
    }

    /// What comes now is of the frame with this number.
    pub fn frame(&mut self, number: u64) {
        self.frames.push(FrameRows { number, rows: 0 });
    }

    pub fn len(&self) -> usize {
        self.frames.iter().map(|frame| frame.rows).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows, and how many each frame gave.
    pub fn finish(mut self) -> Result<(RecordBatch, Vec<FrameRows>), ArrowError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.received.finish()),
            Arc::new(self.producers.finish()),
            Arc::new(self.numbers.finish()),
            Arc::new(self.reasons.finish()),
            Arc::new(self.columns.finish()),
            Arc::new(self.bytes.finish()),
        ];
        Ok((RecordBatch::try_new(dead_letter_schema(), columns)?, self.frames))
    }
}

impl BadRows for DeadLetters {
    fn bad(&mut self, row: BadRow<'_>) {
        let Some(frame) = self.frames.last_mut() else { return };
        frame.rows += 1;
        self.received.append_value(self.received_micros);
        self.producers.append_option(self.producer.as_deref());
        self.numbers.append_value(frame.number);
        self.reasons.append_value(row.reason.to_string());
        self.columns.append_option(row.column);
        self.bytes.append_value(row.bytes);
    }
}
