//! What a feed missed, as rows of a table.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

const UTC: &str = "UTC";

/// Why something may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapKind {
    /// A number was not the one after the last.
    Sequence,
    /// There was no connection.
    Disconnected,
    /// There was a connection, and no rows.
    Silent,
    /// The server refused the connection or the subscription.
    Refused,
}

impl GapKind {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sequence => "sequence",
            Self::Disconnected => "disconnected",
            Self::Silent => "silent",
            Self::Refused => "refused",
        }
    }
}

/// A span in which something may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    pub kind: GapKind,
    /// Whose sequence it is, where sequences are counted by key.
    pub key: Option<String>,
    /// The number that was due.
    pub expected: Option<i64>,
    /// The number that came.
    pub found: Option<i64>,
    /// When the last message before came, microseconds since 1970; none where there was none.
    pub from_micros: Option<i64>,
    /// When the first message after came, or when the gap was noticed.
    pub to_micros: i64,
    pub detail: String,
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()));
    Arc::new(Schema::new(vec![
        Field::new("kind", DataType::Utf8, false),
        Field::new("key", DataType::Utf8, true),
        Field::new("expected", DataType::Int64, true),
        Field::new("found", DataType::Int64, true),
        Field::new("from_time", time.clone(), true),
        Field::new("to_time", time, false),
        Field::new("detail", DataType::Utf8, false),
    ]))
});

/// Columns of a table of gaps.
pub fn gap_schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

/// The gaps as rows.
///
/// # Errors
/// None in practice: the columns are built to fit the schema.
pub fn gap_batch(gaps: &[Gap]) -> Result<RecordBatch, ArrowError> {
    let from = TimestampMicrosecondArray::from_iter(gaps.iter().map(|gap| gap.from_micros));
    let to = TimestampMicrosecondArray::from_iter_values(gaps.iter().map(|gap| gap.to_micros));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(gaps.iter().map(|gap| gap.kind.name()))),
        Arc::new(StringArray::from_iter(gaps.iter().map(|gap| gap.key.as_deref()))),
        Arc::new(Int64Array::from_iter(gaps.iter().map(|gap| gap.expected))),
        Arc::new(Int64Array::from_iter(gaps.iter().map(|gap| gap.found))),
        Arc::new(from.with_timezone(UTC)),
        Arc::new(to.with_timezone(UTC)),
        Arc::new(StringArray::from_iter_values(gaps.iter().map(|gap| gap.detail.as_str()))),
    ];
    RecordBatch::try_new(gap_schema(), columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_rows() {
        let gap = Gap {
            kind: GapKind::Sequence,
            key: Some("BTC".into()),
            expected: Some(3),
            found: Some(5),
            from_micros: None,
            to_micros: 7,
            detail: "2 missing".into(),
        };
        let batch = gap_batch(&[gap]).unwrap();
        assert_eq!((batch.num_rows(), batch.schema()), (1, gap_schema()));
        assert!(batch.column(4).is_null(0));
        assert_eq!(gap_batch(&[]).unwrap().num_rows(), 0);
    }
}
