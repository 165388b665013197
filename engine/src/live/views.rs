//! What a query sees of a stream.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::execution::object_store::ObjectStoreUrl;
use object_store::path::Path;
use polarway_common::Error;

use super::access::HotRows;
use super::put::{PutAnswers, PutFrames, PutOptions};
use super::slice::HotSlice;

/// The rows of a stream at one moment: all of `files` and all of `slices`, none of them twice.
#[derive(Debug, Clone)]
pub struct StreamView {
    /// Where `files` are.
    pub store: ObjectStoreUrl,
    pub files: Vec<SealedFile>,
    pub slices: Vec<HotSlice>,
    /// The place after the last row.
    pub end: u64,
    /// Places of rows that are in none of them: an owner from before may have them in its log.
    pub missing: Vec<Range<u64>>,
    /// Reads `slices` in this process, whatever leaves memory meanwhile.
    pub rows: Arc<dyn HotRows>,
}

/// A Parquet file of sealed rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedFile {
    pub path: Path,
    pub bytes: u64,
    pub rows: u64,
    /// Earliest and latest event time, in the unit of its column.
    pub events: Option<(i64, i64)>,
}

/// A stream as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamStatus {
    pub id: String,
    /// Name of the process that has it, and its address; none while nobody has.
    pub owner: Option<(String, String)>,
    /// None when the owner does not answer.
    pub held: Option<Held>,
}

/// What a stream holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    pub hot_rows: u64,
    pub hot_bytes: u64,
    pub log_bytes: u64,
    pub sealed_rows: u64,
    pub sealed_bytes: u64,
    pub files: u64,
    /// The place after the last row: how many rows have come, whatever has become of them since.
    pub end: u64,
    /// Rows that have come in the last `recent_ms`, a few seconds.
    pub recent_rows: u64,
    pub recent_ms: u64,
    /// Since the last row; none before the first since the owner opened the stream.
    pub idle_ms: Option<u64>,
    /// The latest event time, in milliseconds since 1970; none where rows have none.
    pub latest_event_ms: Option<i64>,
    /// Of a feed that is dialled: `connected`, or why not; none for other streams.
    pub feed: Option<String>,
}

/// Whoever holds streams.
#[async_trait]
pub trait StreamHost: fmt::Debug + Send + Sync {
    /// Whether frames can carry rows of these columns.
    ///
    /// # Errors
    /// `Unsupported`, with the column.
    fn accepts(&self, schema: &SchemaRef) -> Result<(), Error>;

    /// Columns of the table that takes a stream's refused rows.
    fn dead_letter_schema(&self) -> SchemaRef;

    /// Columns of the table that takes the gaps of a feed.
    fn gap_schema(&self) -> SchemaRef;

    /// Where each stream is and what it holds.
    ///
    /// # Errors
    /// When the metadata store fails. A stream whose owner does not answer is in the list without numbers.
    async fn status(&self) -> Result<Vec<StreamStatus>, Error>;

    /// The stream with this identity as it is now.
    ///
    /// # Errors
    /// When its owner cannot be reached: rows are never left out instead.
    async fn view(&self, id: &str) -> Result<StreamView, Error>;

    /// Opens a stream that is in the catalog.
    async fn made(&self, schema: &str, name: &str) -> Result<(), Error>;

    /// Ends a stream that is no longer in the catalog, and removes its rows.
    async fn dropped(&self, id: &str) -> Result<(), Error>;

    /// Puts rows into a stream.
    async fn put(&self, options: PutOptions, frames: PutFrames) -> Result<PutAnswers, Error>;
}
