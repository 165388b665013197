//! Conditions on a message: at these places stand these values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::pointer::Pointer;

/// All have to hold. Without any, every message matches.
pub type Conditions = BTreeMap<Pointer, Expected>;

/// What has to stand at a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum Expected {
    /// One of these. `null` is a null that is there, not a field that is missing.
    OneOf(Vec<Scalar>),
    /// Something, or nothing.
    Exists(bool),
}

/// A JSON value that can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar {
    Null,
    Boolean(bool),
    Number(Number),
    Text(String),
}

impl TryFrom<Value> for Scalar {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::Null => Ok(Self::Null),
            Value::Bool(value) => Ok(Self::Boolean(value)),
            Value::Number(number) => Ok(Self::Number(number)),
            Value::String(text) => Ok(Self::Text(text)),
            other => {
                Err(format!("{other} cannot be compared with: give a text, a number, a boolean or null"))
            }
        }
    }
}

impl From<Scalar> for Value {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Null => Value::Null,
            Scalar::Boolean(value) => Value::Bool(value),
            Scalar::Number(number) => Value::Number(number),
            Scalar::Text(text) => Value::String(text),
        }
    }
}

impl TryFrom<Value> for Expected {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::Array(values) if values.is_empty() => Err("an empty list matches nothing".to_owned()),
            Value::Array(values) => {
                Ok(Self::OneOf(values.into_iter().map(Scalar::try_from).collect::<Result<_, _>>()?))
            }
            Value::Object(fields) => match fields.get("exists") {
                Some(Value::Bool(exists)) if fields.len() == 1 => Ok(Self::Exists(*exists)),
                _ => Err("an object here is {\"exists\": true} or {\"exists\": false}".to_owned()),
            },
            scalar => Ok(Self::OneOf(vec![Scalar::try_from(scalar)?])),
        }
    }
}

impl From<Expected> for Value {
    fn from(expected: Expected) -> Self {
        match expected {
            Expected::Exists(exists) => {
                Value::Object([("exists".to_owned(), Value::Bool(exists))].into_iter().collect())
            }
            Expected::OneOf(scalars) => Value::Array(scalars.into_iter().map(Value::from).collect()),
        }
    }
}
