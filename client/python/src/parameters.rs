//! Values for a statement's placeholders, from what Python tells of them.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::FormatOptions;
use polarway_common::{Error, ErrorKind};

/// Name, type as Arrow writes it, and the value; none for null.
pub type Parameter = (String, String, Option<Value>);

#[derive(Debug, Clone, pyo3::FromPyObject)]
pub enum Value {
    Text(String),
    /// As they are.
    Bytes(Vec<u8>),
}

fn column(name: &str, kind: &str, text: Option<&str>) -> Result<ArrayRef, Error> {
    let wrong = |error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::TypeMismatch, format!("the parameter `{name}`: {error}"))
    };
    let kind: DataType = kind.parse().map_err(|error| wrong(&error))?;
    let Some(text) = text else { return Ok(new_null_array(&kind, 1)) };
    let options = CastOptions { safe: false, format_options: FormatOptions::default() };
    // The only way to a duration is by its number.
    let text: ArrayRef = match kind {
        DataType::Duration(_) => Arc::new(arrow::array::Int64Array::from(vec![
            text.parse::<i64>().map_err(|error| wrong(&error))?,
        ])),
        _ => Arc::new(StringArray::from(vec![text])),
    };
    cast_with_options(&text, &kind, &options).map_err(|error| wrong(&error))
}

/// One row of them.
///
/// # Errors
/// `TypeMismatch` with the parameter's name for a value that is none of its type.
pub fn row(parameters: &[Parameter]) -> Result<RecordBatch, Error> {
    let (mut fields, mut columns) = (vec![], vec![]);
    for (name, kind, value) in parameters {
        let column = match value {
            None => column(name, kind, None)?,
            Some(Value::Text(text)) => column(name, kind, Some(text))?,
            Some(Value::Bytes(bytes)) => Arc::new(BinaryArray::from_vec(vec![bytes])) as ArrayRef,
        };
        fields.push(Field::new(name, column.data_type().clone(), true));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|error| Error::internal(error.to_string()))
}
