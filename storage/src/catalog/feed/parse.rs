//! From the options of a statement to a [`FeedSpec`].

use std::collections::BTreeMap;

use arrow::datatypes::Schema;
use polarway_common::{Error, ErrorKind, HumanDuration, nearest};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Conditions, FeedSpec, check};

/// All options of a feed.
pub const NAMES: [&str; 20] = [
    "url",
    "headers",
    "subscribe",
    "subscribe_ack",
    "subscribe_error",
    "subscribe_timeout",
    "filter",
    "rows",
    "mapping",
    "ping_interval",
    "heartbeat",
    "heartbeat_interval",
    "dead_after",
    "silent_after",
    "backoff_min",
    "backoff_max",
    "healthy_after",
    "sequence",
    "sequence_by",
    "ca",
];

impl FeedSpec {
    /// The options that are a feed's, and the others.
    pub fn split(options: BTreeMap<String, String>) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
        options.into_iter().partition(|(name, _)| NAMES.contains(&name.as_str()))
    }

    /// # Errors
    /// `InvalidSetting` that names the option, what is wrong and what it may be; `ColumnNotFound` and `TypeMismatch`
    /// for columns of the mapping.
    pub fn parse(options: &BTreeMap<String, String>, schema: &Schema) -> Result<Self, Error> {
        let url = options.get("url").ok_or_else(|| {
            Error::new(ErrorKind::InvalidSetting, "options of a feed need a `url`")
                .with_hint("url = 'wss://host/path' makes the server dial; without it clients push rows")
        })?;
        let mut spec = Self::new(url.trim());
        for (name, text) in options {
            spec.set(name, text)?;
        }
        check::options(&spec, options)?;
        check::columns(&spec, schema)?;
        Ok(spec)
    }

    fn set(&mut self, name: &str, text: &str) -> Result<(), Error> {
        match name {
            "url" => {}
            "headers" => {
                self.headers = json(name, text, "headers = '{\"Authorization\": {\"secret\": \"NAME\"}}'")?;
            }
            "subscribe" => {
                let hint = "subscribe = '{\"method\": \"subscribe\"}', or a JSON array of messages";
                self.subscribe = match json(name, text, hint)? {
                    Value::Array(messages) => messages,
                    message => vec![message],
                };
            }
            "subscribe_ack" => {
                self.subscribe_ack =
                    conditions(name, text, "subscribe_ack = '{\"/result\": null, \"/id\": 1}'")?;
            }
            "subscribe_error" => {
                self.subscribe_error = conditions(name, text, "subscribe_error = '{\"/type\": \"error\"}'")?;
            }
            "filter" => self.filter = json(name, text, "filter = '{\"/channel\": [\"trade\", \"ticker\"]}'")?,
            "rows" => self.rows = text.parse().map_err(|error| fault(name, &error, "rows = '/data'"))?,
            "mapping" => {
                let hint = "mapping = '{\"price\": \"/p\", \"at\": {\"pointer\": \"/T\", \"unit\": \"ms\"}}'";
                self.mapping = json(name, text, hint)?;
            }
            "heartbeat" => self.heartbeat = Some(text.to_owned()),
            "sequence" => self.sequence = Some(place(name, text)?),
            "sequence_by" => self.sequence_by = Some(place(name, text)?),
            "ca" => self.ca = Some(text.to_owned()),
            "subscribe_timeout" => self.subscribe_timeout = duration(name, text)?,
            "ping_interval" => self.ping_interval = duration(name, text)?,
            "heartbeat_interval" => self.heartbeat_interval = duration(name, text)?,
            "dead_after" => self.dead_after = duration(name, text)?,
            "silent_after" => self.silent_after = duration(name, text)?,
            "backoff_min" => self.backoff_min = duration(name, text)?,
            "backoff_max" => self.backoff_max = duration(name, text)?,
            "healthy_after" => self.healthy_after = duration(name, text)?,
            other => return Err(unknown(other)),
        }
        Ok(())
    }
}

/// The text itself is not repeated: it may hold what should have been a secret.
pub(super) fn fault(name: &str, why: &impl ToString, hint: &str) -> Error {
    Error::new(ErrorKind::InvalidSetting, format!("`{name}` is not valid: {}", why.to_string()))
        .with_hint(hint)
}

fn unknown(name: &str) -> Error {
    let error = Error::new(ErrorKind::InvalidSetting, format!("a feed has no option `{name}`"));
    match nearest(name, NAMES) {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => error.with_hint(format!("options are {}", NAMES.join(", "))),
    }
}

fn json<T: DeserializeOwned>(name: &str, text: &str, hint: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| fault(name, &error, hint))
}

fn conditions(name: &str, text: &str, hint: &str) -> Result<Vec<Conditions>, Error> {
    match json(name, text, hint)? {
        Value::Array(values) => values
            .into_iter()
            .map(|value| serde_json::from_value(value).map_err(|error| fault(name, &error, hint)))
            .collect(),
        value => Ok(vec![serde_json::from_value(value).map_err(|error| fault(name, &error, hint))?]),
    }
}

/// A pointer as it is, or an object.
fn place<T: TryFrom<Value, Error = String>>(name: &str, text: &str) -> Result<T, Error> {
    let hint = format!("{name} = '/field', or '{{\"pointer\": \"/field\", \"of\": \"message\"}}'");
    let value = match text.trim_start().starts_with('{') {
        true => json(name, text, &hint)?,
        false => Value::String(text.to_owned()),
    };
    T::try_from(value).map_err(|error| fault(name, &error, &hint))
}

fn duration(name: &str, text: &str) -> Result<HumanDuration, Error> {
    text.parse().map_err(|_| {
        Error::new(ErrorKind::InvalidSetting, format!("`{name}` cannot be '{text}'"))
            .with_hint("write a duration such as '5s' or '250ms'")
    })
}
