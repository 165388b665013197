//! Where a column's value comes from and how it is read.

use arrow::datatypes::TimeUnit;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pointer::Pointer;

/// What a pointer counts from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    #[default]
    Row,
    Message,
}

/// What an epoch counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EpochUnit {
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "us")]
    Microseconds,
    #[serde(rename = "ns")]
    Nanoseconds,
}

impl EpochUnit {
    /// As Arrow names it.
    #[must_use]
    pub fn time_unit(self) -> TimeUnit {
        match self {
            Self::Seconds => TimeUnit::Second,
            Self::Milliseconds => TimeUnit::Millisecond,
            Self::Microseconds => TimeUnit::Microsecond,
            Self::Nanoseconds => TimeUnit::Nanosecond,
        }
    }
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Row(Pointer),
    Message(Pointer),
    /// In every row the same; not null.
    Constant(Value),
}

/// How one column is filled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Written")]
pub struct ColumnRule {
    pub source: Source,
    /// The value is a number, or a string that reads as one, of these since 1970.
    pub unit: Option<EpochUnit>,
    /// A string that reads as a number is one.
    pub text: bool,
}

impl ColumnRule {
    /// The value as it stands.
    #[must_use]
    pub fn of(source: Source) -> Self {
        Self { source, unit: None, text: false }
    }
}

/// A rule as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pointer: Option<Pointer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<Of>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unit: Option<EpochUnit>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    text: bool,
}

impl TryFrom<Value> for ColumnRule {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        if let Value::String(pointer) = value {
            return Ok(Self::of(Source::Row(pointer.parse().map_err(|error| format!("{error}"))?)));
        }
        let Written { pointer, of, value, unit, text } =
            serde_json::from_value(value).map_err(|error| error.to_string())?;
        let source = match (pointer, of, value) {
            (Some(pointer), Some(Of::Message), None) => Source::Message(pointer),
            (Some(pointer), _, None) => Source::Row(pointer),
            (None, None, Some(value)) => Source::Constant(value),
            (None, ..) => return Err("give a \"pointer\" or a \"value\" that is not null".to_owned()),
            (Some(_), _, Some(_)) => return Err("give a \"pointer\" or a \"value\", not both".to_owned()),
        };
        if matches!(source, Source::Constant(_)) && (text || unit.is_some()) {
            return Err("\"text\" and \"unit\" go with a \"pointer\"".to_owned());
        }
        Ok(Self { source, unit, text })
    }
}

impl From<ColumnRule> for Written {
    fn from(rule: ColumnRule) -> Self {
        let (pointer, of, value) = match rule.source {
            Source::Row(pointer) => (Some(pointer), None, None),
            Source::Message(pointer) => (Some(pointer), Some(Of::Message), None),
            Source::Constant(value) => (None, None, Some(value)),
        };
        Self { pointer, of, value, unit: rule.unit, text: rule.text }
    }
}

/// A pointer, and what it counts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Written")]
pub struct Place {
    pub pointer: Pointer,
    pub of: Of,
}

impl TryFrom<Value> for Place {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match ColumnRule::try_from(value)? {
            ColumnRule { source: Source::Row(pointer), unit: None, text: false } => {
                Ok(Self { pointer, of: Of::Row })
            }
            ColumnRule { source: Source::Message(pointer), unit: None, text: false } => {
                Ok(Self { pointer, of: Of::Message })
            }
            _ => Err("give a pointer, or {\"pointer\": \"/…\", \"of\": \"message\"}".to_owned()),
        }
    }
}

impl From<Place> for Written {
    fn from(place: Place) -> Self {
        Self { pointer: Some(place.pointer), of: Some(place.of), value: None, unit: None, text: false }
    }
}
