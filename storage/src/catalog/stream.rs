//! What the metadata store holds of one stream.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use polarway_common::{ByteSize, Error, ErrorKind, HumanDuration, nearest};
use serde::{Deserialize, Serialize};

use super::definition::{decode_schema, encode_schema};
use super::feed::{self, FeedSpec};

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
    /// For a table of gaps: the name of the stream, in the same schema, whose feed has them.
    #[serde(default)]
    pub gaps_of: Option<String>,
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
    /// Columns whose values are directories of sealed rows, below those of the days.
    pub partition_by: Vec<String>,
    /// Columns whose values together name a row: one that comes again is dropped.
    pub dedup: Vec<String>,
    /// How many of the latest rows are remembered for it.
    pub dedup_rows: u64,
    /// How long sealed rows are kept; without it for ever.
    pub retention: Option<HumanDuration>,
    /// Where the rows are fetched; without it clients send them.
    pub feed: Option<Box<FeedSpec>>,
}

/// Each takes about 60 bytes of memory.
const MAX_DEDUP_ROWS: u64 = 100_000_000;

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
            partition_by: vec![],
            dedup: vec![],
            dedup_rows: 1_000_000,
            retention: None,
            feed: None,
        }
    }
}

const NAMES: [&str; 10] = [
    "event_time",
    "seal_rows",
    "seal_bytes",
    "seal_age",
    "ack",
    "unknown_fields",
    "partition_by",
    "dedup",
    "dedup_rows",
    "retention",
];

impl StreamOptions {
    /// # Errors
    /// `InvalidSetting` that names the option and what it may be; `ColumnNotFound`, `TypeMismatch` for the event time.
    pub fn parse(options: &BTreeMap<String, String>, schema: &Schema) -> Result<Self, Error> {
        let (of_feed, options) = FeedSpec::split(options.clone());
        let mut parsed = Self::default();
        if !of_feed.is_empty() {
            parsed.feed = Some(Box::new(FeedSpec::parse(&of_feed, schema)?));
        }
        for (name, value) in &options {
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
                "partition_by" => parsed.partition_by = partition_by(value, schema)?,
                "dedup" => parsed.dedup = columns("dedup", value, schema)?,
                "dedup_rows" => {
                    parsed.dedup_rows = value
                        .parse()
                        .ok()
                        .filter(|rows| (1..=MAX_DEDUP_ROWS).contains(rows))
                        .ok_or_else(|| fault("write a number of rows up to 100000000"))?;
                }
                "retention" => {
                    parsed.retention = Some(
                        value
                            .parse()
                            .ok()
                            .filter(|keep: &HumanDuration| !keep.is_zero())
                            .ok_or_else(|| fault("write a duration such as '720h'"))?,
                    );
                }
                other => return Err(unknown(other)),
            }
        }
        Ok(parsed)
    }
}

fn unknown(name: &str) -> Error {
    let error = Error::new(ErrorKind::InvalidSetting, format!("a stream has no option `{name}`"));
    match nearest(name, NAMES.into_iter().chain(feed::NAMES)) {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => error.with_hint(format!("options are {}", NAMES.join(", "))),
    }
}

/// The column that an option names.
fn field<'a>(option: &str, column: &str, schema: &'a Schema) -> Result<&'a Field, Error> {
    schema.field_with_name(column).map_err(|_| {
        let error =
            Error::new(ErrorKind::ColumnNotFound, format!("{option} names `{column}`, which is no column"));
        match nearest(column, schema.fields().iter().map(|field| field.name().as_str())) {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error.with_hint("declare the column"),
        }
    })
}

/// Names of columns, separated by commas.
fn columns(option: &str, text: &str, schema: &Schema) -> Result<Vec<String>, Error> {
    let mut columns: Vec<String> = vec![];
    for column in text.split(',').map(str::trim) {
        field(option, column, schema)?;
        if columns.iter().any(|known| known == column) {
            return Err(Error::new(ErrorKind::InvalidSetting, format!("{option} names `{column}` twice")));
        }
        columns.push(column.to_owned());
    }
    Ok(columns)
}

fn partition_by(text: &str, schema: &Schema) -> Result<Vec<String>, Error> {
    let columns = columns("partition_by", text, schema)?;
    for column in &columns {
        let kind = field("partition_by", column, schema)?.data_type();
        let fits = kind.is_integer()
            || matches!(kind, DataType::Boolean | DataType::Utf8 | DataType::Utf8View | DataType::Date32);
        if !fits {
            return Err(Error::new(
                ErrorKind::TypeMismatch,
                format!("partition_by names `{column}`, which is {kind}"),
            )
            .with_hint("use columns of text, integers, booleans or dates with few different values"));
        }
    }
    Ok(columns)
}

fn event_time(column: &str, schema: &Schema) -> Result<String, Error> {
    let field = field("event_time", column, schema)?;
    if !matches!(field.data_type(), DataType::Timestamp(..)) {
        return Err(Error::new(
            ErrorKind::TypeMismatch,
            format!("event_time names `{column}`, which is {} and not TIMESTAMP", field.data_type()),
        ));
    }
    Ok(column.to_owned())
}

impl StreamDefinition {
    /// The stream, in the same schema, that this one belongs to and goes with.
    pub fn companion_of(&self) -> Option<&str> {
        self.dead_letters_of.as_deref().or(self.gaps_of.as_deref())
    }

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
    use arrow::datatypes::TimeUnit;

    use super::*;

    fn parse(options: &[(&str, &str)]) -> Result<StreamOptions, Error> {
        let schema = Schema::new(vec![
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), false),
            Field::new("price", DataType::Float64, true),
            Field::new("venue", DataType::Utf8, true),
            Field::new("side", DataType::Int8, true),
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
            ("partition_by", "venue, side"),
            ("dedup", "price,at"),
            ("dedup_rows", "5000"),
            ("retention", "720h"),
        ];
        let parsed = parse(&all).unwrap();
        assert_eq!((parsed.seal_rows, parsed.seal_bytes), (10, ByteSize::mib(1)));
        assert_eq!((parsed.ack, parsed.unknown_fields), (Ack::ObjectStore, UnknownFields::Ignore));
        assert_eq!(parsed.partition_by, ["venue", "side"]);
        assert_eq!((parsed.dedup.join("+").as_str(), parsed.dedup_rows), ("price+at", 5000));
        assert_eq!(parsed.retention, Some(HumanDuration::from_secs(720 * 3600)));
        let feed = parse(&[("url", "wss://feed.example/ws"), ("seal_rows", "10")]).unwrap();
        assert_eq!((feed.feed.unwrap().url.as_str(), feed.seal_rows), ("wss://feed.example/ws", 10));
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
        assert_eq!(error(&[("subscribe", "{}")]).0, ErrorKind::InvalidSetting, "without a url");
        assert_eq!(error(&[("event_time", "price")]).0, ErrorKind::TypeMismatch);
        assert_eq!(error(&[("partition_by", "price")]).0, ErrorKind::TypeMismatch);
        assert_eq!(error(&[("partition_by", "venue,venue")]).0, ErrorKind::InvalidSetting);
        assert_eq!(
            error(&[("partition_by", "vanue")]).1,
            "partition_by names `vanue`, which is no column / did you mean `venue`?"
        );
        assert_eq!(error(&[("retention", "0s")]).0, ErrorKind::InvalidSetting);
    }
}
