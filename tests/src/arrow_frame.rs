//! Rows as Arrow IPC streams, which senders put into binary frames.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::ipc::writer::StreamWriter;

/// One frame with these columns.
pub fn frame(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = StreamWriter::try_new(vec![], &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

/// A column of integers.
pub fn integers(values: impl IntoIterator<Item = u64>) -> ArrayRef {
    Arc::new(values.into_iter().map(|value| value as i64).collect::<arrow::array::Int64Array>())
}
