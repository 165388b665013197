//! Which schemas can be decoded.

use arrow::datatypes::{DataType, Schema};
use thiserror::Error;

use super::columns::Column;

/// A schema that no decoder can be made for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnsupportedType {
    /// The type has no declared coercion, or is a decimal with impossible precision or scale.
    #[error("column \"{column}\": a feed cannot fill the type {data_type}")]
    Type {
        /// The column.
        column: String,
        /// Its type.
        data_type: DataType,
    },
    /// Two columns have one name, so that a key would not tell which is meant.
    #[error("column \"{column}\": declared twice")]
    DuplicateColumn {
        /// The column.
        column: String,
    },
}

/// An empty column for each field.
pub(crate) fn columns(schema: &Schema) -> Result<Vec<Column>, UnsupportedType> {
    let mut columns: Vec<Column> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let column = field.name().clone();
        if columns.iter().any(|other| other.name() == column) {
            return Err(UnsupportedType::DuplicateColumn { column });
        }
        let data_type = field.data_type();
        columns.push(
            Column::new(field)
                .ok_or_else(|| UnsupportedType::Type { column, data_type: data_type.clone() })?,
        );
    }
    Ok(columns)
}
