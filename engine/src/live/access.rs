//! How a scan reaches the rows.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::common::{DataFusionError, Result};
use datafusion::physical_plan::PhysicalExpr;
use futures::stream::BoxStream;

use super::slice::HotSlice;

/// What a scan wants of a slice.
#[derive(Debug, Clone)]
pub struct HotQuery {
    /// Schema of the stream's table.
    pub schema: SchemaRef,
    /// Columns to give, as places in `schema`.
    pub columns: Vec<usize>,
    /// Rows to give: those for which this is true; its columns are places in `schema`.
    pub predicate: Option<Arc<dyn PhysicalExpr>>,
}

/// Reads slices, from this process's memory or from their owners.
#[async_trait]
pub trait HotRows: fmt::Debug + Send + Sync {
    /// Batches with the wanted columns in the wanted order; rows in the order of the stream.
    ///
    /// # Errors
    /// When the owner cannot be reached, or no longer has the slice. Rows are never left out instead.
    async fn read(
        &self,
        slice: &HotSlice,
        query: &HotQuery,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>>;
}

/// A process's way to hot rows, an extension of its session configuration, so that plans that come from elsewhere find
/// it.
#[derive(Debug, Clone)]
pub struct LiveAccess(pub Arc<dyn HotRows>);

impl LiveAccess {
    pub(crate) fn missing() -> DataFusionError {
        DataFusionError::Internal("this process cannot reach streams".to_owned())
    }
}
