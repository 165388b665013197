//! What a feed hands on, and to whom.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

use super::gap::Gap;
use crate::decode::{BadRow, BadRows, Reason};

/// Rows that came together. A copy shares everything.
#[derive(Debug, Clone)]
pub struct FeedBatch {
    /// Counts from 1 in this run of the feed. A batch that is offered again has the same number.
    pub number: u64,
    /// When the last of it came, microseconds since 1970.
    pub received_micros: i64,
    /// May be without rows.
    pub rows: RecordBatch,
    pub bad: Arc<[RefusedRow]>,
    pub gaps: Arc<[Gap]>,
}

/// A row that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRow {
    pub reason: Reason,
    /// As they stood in the message.
    pub bytes: Bytes,
}

impl RefusedRow {
    /// As a sink of bad rows takes it.
    #[must_use]
    pub fn as_bad_row(&self) -> BadRow<'_> {
        BadRow { reason: self.reason.clone(), column: self.reason.column(), bytes: &self.bytes }
    }
}

/// Takes a feed's batches.
#[async_trait]
pub trait FeedSink: Send + Sync {
    /// Stores a batch, in order. While it waits the feed is not read. After an error the same batch is offered again,
    /// and parts of it may be stored already: [`FeedBatch::number`] tells.
    ///
    /// At shutdown the future may be dropped before it ends.
    async fn write(&self, batch: FeedBatch) -> Result<(), SinkError>;
}

/// Why a batch could not be stored now.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct SinkError(pub String);

/// Collects refused rows.
#[derive(Debug, Default)]
pub(super) struct Refused {
    pub rows: Vec<RefusedRow>,
    pub bytes: usize,
}

impl BadRows for Refused {
    fn bad(&mut self, row: BadRow<'_>) {
        self.bytes += row.bytes.len();
        self.rows.push(RefusedRow { reason: row.reason, bytes: Bytes::copy_from_slice(row.bytes) });
    }
}
