//! What is written where, as it travels with a plan.

use std::collections::{BTreeMap, HashMap};

use arrow::datatypes::SchemaRef;
use datafusion::common::config::{ConfigFileType, ConfigOptions, TableOptions};
use polarway_common::{Error, ErrorKind};
use polarway_storage::catalog::{decode_schema, encode_schema};
use polarway_storage::writes::Place;
use serde::{Deserialize, Serialize};

use crate::errors::classify;

/// Formats that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    Parquet,
    Csv,
    Json,
}

impl FileFormat {
    /// By DataFusion's name of it.
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "parquet" => Some(Self::Parquet),
            "csv" => Some(Self::Csv),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }

    pub(super) fn config(self) -> ConfigFileType {
        match self {
            Self::Parquet => ConfigFileType::PARQUET,
            Self::Csv => ConfigFileType::CSV,
            Self::Json => ConfigFileType::JSON,
        }
    }
}

/// When a file that was written is seen by those who list its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// At once; its readers go by a manifest.
    Written,
    /// When it is published.
    Published,
}

/// One write, the same for all its tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteSpec {
    /// The name of the write.
    pub id: String,
    /// The directory of the files, or the one file.
    pub place: Place,
    pub single_file: bool,
    pub visibility: Visibility,
    pub format: FileFormat,
    /// Options of the format, `format.name` and their values.
    pub options: BTreeMap<String, String>,
    /// Extension of the files.
    pub extension: String,
    /// Columns by which rows are put into directories, outermost first.
    pub partition_by: Vec<String>,
    /// All columns, as an Arrow IPC schema message in Base64.
    schema: String,
}

impl WriteSpec {
    /// A write of Parquet files with all columns, without options.
    pub fn parquet(id: &str, place: Place, visibility: Visibility, schema: &SchemaRef) -> Self {
        Self {
            id: id.to_owned(),
            place,
            single_file: false,
            visibility,
            format: FileFormat::Parquet,
            options: BTreeMap::new(),
            extension: "parquet".to_owned(),
            partition_by: vec![],
            schema: encode_schema(schema),
        }
    }

    /// The directory of its files.
    pub fn directory(&self) -> Place {
        if self.single_file { self.place.parent() } else { self.place.clone() }
    }

    /// # Errors
    /// `Internal` for a text that is no schema.
    pub fn schema(&self) -> Result<SchemaRef, Error> {
        decode_schema(&self.schema)
    }

    /// The options of the format, above those of the session.
    ///
    /// # Errors
    /// `InvalidSetting` for options that the format does not have, or values that do not fit.
    pub fn table_options(&self, session: &ConfigOptions) -> Result<TableOptions, Error> {
        let mut options = TableOptions::default_from_session_config(session);
        options.set_config_format(self.format.config());
        let own: HashMap<String, String> = self.options.clone().into_iter().collect();
        options
            .alter_with_string_hash_map(&own)
            .map_err(|error| Error { kind: ErrorKind::InvalidSetting, ..classify(&error) })?;
        Ok(options)
    }
}
