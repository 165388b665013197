//! The number and the key of a feed's sequence, as they stand in a message.

use super::super::spec::{FeedSpec, Of, Place};
use super::filler::{Values, number};
use super::tree::Slots;
use super::walk::Span;
use crate::decode::{Cursor, Token, integer};

/// Where a sequence is read.
#[derive(Debug)]
pub(super) struct Sequence {
    number: At,
    key: Option<At>,
}

#[derive(Debug, Clone, Copy)]
struct At {
    of: Of,
    slot: usize,
}

impl At {
    fn new(place: &Place, message: &mut Slots, row: &mut Slots) -> Self {
        let slots = match place.of {
            Of::Row => row,
            Of::Message => message,
        };
        Self { of: place.of, slot: slots.number(&place.pointer) }
    }

    fn span(self, values: Values<'_>) -> Option<Span> {
        let spans = match self.of {
            Of::Row => values.row,
            Of::Message => values.message,
        };
        spans.get(self.slot).copied().filter(|span| !span.is_missing() && !span.is_twice())
    }
}

impl Sequence {
    pub fn new(spec: &FeedSpec, message: &mut Slots, row: &mut Slots) -> Option<Self> {
        let place = spec.sequence.as_ref()?;
        let number = At::new(place, message, row);
        Some(Self { number, key: spec.sequence_by.as_ref().map(|place| At::new(place, message, row)) })
    }

    pub fn of(&self) -> Of {
        self.number.of
    }

    /// Tells the number and its key, where there is a number. A number that is none is not told: the next one that is
    /// will not be the expected one.
    pub fn read(&self, values: Values<'_>, scratch: &mut Vec<u8>, seen: &mut dyn FnMut(&[u8], i64)) {
        let Some(value) = self.number.span(values).and_then(|span| read_integer(values.text, span, scratch))
        else {
            return;
        };
        let Some(span) = self.key.and_then(|key| key.span(values)) else { return seen(b"", value) };
        match Cursor::new(values.text, span.start()).value(scratch) {
            Ok(Token::Text(key)) => seen(key, value),
            _ => seen(span.of(values.text), value),
        }
    }
}

fn read_integer(text: &[u8], span: Span, scratch: &mut Vec<u8>) -> Option<i64> {
    match Cursor::new(text, span.start()).value(scratch).ok()? {
        Token::Number(found) => integer(&found).ok(),
        Token::Text(found) => integer(&number(found).ok()?).ok(),
        _ => None,
    }
}
