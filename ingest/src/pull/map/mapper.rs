//! What kind of message it is, and its rows.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use super::super::spec::{FeedSpec, Of};
use super::condition::Tests;
use super::error::MapError;
use super::filler::{Filler, Values};
use super::keeper::Keeper;
use super::sequence::Sequence;
use super::tree::{Slots, Trees};
use super::walk::{Place, Span, Spans, Walk};
use crate::decode::{BadRow, BadRows, Pushed, Reason, broken, empty_columns, shown};

/// So many bad rows of one message are told one by one: each takes many times the memory of its bytes.
pub(super) const MOST_BAD: usize = 10_000;

/// What a message was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapped {
    /// It refuses the subscription.
    Refused,
    /// It acknowledges: a bit for each of `subscribe_ack` that it fulfils.
    Acknowledged(u64),
    /// The filter does not let it through.
    Skipped,
    /// It had rows, good or bad; a message that cannot be read counts as one bad row.
    Rows(Pushed),
}

/// Reads messages of one feed. It holds the rows until they are taken.
#[derive(Debug)]
pub struct Mapper {
    keeper: Keeper,
    trees: Trees,
    /// Pointers of the message slots and the place of the rows, for reasons.
    pointers: Vec<String>,
    rows_at: String,
    refusals: Vec<Tests>,
    acks: Vec<Tests>,
    filter: Tests,
    sequence: Option<Sequence>,
    spans: Spans,
    scratch: Vec<u8>,
}

impl Mapper {
    /// # Errors
    /// [`MapError`] for columns that no feed can fill and constants that do not fit.
    pub fn new(spec: &FeedSpec, schema: SchemaRef) -> Result<Self, MapError> {
        let (mut message, mut row) = (Slots::default(), Slots::default());
        let mut columns = Vec::with_capacity(schema.fields().len());
        for (column, field) in empty_columns(&schema)?.into_iter().zip(schema.fields()) {
            let filler = Filler::new(&spec.rule(column.name()), field, &mut message, &mut row)?;
            columns.push((column, filler));
        }
        let sequence = Sequence::new(spec, &mut message, &mut row);
        let refusals = spec.subscribe_error.iter().map(|tests| Tests::new(tests, &mut message)).collect();
        let acks = spec.subscribe_ack.iter().map(|tests| Tests::new(tests, &mut message)).collect();
        let filter = Tests::new(&spec.filter, &mut message);
        Ok(Self {
            keeper: Keeper::new(schema, columns),
            trees: Trees::new(&message, &row, &spec.rows),
            pointers: message.pointers().iter().map(ToString::to_string).collect(),
            rows_at: spec.rows.to_string(),
            refusals,
            acks,
            filter,
            sequence,
            spans: Spans::default(),
            scratch: Vec::new(),
        })
    }

