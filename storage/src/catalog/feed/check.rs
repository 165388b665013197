//! Options held against each other and against the columns.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Schema};
use polarway_common::{Error, ErrorKind, nearest};
use serde_json::Value;

use super::mapping::{ColumnRule, Of, Place, Source};
use super::message::{check_secrets, is_plain_name};
use super::parse::fault;
use super::{FeedSpec, HeaderText};

/// So many acknowledgements can be waited for.
pub const MAX_ACKS: usize = 64;

/// Headers that the handshake itself sets.
const RESERVED: [&str; 8] = [
    "host",
    "connection",
    "upgrade",
    "content-length",
    "transfer-encoding",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-extensions",
];

pub(super) fn options(spec: &FeedSpec, given: &BTreeMap<String, String>) -> Result<(), Error> {
    url(&spec.url)?;
    spec.headers.iter().try_for_each(|(name, text)| header(name, text))?;
    spec.subscribe.iter().try_for_each(|message| {
        check_secrets(message)
            .map_err(|error| fault("subscribe", &error, "a secret is referred to as {\"secret\": \"NAME\"}"))
    })?;
    if spec.subscribe_ack.len() > MAX_ACKS {
        return Err(fault("subscribe_ack", &"too many", &format!("at most {MAX_ACKS} are waited for")));
    }
    for (name, conditions) in
        [("subscribe_ack", &spec.subscribe_ack), ("subscribe_error", &spec.subscribe_error)]
    {
        if conditions.iter().any(BTreeMap::is_empty) {
            return Err(fault(
                name,
                &"no condition, which every message fulfils",
                "give a pointer and a value",
            ));
        }
    }
    if spec.sequence_by.is_some() && spec.sequence.is_none() {
        return Err(fault("sequence_by", &"there is no `sequence`", "give the pointer to the number too"));
    }
    if let (Some(Place { of: Of::Message, .. }), Some(Place { of: Of::Row, .. })) =
        (&spec.sequence, &spec.sequence_by)
    {
        let hint = "sequence_by = '{\"pointer\": \"/…\", \"of\": \"message\"}'";
        return Err(fault(
            "sequence_by",
            &"a number of the message cannot be counted by a key of its rows",
            hint,
        ));
    }
    if spec.heartbeat.is_none() && given.contains_key("heartbeat_interval") {
        return Err(fault("heartbeat_interval", &"there is no `heartbeat`", "give the message to send too"));
    }
    if let Some(ca) = &spec.ca {
        if !is_plain_name(ca) {
            return Err(fault("ca", &"it is no plain file name", "ca = 'exchange.pem'"));
        }
        if !spec.url.starts_with("wss://") {
            return Err(fault("ca", &"the connection has no TLS", "use a `url` that begins with wss://"));
        }
    }
    times(spec)
}

fn times(spec: &FeedSpec) -> Result<(), Error> {
    for (name, time) in [
        ("subscribe_timeout", spec.subscribe_timeout),
        ("heartbeat_interval", spec.heartbeat_interval),
        ("backoff_min", spec.backoff_min),
        ("backoff_max", spec.backoff_max),
    ] {
        if time.is_zero() {
            return Err(fault(name, &"it is zero", "write a duration such as '5s'"));
        }
    }
    if spec.backoff_min > spec.backoff_max {
        let why = format!("it is above `backoff_max` ({})", spec.backoff_max);
        return Err(fault("backoff_min", &why, "raise `backoff_max` too"));
    }
    if spec.dead_after.is_zero() {
        return Ok(());
    }
    let ping = Some(spec.ping_interval).filter(|interval| !interval.is_zero());
    let heartbeat = spec.heartbeat.as_ref().map(|_| spec.heartbeat_interval);
    match ping.into_iter().chain(heartbeat).min() {
        Some(asked) if asked < spec.dead_after => Ok(()),
        Some(asked) => {
            let why = format!("a live peer is asked only every {asked}");
            Err(fault("dead_after", &why, "it has to be longer than `ping_interval` or `heartbeat_interval`"))
        }
        None => Err(fault(
            "dead_after",
            &"nothing is sent that a live peer would answer",
            "set `ping_interval` or `heartbeat`, or switch it off with '0s'",
        )),
    }
}

fn url(url: &str) -> Result<(), Error> {
    let hint = "url = 'wss://host:port/path'";
    let Some(rest) = url.strip_prefix("wss://").or_else(|| url.strip_prefix("ws://")) else {
        return Err(fault("url", &"it does not begin with wss:// or ws://", hint));
    };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err(fault("url", &"it names no host", hint));
    }
    if authority.contains('@') {
        return Err(fault(
            "url",
            &"it holds a user or a password",
            "send credentials as `headers` with secrets",
        ));
    }
    if url.contains(|character: char| character == '#' || character.is_whitespace() || character.is_control())
    {
        return Err(fault("url", &"it holds a fragment or white space", hint));
    }
    Ok(())
}

fn header(name: &str, text: &HeaderText) -> Result<(), Error> {
    let lower = name.to_lowercase();
    let hint = "headers = '{\"Authorization\": {\"secret\": \"NAME\"}}'";
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(fault("headers", &format!("`{name}` cannot be a header's name"), hint));
    }
    if RESERVED.contains(&lower.as_str()) {
        return Err(fault("headers", &format!("`{name}` is set by the handshake"), "leave it out"));
    }
    if matches!(text, HeaderText::Plain(text) if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f)) {
        return Err(fault("headers", &format!("`{name}` holds control characters"), hint));
    }
    Ok(())
}

pub(super) fn columns(spec: &FeedSpec, schema: &Schema) -> Result<(), Error> {
    let names = || schema.fields().iter().map(|field| field.name().as_str());
    for (column, rule) in &spec.mapping {
        let Ok(field) = schema.field_with_name(column) else {
            let message = format!("`mapping` names `{column}`, which is no column");
            let error = Error::new(ErrorKind::ColumnNotFound, message);
            return Err(match nearest(column, names()) {
                Some(near) => error.with_hint(format!("did you mean `{near}`?")),
                None => error.with_hint("each key of the mapping is a column of the stream"),
            });
        };
        coercion(rule, field.data_type()).map_err(|(why, hint)| {
            let message = format!("`mapping` of `{column}`, which is {}: {why}", field.data_type());
            Error::new(ErrorKind::TypeMismatch, message).with_hint(hint)
        })?;
    }
    Ok(())
}

fn coercion(rule: &ColumnRule, data_type: &DataType) -> Result<(), (&'static str, &'static str)> {
    let decimal = matches!(data_type, DataType::Decimal128(..));
    let number = data_type.is_integer() || data_type.is_floating() || decimal;
    let time = matches!(data_type, DataType::Timestamp(..));
    if rule.unit.is_some() && !time {
        return Err(("only a timestamp has a unit", "leave `unit` out, or declare the column TIMESTAMP"));
    }
    if rule.text && !number {
        return Err(("only numbers are read from texts so", "leave `text` out; strings fit as they are"));
    }
    if let Source::Constant(value) = &rule.source {
        let fits = match value {
            Value::Bool(_) => *data_type == DataType::Boolean,
            Value::Number(_) => number || time,
            Value::String(_) => decimal || time || matches!(data_type, DataType::Utf8 | DataType::Date32),
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        };
        if !fits {
            return Err(("the constant is of another type", "write it as a value of the column's type"));
        }
    }
    Ok(())
}
