//! Values that a statement is submitted with.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::ipc::reader::StreamReader;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use polarway_common::{Error, ErrorKind};
use polarway_engine::settings::Settings;

use crate::plan::dialect_of;
use crate::plan::parameters::bind;

/// The statement with its values in their places, if it has some, so that a job is a plain statement.
///
/// # Errors
/// `Plan` where a value is missing or one too many; `TypeMismatch` for what is no row of values; `Unsupported` for other than
/// one row, and for types that have no literal.
pub fn bound(sql: String, parameters: Option<&str>, settings: &Settings) -> Result<String, Error> {
    match parameters {
        Some(parameters) => bind(&sql, dialect_of(settings)?.as_ref(), &row(parameters)?),
        None => Ok(sql),
    }
}

fn row(parameters: &str) -> Result<RecordBatch, Error> {
    let wrong = |error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::TypeMismatch, format!("the parameters of a job cannot be read: {error}"))
    };
    let bytes = STANDARD.decode(parameters).map_err(|error| wrong(&error))?;
    let reader = StreamReader::try_new(bytes.as_slice(), None).map_err(|error| wrong(&error))?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(|error| wrong(&error))?;
    concat_batches(&schema, &batches).map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::ipc::writer::StreamWriter;

    use super::*;

    fn sent(batch: &RecordBatch) -> String {
        let mut writer = StreamWriter::try_new(vec![], &batch.schema()).unwrap();
        writer.write(batch).unwrap();
        STANDARD.encode(writer.into_inner().unwrap())
    }

    #[test]
    fn values_take_the_places_of_placeholders() {
        let least: ArrayRef = Arc::new(Int64Array::from(vec![3]));
        let name: ArrayRef = Arc::new(StringArray::from(vec!["a' OR 1 = 1"]));
        let values = sent(&RecordBatch::try_from_iter([("1", least), ("2", name)]).unwrap());
        let sql = "SELECT * FROM t WHERE a > $1 AND b = $2".to_owned();
        let text = bound(sql.clone(), Some(&values), &Settings::default()).unwrap();
        assert!(text.contains("'a'' OR 1 = 1'") && !text.contains('$'), "{text}");

        let kind = |sql: &str, values: &str| {
            bound(sql.to_owned(), Some(values), &Settings::default()).unwrap_err().kind
        };
        assert_eq!(kind("SELECT $1", &values), ErrorKind::Plan);
        assert_eq!(kind(&sql, "no base64!"), ErrorKind::TypeMismatch);
        assert_eq!(kind(&sql, &STANDARD.encode("no stream")), ErrorKind::TypeMismatch);
        assert_eq!(bound("SELECT 1".to_owned(), None, &Settings::default()).unwrap(), "SELECT 1");
    }
}