    /// How many rows are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keeper.len()
    }

    /// True where no row is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// About how many bytes the held rows take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.keeper.bytes()
    }

    /// Takes the held rows.
    ///
    /// # Errors
    /// None in practice; see [`Decoder::finish`](crate::decode::Decoder::finish).
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.keeper.finish()
    }

    /// Reads one message. Bad rows go to `bad`; `seen` is told the sequence numbers with their keys, those of bad rows
    /// too: they have arrived.
    pub fn push(
        &mut self,
        message: &[u8],
        bad: &mut dyn BadRows,
        seen: &mut dyn FnMut(&[u8], i64),
    ) -> Mapped {
        if let Err(error) = std::str::from_utf8(message) {
            return refuse(bad, Reason::InvalidUtf8 { at: error.valid_up_to() }, message);
        }
        let mut walk = Walk::new(message, &self.trees, &mut self.spans, &mut self.scratch);
        if let Err(fault) = walk.message() {
            return refuse(bad, broken(fault, message), message);
        }
        let (place, mut rest) = (walk.place, walk.rest);
        let twice = self.spans.message.iter().position(|span| span.is_twice());
        if let Some(pointer) = twice.and_then(|slot| self.pointers.get(slot)) {
            return refuse(bad, Reason::GivenTwice { pointer: pointer.clone() }, message);
        }
        let of_message = Values { text: message, message: &self.spans.message, row: &[] };
        if let Some(sequence) = self.sequence.as_ref().filter(|sequence| sequence.of() == Of::Message) {
            sequence.read(of_message, &mut self.scratch, seen);
        }
        if let Some(kind) = self.kind(message) {
            return kind;
        }
        let reason = match place {
            Place::Rows => {
                let mut pushed = Pushed::default();
                let mut goes_on = self.rows(message, &mut pushed, bad, seen);
                while let Some(from) = rest.filter(|_| goes_on) {
                    // It was read without a fault before.
                    let Ok(after) = Walk::more(from, &self.trees, &mut self.spans, &mut self.scratch) else {
                        break;
                    };
                    rest = after;
                    goes_on = self.rows(message, &mut pushed, bad, seen);
                }
                return Mapped::Rows(pushed);
            }
            Place::Nothing => Reason::NoRows { pointer: self.rows_at.clone() },
            Place::Scalar => Reason::NotARow { found: shown(message) },
            Place::Twice => Reason::GivenTwice { pointer: self.rows_at.clone() },
        };
        refuse(bad, reason, message)
    }

    /// What the message is, unless it has rows.
    fn kind(&mut self, message: &[u8]) -> Option<Mapped> {
        let (spans, scratch) = (&self.spans.message, &mut self.scratch);
        if self.refusals.iter().any(|tests| tests.hold(message, spans, scratch)) {
            return Some(Mapped::Refused);
        }
        let held = self.acks.iter().enumerate().filter(|(_, tests)| tests.hold(message, spans, scratch));
        let acks = held.fold(0, |acks, (place, _)| {
            acks | 1_u64.checked_shl(u32::try_from(place).unwrap_or(u32::MAX)).unwrap_or(0)
        });
        if acks != 0 {
            return Some(Mapped::Acknowledged(acks));
        }
        (!self.filter.hold(message, spans, scratch)).then_some(Mapped::Skipped)
    }

    /// The rows noted, added to those of the message before. False where the rest is not to be read.
    fn rows(
        &mut self,
        message: &[u8],
        pushed: &mut Pushed,
        bad: &mut dyn BadRows,
        seen: &mut dyn FnMut(&[u8], i64),
    ) -> bool {
        let sequence = self.sequence.as_ref().filter(|sequence| sequence.of() == Of::Row);
        for spans in self.spans.rows() {
            let Some((own, row)) = spans.split_first() else { continue };
            if pushed.bad == MOST_BAD {
                refuse(
                    bad,
                    Reason::TooManyBad { rows: MOST_BAD },
                    message.get(own.start()..).unwrap_or_default(),
                );
                pushed.bad += 1;
                return false;
            }
            let values = Values { text: message, message: &self.spans.message, row };
            if let Some(sequence) = sequence {
                sequence.read(values, &mut self.scratch, seen);
            }
            let end = match self.row_fault(own, message) {
                Some(reason) => Err(Box::new(reason)),
                None => self.keeper.row(values, &mut self.scratch),
            };
            match end {
                Ok(()) => pushed.rows += 1,
                Err(reason) => {
                    refuse(bad, *reason, own.of(message));
                    pushed.bad += 1;
                }
            }
        }
        true
    }

    /// Unless a column takes the row itself, it has to be something with values in it.
    fn row_fault(&self, row: &Span, message: &[u8]) -> Option<Reason> {
        if !self.trees.row.slots.is_empty() || matches!(message.get(row.start()), Some(b'{' | b'[')) {
            return None;
        }
        Some(Reason::NotARow { found: shown(row.of(message)) })
    }
}

fn refuse(bad: &mut dyn BadRows, reason: Reason, bytes: &[u8]) -> Mapped {
    let column = reason.column().map(str::to_owned);
    bad.bad(BadRow { reason, column: column.as_deref(), bytes });
    Mapped::Rows(Pushed { rows: 0, bad: 1 })
}
