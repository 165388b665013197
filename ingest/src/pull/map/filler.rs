//! From a value noted to a value of its column.

use arrow::datatypes::Field;

use super::super::spec::{ColumnRule, EpochUnit, Source};
use super::error::MapError;
use super::tree::Slots;
use super::walk::Span;
use crate::decode::{Column, Cursor, Number, Reason, Refusal, Token, UnsupportedType, unit_name};

/// How one column is filled.
#[derive(Debug)]
pub(super) struct Filler {
    from: Origin,
    unit: Option<EpochUnit>,
    text: bool,
}

#[derive(Debug)]
enum Origin {
    Row(usize),
    Message(usize),
    /// JSON.
    Constant(Box<[u8]>),
}

/// Whether a value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filled {
    FromRow,
    Otherwise,
}

/// What a row's values are taken from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a> {
    pub text: &'a [u8],
    pub message: &'a [Span],
    /// Without the row's own place.
    pub row: &'a [Span],
}

impl Filler {
    /// # Errors
    /// For a constant that does not fit the column.
    pub fn new(
        rule: &ColumnRule,
        field: &Field,
        message: &mut Slots,
        row: &mut Slots,
    ) -> Result<Self, MapError> {
        let from = match &rule.source {
            Source::Row(pointer) => Origin::Row(row.number(pointer)),
            Source::Message(pointer) => Origin::Message(message.number(pointer)),
            Source::Constant(value) => Origin::Constant(value.to_string().into_bytes().into()),
        };
        let filler = Self { from, unit: rule.unit, text: rule.text };
        if matches!(filler.from, Origin::Constant(_)) {
            let unsupported = || UnsupportedType::Type {
                column: field.name().clone(),
                data_type: field.data_type().clone(),
            };
            let mut column = Column::new(field).ok_or_else(unsupported)?;
            let nothing = Values { text: b"", message: &[], row: &[] };
            filler
                .fill(&mut column, nothing, &mut Vec::new())
                .map_err(|reason| MapError::Constant(*reason))?;
        }
        Ok(filler)
    }

    pub fn is_of_row(&self) -> bool {
        matches!(self.from, Origin::Row(_))
    }

    /// Appends the value to the column, or null where there is none. A reason is boxed to keep the common answer small.
    #[inline]
    pub fn fill(
        &self,
        column: &mut Column,
        values: Values<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<Filled, Box<Reason>> {
        let (span, filled) = match &self.from {
            Origin::Row(slot) => (values.row.get(*slot), Filled::FromRow),
            Origin::Message(slot) => (values.message.get(*slot), Filled::Otherwise),
            Origin::Constant(json) => {
                self.append(column, json, 0, scratch)
                    .map_err(|refusal| self.reason(column, refusal, json))?;
                return Ok(Filled::Otherwise);
            }
        };
        match span.filter(|span| !span.is_missing()) {
            None => {
                column.append_null().map_err(|refusal| match refusal {
                    Refusal::Null => {
                        let (column, expected) = (column.name().to_owned(), self.expected(column));
                        Box::new(Reason::MissingField { column, expected })
                    }
                    other => self.reason(column, other, b""),
                })?;
                Ok(Filled::Otherwise)
            }
            Some(span) if span.is_twice() => {
                Err(Box::new(Reason::DuplicateKey { column: column.name().to_owned() }))
            }
            Some(span) => {
                self.append(column, values.text, span.start(), scratch)
                    .map_err(|refusal| self.reason(column, refusal, span.of(values.text)))?;
                Ok(filled)
            }
        }
    }

    #[inline]
    fn append(
        &self,
        column: &mut Column,
        text: &[u8],
        at: usize,
        scratch: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let token = match text.get(at) {
            Some(b'{' | b'[') => Token::Nested,
            _ => Cursor::new(text, at).value(scratch).map_err(|_| Refusal::WrongType)?,
        };
        match (&token, self.unit) {
            (Token::Null, _) => column.append(&token),
            (Token::Number(number), Some(unit)) => column.append_epoch(number, unit.time_unit()),
            (Token::Text(text), Some(unit)) => column.append_epoch(&number(text)?, unit.time_unit()),
            (_, Some(_)) => Err(Refusal::WrongType),
            (Token::Text(text), None) if self.text => column.append(&Token::Number(number(text)?)),
            _ => column.append(&token),
        }
    }

    #[cold]
    fn reason(&self, column: &Column, refusal: Refusal, found: &[u8]) -> Box<Reason> {
        Box::new(column.reason_of(refusal, found, self.expected(column)))
    }

    fn expected(&self, column: &Column) -> String {
        match self.unit {
            Some(unit) => {
                let kept = match column.time_unit() {
                    Some(kept) => format!(" that the column keeps as {}", unit_name(kept)),
                    None => String::new(),
                };
                format!("a number of {} since 1970{kept}", unit_name(unit.time_unit()))
            }
            None if self.text => format!("{} or a string of one", column.expected()),
            None => column.expected(),
        }
    }
}

/// The whole text as a JSON number.
pub(super) fn number(text: &[u8]) -> Result<Number<'_>, Refusal> {
    let mut cursor = Cursor::new(text, 0);
    match cursor.number() {
        Ok(number) if cursor.at() == text.len() => Ok(number),
        _ => Err(Refusal::WrongType),
    }
}
