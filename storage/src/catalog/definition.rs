//! What the metadata store holds of one table or view.

use std::collections::BTreeMap;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::convert::try_schema_from_ipc_buffer;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use polarway_common::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

use super::stream::StreamDefinition;

/// Stored as JSON with a tag, so that kinds can be added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Definition {
    Table(TableDefinition),
    View(ViewDefinition),
    Stream(StreamDefinition),
    Managed(ManagedDefinition),
}

/// An external table over files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDefinition {
    /// The statement that made it, for SHOW CREATE TABLE and for its sort order.
    pub ddl: String,
    /// `PARQUET`, `CSV`, `JSON` or `ARROW`.
    pub format: String,
    /// Checked locations: absolute paths or URLs, with globs where the statement or the format gave one.
    pub locations: Vec<String>,
    /// Extension that files below a directory must have; empty for any.
    pub extension: String,
    /// Columns that stand in the files, as an Arrow IPC schema message in Base64.
    pub file_schema: String,
    /// Hive partition columns and their types, as an Arrow IPC schema message in Base64.
    pub partition_schema: String,
    pub options: BTreeMap<String, String>,
}

/// A table whose files are ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagedDefinition {
    /// The statement that made it.
    pub ddl: String,
    /// Names its directory and its manifest; no other table ever has the same.
    pub id: String,
    /// Its columns, as an Arrow IPC schema message in Base64.
    pub schema: String,
}

impl ManagedDefinition {
    /// A new table.
    pub fn new(ddl: String, schema: &Schema) -> Self {
        Self { ddl, id: format!("t_{}", uuid::Uuid::now_v7().simple()), schema: encode_schema(schema) }
    }

    pub fn schema(&self) -> Result<SchemaRef, Error> {
        decode_schema(&self.schema)
    }
}

/// A view over other tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewDefinition {
    pub ddl: String,
    /// The query alone.
    pub query: String,
}

impl Definition {
    pub fn ddl(&self) -> &str {
        match self {
            Definition::Table(table) => &table.ddl,
            Definition::View(view) => &view.ddl,
            Definition::Stream(stream) => &stream.ddl,
            Definition::Managed(table) => &table.ddl,
        }
    }
}

/// Encodes an Arrow schema for a definition.
pub fn encode_schema(schema: &Schema) -> String {
    let options = IpcWriteOptions::default();
    let mut tracker = DictionaryTracker::new(true);
    let message =
        IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(schema, &mut tracker, &options);
    // `try_schema_from_ipc_buffer` wants the encapsulated form: continuation marker, length, message.
    let mut buffer = Vec::with_capacity(message.ipc_message.len() + 8);
    buffer.extend(u32::MAX.to_le_bytes());
    buffer.extend((message.ipc_message.len() as u32).to_le_bytes());
    buffer.extend(&message.ipc_message);
    STANDARD.encode(buffer)
}

pub fn decode_schema(text: &str) -> Result<SchemaRef, Error> {
    let fault =
        |cause: String| Error::new(ErrorKind::Internal, format!("a stored schema cannot be read: {cause}"));
    let buffer = STANDARD.decode(text).map_err(|error| fault(error.to_string()))?;
    try_schema_from_ipc_buffer(&buffer).map(Into::into).map_err(|error| fault(error.to_string()))
}

impl TableDefinition {
    pub fn file_schema(&self) -> Result<SchemaRef, Error> {
        decode_schema(&self.file_schema)
    }

    pub fn partition_schema(&self) -> Result<SchemaRef, Error> {
        decode_schema(&self.partition_schema)
    }

    pub fn with_schemas(mut self, file: &Schema, partition: &Schema) -> Self {
        self.file_schema = encode_schema(file);
        self.partition_schema = encode_schema(partition);
        self
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, TimeUnit};

    use super::*;

    #[test]
    fn a_schema_survives_its_encoding() {
        let schema = Schema::new(vec![
            Field::new("a", DataType::Decimal128(12, 2), false),
            Field::new("t", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
            Field::new("l", DataType::List(Field::new("item", DataType::Utf8View, true).into()), true),
            Field::new("d", DataType::Dictionary(DataType::UInt16.into(), DataType::Utf8.into()), false),
        ]);
        assert_eq!(decode_schema(&encode_schema(&schema)).unwrap().as_ref(), &schema);
        assert!(decode_schema("not base64!").is_err());
    }
}
