//! Results as objects of the Arrow PyCapsule interface, without a copy.

use std::ffi::CStr;

use arrow::array::{Array, RecordBatch, RecordBatchIterator, StructArray};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ffi::{FFI_ArrowSchema, to_ffi};
use arrow::ffi_stream::FFI_ArrowArrayStream;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

const SCHEMA: &CStr = c"arrow_schema";
const ARRAY: &CStr = c"arrow_array";
const STREAM: &CStr = c"arrow_array_stream";

fn fault(error: &ArrowError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

pub fn schema_capsule<'py>(py: Python<'py>, schema: &Schema) -> PyResult<Bound<'py, PyCapsule>> {
    let schema = FFI_ArrowSchema::try_from(schema).map_err(|error| fault(&error))?;
    PyCapsule::new_with_value(py, schema, SCHEMA)
}

fn text(batches: &[RecordBatch]) -> PyResult<String> {
    pretty_format_batches(batches).map(|table| table.to_string()).map_err(|error| fault(&error))
}

/// Some rows of a result.
#[pyclass(frozen, module = "polarway._polarway")]
pub struct NativeBatch(pub RecordBatch);

#[pymethods]
impl NativeBatch {
    #[getter]
    fn num_rows(&self) -> usize {
        self.0.num_rows()
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        schema_capsule(py, &self.0.schema())
    }

    /// The requested schema is a wish that may be left unheard.
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Py<PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        let _ = requested_schema;
        let rows = StructArray::from(self.0.clone());
        let (array, _) = to_ffi(&rows.to_data()).map_err(|error| fault(&error))?;
        Ok((schema_capsule(py, &self.0.schema())?, PyCapsule::new_with_value(py, array, ARRAY)?))
    }

    fn text(&self) -> PyResult<String> {
        text(std::slice::from_ref(&self.0))
    }
}

/// A whole result.
#[pyclass(frozen, module = "polarway._polarway")]
pub struct NativeTable {
    pub query_id: String,
    pub route: String,
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
}

impl NativeTable {
    pub fn new(query_id: String, route: String, announced: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        // That of the rows tells more than the one that was announced.
        let schema = batches.first().map_or(announced, RecordBatch::schema);
        Self { query_id, route, schema, batches }
    }
}

#[pymethods]
impl NativeTable {
    #[getter]
    fn query_id(&self) -> &str {
        &self.query_id
    }

    #[getter]
    fn route(&self) -> &str {
        &self.route
    }

    #[getter]
    fn num_rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Bytes that the columns hold in memory.
    #[getter]
    fn nbytes(&self) -> usize {
        self.batches.iter().map(RecordBatch::get_array_memory_size).sum()
    }

    /// Name and type of each column, types as Arrow names them.
    #[getter]
    fn columns(&self) -> Vec<(String, String)> {
        let fields = self.schema.fields().iter();
        fields.map(|field| (field.name().clone(), field.data_type().to_string())).collect()
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        schema_capsule(py, &self.schema)
    }

    /// The requested schema is a wish that may be left unheard.
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _ = requested_schema;
        let batches = self.batches.clone().into_iter().map(Ok);
        let reader = RecordBatchIterator::new(batches, self.schema.clone());
        PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(Box::new(reader)), STREAM)
    }

    /// The values of the first `limit` rows as texts, row by row.
    fn cells(&self, limit: usize) -> PyResult<Vec<Vec<String>>> {
        let options = FormatOptions::default().with_null("NULL");
        let mut cells = vec![];
        for batch in &self.batches {
            let formatters = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
            let formatters =
                formatters.collect::<Result<Vec<_>, ArrowError>>().map_err(|error| fault(&error))?;
            let rows = 0..batch.num_rows().min(limit - cells.len());
            cells.extend(rows.map(|row| {
                formatters.iter().map(|formatter| formatter.value(row).to_string()).collect::<Vec<_>>()
            }));
        }
        Ok(cells)
    }

    /// The first `limit` rows as a table of text.
    fn text(&self, limit: usize) -> PyResult<String> {
        let mut left = limit;
        let mut shown = vec![RecordBatch::new_empty(self.schema.clone())];
        for batch in &self.batches {
            let rows = batch.num_rows().min(left);
            shown.push(batch.slice(0, rows));
            left -= rows;
        }
        text(&shown)
    }
}
