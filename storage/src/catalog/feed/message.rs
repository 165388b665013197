//! Texts that are sent, and the secrets they refer to.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The value of a header.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum HeaderText {
    Plain(String),
    /// The secret with this name, read when the feed is dialled.
    Secret(String),
}

/// A text may be what should have been a secret.
impl fmt::Debug for HeaderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(_) => f.write_str("Plain(***)"),
            Self::Secret(name) => f.debug_tuple("Secret").field(name).finish(),
        }
    }
}

/// The name in `{"secret": "NAME"}`, if `value` is that.
#[must_use]
pub fn secret_name(value: &Value) -> Option<&str> {
    let fields = value.as_object().filter(|fields| fields.len() == 1)?;
    fields.get("secret")?.as_str()
}

/// Whether `name` can name a file in a directory and nothing outside of it.
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// Every secret that `value` refers to has a name that can be one.
pub(super) fn check_secrets(value: &Value) -> Result<(), String> {
    if let Some(name) = secret_name(value) {
        return check_name(name);
    }
    match value {
        Value::Array(values) => values.iter().try_for_each(check_secrets),
        Value::Object(fields) => fields.values().try_for_each(check_secrets),
        _ => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if is_plain_name(name) {
        return Ok(());
    }
    Err(format!("`{name}` cannot name a secret: use letters, digits, `_`, `-` and `.`, not first"))
}

impl TryFrom<Value> for HeaderText {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        if let Some(name) = secret_name(&value) {
            check_name(name)?;
            return Ok(Self::Secret(name.to_owned()));
        }
        match value {
            Value::String(text) => Ok(Self::Plain(text)),
            _ => Err("a header is a text or {\"secret\": \"NAME\"}".to_owned()),
        }
    }
}

impl From<HeaderText> for Value {
    fn from(text: HeaderText) -> Self {
        match text {
            HeaderText::Plain(text) => Value::String(text),
            HeaderText::Secret(name) => {
                Value::Object([("secret".to_owned(), Value::String(name))].into_iter().collect())
            }
        }
    }
}
