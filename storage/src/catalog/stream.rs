//! What the metadata store holds of one stream.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use polarway_common::{ByteSize, Error, ErrorKind, HumanDuration, nearest};
use serde::{Deserialize, Serialize};

use super::definition::{decode_schema, encode_schema};

/// A table whose rows arrive over WebSocket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamDefinition {
    /// The statement that made it.
    pub ddl: String,
    /// Identity: a stream that is dropped and made again is another.
    pub id: String,
    /// Columns, as an Arrow IPC schema message in Base64.
    pub schema: String,
    pub options: StreamOptions,
    /// For a table of dead letters: the name of the stream, in the same schema, that refused the rows.
    pub dead_letters_of: Option<String>,
}

/// What `WITH (…)` may say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamOptions {
    /// Column with the time at which a row's event took place; sealed rows are sorted by it, in a directory a day.
    pub event_time: Option<String>,
    /// Rows are sealed when there are so many, when they take so many bytes in memory, or when the first is so old.
    pub seal_rows: u64,
    pub seal_bytes: ByteSize,
    pub seal_age: HumanDuration,
    /// What acknowledgements promise where a client does not say.
    pub ack: Ack,
    /// What becomes of fields that no column declares.
    pub unknown_fields: UnknownFields,
}

/// What an acknowledgement promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ack {
    Received,
    Wal,
    ObjectStore,
}

/// What becomes of fields that no column declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownFields {
    /// The row becomes a dead letter.
    Reject,
    Ignore,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            event_time: None,
            seal_rows: 1_000_000,
            seal_bytes: ByteSize::mib(64),
            seal_age: HumanDuration::from_secs(60),
            ack: Ack::Wal,
            unknown_fields: UnknownFields::Reject,
        }
    }
}

const NAMES: [&str; 6] = ["event_time", "seal_rows", "seal_bytes", "seal_age", "ack", "unknown_fields"];

impl StreamOptions {
    /// # Errors
    /// `InvalidSetting` that names the option and what it may be; `ColumnNotFound`, `TypeMismatch` for the event time.
    pub fn parse(options: &BTreeMap<String, String>, schema: &Schema) -> Result<Self, Error> {
        let mut parsed = Self::default();
        for (name, value) in options {
            let fault = |expected: &str| {
                Error::new(ErrorKind::InvalidSetting, format!("`{name}` cannot be '{value}'"))
                    .with_hint(expected)
            };
            match name.as_str() {
                "event_time" => parsed.event_time = Some(event_time(value, schema)?),
                "seal_rows" => {
                    parsed.seal_rows = value
                        .parse()
                        .ok()
                        .filter(|rows| *rows > 0)
                        .ok_or_else(|| fault("write a number of rows"))?;
                }
                "seal_bytes" => {
                    parsed.seal_bytes = value
                        .parse()
                        .ok()
                        .filter(|size: &ByteSize| size.0 > 0)
                        .ok_or_else(|| fault("write a size such as '64MiB'"))?;
                }
                "seal_age" => {
                    parsed.seal_age = value
                        .parse()
                        .ok()
                        .filter(|age: &HumanDuration| !age.is_zero())
                        .ok_or_else(|| fault("write a duration such as '30s'"))?;
                }
                "ack" => {
                    parsed.ack = match value.as_str() {
                        "received" => Ack::Received,
                        "wal" => Ack::Wal,
                        "object_store" => Ack::ObjectStore,
                        _ => return Err(fault("use 'received', 'wal' or 'object_store'")),
                    };
                }
                "unknown_fields" => {
                    parsed.unknown_fields = match value.as_str() {
                        "reject" => UnknownFields::Reject,
                        "ignore" => UnknownFields::Ignore,
                        _ => return Err(fault("use 'reject' or 'ignore'")),
                    };
                }
                other => return Err(unknown(other)),
            }
        }
        Ok(parsed)
    }
}

fn unknown(name: &str) -> Error {
    let error = Error::new(ErrorKind::InvalidSetting, format!("a stream has no option `{name}`"));
    match nearest(name, NAMES) {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => error.with_hint(format!("options are {}", NAMES.join(", "))),
    }
}

fn event_time(column: &str, schema: &Schema) -> Result<String, Error> {
    let names = || schema.fields().iter().map(|field| field.name().as_str());
    let Ok(field) = schema.field_with_name(column) else {
        let error =
            Error::new(ErrorKind::ColumnNotFound, format!("event_time names `{column}`, which is no column"));
        return Err(match nearest(column, names()) {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error.with_hint("declare it with type TIMESTAMP"),
        });
    };
    if !matches!(field.data_type(), DataType::Timestamp(..)) {
        return Err(Error::new(
            ErrorKind::TypeMismatch,
            format!("event_time names `{column}`, which is {} and not TIMESTAMP", field.data_type()),
        ));
    }
    Ok(column.to_owned())
}

impl StreamDefinition {
    pub fn schema(&self) -> Result<SchemaRef, Error> {
        decode_schema(&self.schema)
    }

    #[must_use]
    pub fn with_schema(mut self, schema: &Schema) -> Self {
        self.schema = encode_schema(schema);
        self
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, TimeUnit};

    use super::*;

    fn parse(options: &[(&str, &str)]) -> Result<StreamOptions, Error> {
        let schema = Schema::new(vec![
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), false),
            Field::new("price", DataType::Float64, true),
        ]);
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        StreamOptions::parse(&options, &schema)
    }

    #[test]
    fn options_are_typed() {
        assert_eq!(parse(&[]).unwrap(), StreamOptions::default());
        let all = [
            ("event_time", "at"),
            ("seal_rows", "10"),
            ("seal_bytes", "1MiB"),
            ("seal_age", "5s"),
            ("ack", "object_store"),
            ("unknown_fields", "ignore"),
        ];
        let parsed = parse(&all).unwrap();
        assert_eq!((parsed.seal_rows, parsed.seal_bytes), (10, ByteSize::mib(1)));
        assert_eq!((parsed.ack, parsed.unknown_fields), (Ack::ObjectStore, UnknownFields::Ignore));
        let json = serde_json::to_string(&parsed).unwrap();
        assert_eq!(serde_json::from_str::<StreamOptions>(&json).unwrap(), parsed);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |options: &[(&str, &str)]| {
            let error = parse(options).unwrap_err();
            (error.kind, format!("{} / {}", error.message, error.hint.unwrap_or_default()))
        };
        assert_eq!(
            error(&[("seal_row", "1")]),
            (
                ErrorKind::InvalidSetting,
                "a stream has no option `seal_row` / did you mean `seal_rows`?".into()
            )
        );
        assert_eq!(error(&[("seal_rows", "0")]).1, "`seal_rows` cannot be '0' / write a number of rows");
        assert_eq!(
            error(&[("seal_age", "soon")]).1,
            "`seal_age` cannot be 'soon' / write a duration such as '30s'"
        );
        assert_eq!(
            error(&[("ack", "disk")]).1,
            "`ack` cannot be 'disk' / use 'received', 'wal' or 'object_store'"
        );
        assert_eq!(error(&[("event_time", "att")]).0, ErrorKind::ColumnNotFound);
        assert_eq!(error(&[("event_time", "price")]).0, ErrorKind::TypeMismatch);
    }
}
