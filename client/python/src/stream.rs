//! A result that is read while it is made.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use polarway_client::{Client, QueryHandle, QueryStream};
use polarway_common::Error;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use tokio::sync::Mutex;

use crate::call::{Call, start};
use crate::columns::{NativeBatch, NativeTable, schema_capsule};

/// Ends its query when nothing holds it any more.
#[pyclass(frozen, module = "polarway._polarway")]
pub struct NativeStream {
    client: Client,
    handle: QueryHandle,
    schema: SchemaRef,
    /// `None` once it was closed. Locked by one reader at a time, the others wait for their turn.
    rows: Arc<Mutex<Option<QueryStream>>>,
}

impl NativeStream {
    pub fn new(client: Client, rows: QueryStream) -> Self {
        let (handle, schema) = (rows.handle().clone(), rows.schema().clone());
        Self { client, handle, schema, rows: Arc::new(Mutex::new(Some(rows))) }
    }
}

#[pymethods]
impl NativeStream {
    #[getter]
    fn query_id(&self) -> &str {
        self.handle.query_id()
    }

    #[getter]
    fn route(&self) -> &str {
        self.handle.route()
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        schema_capsule(py, &self.schema)
    }

    /// All further rows.
    fn collect(&self, done: Py<PyAny>) -> PyResult<Call> {
        let rows = Arc::clone(&self.rows);
        let (query_id, route) = (self.handle.query_id().to_owned(), self.handle.route().to_owned());
        let announced = self.schema.clone();
        start(
            async move {
                let mut rows = rows.lock().await;
                let mut batches = vec![];
                if let Some(open) = rows.as_mut() {
                    while let Some(batch) = open.next_batch().await? {
                        batches.push(batch);
                    }
                }
                Ok::<_, Error>(NativeTable::new(query_id, route, announced, batches))
            },
            done,
        )
    }

    /// The next rows, or `None` at the end.
    fn next(&self, done: Py<PyAny>) -> PyResult<Call> {
        let rows = Arc::clone(&self.rows);
        start(
            async move {
                let mut rows = rows.lock().await;
                let Some(open) = rows.as_mut() else { return Ok::<_, Error>(None) };
                Ok(open.next_batch().await?.map(NativeBatch))
            },
            done,
        )
    }

    /// Reads no further; a query that has not ended is cancelled.
    fn close(&self, done: Py<PyAny>) -> PyResult<Call> {
        let rows = Arc::clone(&self.rows);
        start(
            async move {
                *rows.lock().await = None;
                Ok::<_, Error>(())
            },
            done,
        )
    }

    /// How far the query is, as JSON; `None` when its server knows it no more.
    fn progress(&self, done: Py<PyAny>) -> PyResult<Call> {
        let (client, id) = (self.client.clone(), self.handle.query_id().to_owned());
        start(
            async move {
                let progress = client.progress(&id).await?;
                progress
                    .map(|progress| serde_json::to_string(&progress))
                    .transpose()
                    .map_err(|error| Error::internal(error.to_string()))
            },
            done,
        )
    }
}
