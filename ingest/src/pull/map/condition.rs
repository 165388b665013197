//! Conditions, ready to be held against the values noted.

use super::super::spec::{Conditions, Expected, Scalar};
use super::tree::Slots;
use super::walk::Span;
use crate::decode::{Cursor, Number, Token, float64, integer};

/// All have to hold.
#[derive(Debug)]
pub(super) struct Tests(Vec<Test>);

#[derive(Debug)]
struct Test {
    slot: usize,
    expected: Wanted,
}

#[derive(Debug)]
enum Wanted {
    Exists(bool),
    OneOf(Vec<Value>),
}

#[derive(Debug)]
enum Value {
    Null,
    Boolean(bool),
    /// The text of a JSON number.
    Number(Box<[u8]>),
    Text(Box<[u8]>),
}

impl Tests {
    pub fn new(conditions: &Conditions, slots: &mut Slots) -> Self {
        let test = |(pointer, expected): (_, &Expected)| Test {
            slot: slots.number(pointer),
            expected: match expected {
                Expected::Exists(exists) => Wanted::Exists(*exists),
                Expected::OneOf(values) => Wanted::OneOf(values.iter().map(Value::new).collect()),
            },
        };
        Self(conditions.iter().map(test).collect())
    }

    pub fn hold(&self, message: &[u8], spans: &[Span], scratch: &mut Vec<u8>) -> bool {
        self.0.iter().all(|test| {
            let span = spans.get(test.slot).filter(|span| !span.is_missing());
            match (&test.expected, span) {
                (Wanted::Exists(exists), span) => span.is_some() == *exists,
                (Wanted::OneOf(_), None) => false,
                (Wanted::OneOf(values), Some(span)) => {
                    // An array or an object equals nothing, and need not be read again to know it.
                    !matches!(message.get(span.start()), Some(b'{' | b'['))
                        && Cursor::new(message, span.start())
                            .value(scratch)
                            .is_ok_and(|token| values.iter().any(|value| value.is(&token)))
                }
            }
        })
    }
}

impl Value {
    fn new(scalar: &Scalar) -> Self {
        match scalar {
            Scalar::Null => Self::Null,
            Scalar::Boolean(value) => Self::Boolean(*value),
            Scalar::Number(number) => Self::Number(number.to_string().into_bytes().into()),
            Scalar::Text(text) => Self::Text(text.as_bytes().into()),
        }
    }

    fn is(&self, token: &Token<'_>) -> bool {
        match (self, token) {
            (Self::Null, Token::Null) => true,
            (Self::Boolean(wanted), Token::Boolean(value)) => wanted == value,
            (Self::Text(wanted), Token::Text(text)) => **wanted == **text,
            (Self::Number(wanted), Token::Number(number)) => {
                **wanted == *number.text
                    || Cursor::new(wanted, 0).number().is_ok_and(|wanted| same(&wanted, number))
            }
            _ => false,
        }
    }
}

/// Integers are compared exactly, others by their nearest floats.
fn same(left: &Number<'_>, right: &Number<'_>) -> bool {
    match (integer::<i128>(left), integer::<i128>(right)) {
        (Ok(left), Ok(right)) => left == right,
        _ => float64(left).is_ok_and(|left| float64(right) == Ok(left)),
    }
}
