//! Rows of Python's, on their way to a server.

use std::ffi::CStr;
use std::ptr::NonNull;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::Schema;
use arrow::ffi_stream::{ArrowArrayStreamReader, FFI_ArrowArrayStream};
use futures::stream;
use polarway_client::{IngestMode, IngestRows};
use polarway_common::{Error, ErrorKind};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::gate;

const STREAM: &CStr = c"arrow_array_stream";

/// Batches that a Python object gives one by one, by Arrow's PyCapsule interface.
pub struct Source(Reader);

/// A stream whose end asks Python, too.
struct Reader(Option<ArrowArrayStreamReader>);

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(reader) = self.0.take() else { return };
        match gate::enter() {
            Some(_inside) => drop(reader),
            None => std::mem::forget(reader),
        }
    }
}

impl Reader {
    /// The next batch; an error when Python is ending.
    fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        let (Some(reader), Some(_inside)) = (&mut self.0, gate::enter()) else {
            return Err(Error::new(ErrorKind::Cancelled, "Python is ending"));
        };
        reader.next().transpose().map_err(|error| {
            Error::new(ErrorKind::SchemaMismatch, format!("the rows could not be read to their end: {error}"))
        })
    }
}

impl Source {
    /// Takes the stream of an object that has `__arrow_c_stream__`.
    ///
    /// # Errors
    /// `TypeError` for another object, and what it raises itself.
    pub fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let capsule = object.call_method0("__arrow_c_stream__").map_err(|error| {
            let missing = error.is_instance_of::<pyo3::exceptions::PyAttributeError>(object.py());
            if missing { PyTypeError::new_err("the rows have no `__arrow_c_stream__`") } else { error }
        })?;
        let capsule = capsule.cast::<PyCapsule>()?;
        let pointer: NonNull<FFI_ArrowArrayStream> = capsule.pointer_checked(Some(STREAM))?.cast();
        // The capsule is what the interface says by its name; its stream is moved out of it, which the interface asks for,
        // and marked as released.
        #[allow(unsafe_code)]
        let reader = unsafe { ArrowArrayStreamReader::from_raw(pointer.as_ptr()) };
        reader
            .map(|reader| Self(Reader(Some(reader))))
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// The rows, each batch asked for when the server takes one: on threads that may wait, since Python may be asked.
    pub fn rows(self) -> IngestRows {
        let schema =
            self.0.0.as_ref().map_or_else(|| Arc::new(Schema::empty()), ArrowArrayStreamReader::schema);
        let batches = stream::try_unfold(self.0, |mut reader| async move {
            let turn = tokio::task::spawn_blocking(move || (reader.next(), reader)).await;
            let (next, reader) = turn.map_err(|error| Error::internal(error.to_string()))?;
            Ok(next?.map(|batch| (batch, reader)))
        });
        IngestRows::new(schema, batches)
    }
}

/// # Errors
/// `InvalidSetting` for a mode that there is not.
pub fn mode(name: &str) -> Result<IngestMode, Error> {
    match name {
        "create" => Ok(IngestMode::Create),
        "append" => Ok(IngestMode::Append),
        "create_append" => Ok(IngestMode::CreateAppend),
        "replace" => Ok(IngestMode::Replace),
        other => Err(Error::new(ErrorKind::InvalidSetting, format!("there is no mode `{other}`"))
            .with_hint("use create, append, create_append or replace")),
    }
}
