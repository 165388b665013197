//! Rows for tests.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("text", DataType::Utf8, true),
    ]))
}

/// Rows whose `id` is their place.
pub fn rows(from: u64, count: usize) -> RecordBatch {
    let ids: Vec<i64> = (from..from + count as u64).map(|id| id as i64).collect();
    let texts: Vec<Option<String>> =
        ids.iter().map(|id| (id % 3 != 0).then(|| format!("row {id}"))).collect();
    let columns = [Arc::new(Int64Array::from(ids)) as _, Arc::new(StringArray::from(texts)) as _];
    RecordBatch::try_new(schema(), columns.into()).unwrap()
}
