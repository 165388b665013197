//! One pass over a message that notes where the values stand.

use super::tree::{Node, Trees};
use crate::decode::{Broken, Cursor};

/// So many rows of an array are noted at once; the places of all rows of a huge array would take many times its size.
pub(super) const ROWS_AT_ONCE: usize = 1024;

/// Where a value stands in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    start: usize,
    end: usize,
}

impl Span {
    const MISSING: Self = Self { start: usize::MAX, end: 0 };
    const TWICE: Self = Self { start: usize::MAX, end: 1 };

    pub fn is_missing(self) -> bool {
        self == Self::MISSING
    }

    pub fn is_twice(self) -> bool {
        self == Self::TWICE
    }

    pub fn start(self) -> usize {
        self.start
    }

    pub fn of(self, message: &[u8]) -> &[u8] {
        message.get(self.start..self.end).unwrap_or_default()
    }
}

/// What stood at the place of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Nothing,
    Rows,
    /// A text, a number, a boolean or null.
    Scalar,
    Twice,
}

/// What was noted; kept from message to message for its room.
#[derive(Debug, Default)]
pub(super) struct Spans {
    pub message: Vec<Span>,
    /// For each row its own place, then those of its values.
    rows: Vec<Span>,
    stride: usize,
}

impl Spans {
    fn clear(&mut self, trees: &Trees) {
        self.message.clear();
        self.message.resize(trees.message_slots, Span::MISSING);
        self.stride = trees.row_slots + 1;
        self.rows.clear();
    }

    pub fn rows(&self) -> std::slice::ChunksExact<'_, Span> {
        self.rows.chunks_exact(self.stride.max(1))
    }
}

/// A walk over one message.
pub(super) struct Walk<'m, 's> {
    pub cursor: Cursor<'m>,
    trees: &'s Trees,
    spans: &'s mut Spans,
    scratch: &'s mut Vec<u8>,
    pub place: Place,
    /// Where rows that are not yet noted begin.
    pub rest: Option<Cursor<'m>>,
}

impl<'m, 's> Walk<'m, 's> {
    pub fn new(message: &'m [u8], trees: &'s Trees, spans: &'s mut Spans, scratch: &'s mut Vec<u8>) -> Self {
        spans.clear(trees);
        let cursor = Cursor::new(message, 0);
        Self { cursor, trees, spans, scratch, place: Place::Nothing, rest: None }
    }

    /// Walks the whole message.
    pub fn message(&mut self) -> Result<(), Broken> {
        let trees = self.trees;
        self.value(&trees.message)?;
        match self.cursor.peek() {
            None => Ok(()),
            Some(_) => self.cursor.unexpected("the end of the message"),
        }
    }

    /// Notes the next rows of an array in place of those noted before; the place of those that follow, if any do.
    pub fn more(
        from: Cursor<'m>,
        trees: &'s Trees,
        spans: &'s mut Spans,
        scratch: &'s mut Vec<u8>,
    ) -> Result<Option<Cursor<'m>>, Broken> {
        spans.rows.clear();
        let mut walk = Self { cursor: from, trees, spans, scratch, place: Place::Rows, rest: None };
        Ok(if walk.some_rows()? { None } else { Some(walk.cursor) })
    }

    fn value(&mut self, node: &Node) -> Result<(), Broken> {
        let first = self.cursor.peek();
        let start = self.cursor.at();
        match first {
            Some(b'[') if node.rows => self.rows()?,
            Some(b'{') if node.rows => {
                self.note_place(Place::Rows);
                let row = self.begin_row();
                self.object(node)?;
                self.end_row(row, start);
            }
            _ if node.rows => {
                self.note_place(Place::Scalar);
                self.cursor.value(self.scratch)?;
            }
            Some(b'{') if !node.is_leaf() => self.object(node)?,
            Some(b'[') if node.indexed => self.array(node)?,
            _ => {
                self.cursor.value(self.scratch)?;
            }
        }
        let span = Span { start, end: self.cursor.at() };
        for slot in &node.slots {
            // An array of rows is not itself the value of a row.
            let of_row = *slot >= self.trees.message_slots;
            if !(of_row && node.rows && first == Some(b'[')) {
                self.note(*slot, span);
            }
        }
        Ok(())
    }

    fn object(&mut self, node: &Node) -> Result<(), Broken> {
        self.cursor.step();
        if self.cursor.peek() == Some(b'}') {
            self.cursor.step();
            return Ok(());
        }
        loop {
            let key = self.cursor.key(self.scratch)?;
            match node.by_key(key) {
                Some(child) => self.value(child)?,
                None => {
                    self.cursor.value(self.scratch)?;
                }
            }
            match self.cursor.peek() {
                Some(b',') => self.cursor.step(),
                Some(b'}') => break,
                _ => return self.cursor.unexpected("',' or '}'"),
            }
        }
        self.cursor.step();
        Ok(())
    }

    fn array(&mut self, node: &Node) -> Result<(), Broken> {
        self.cursor.step();
        if self.cursor.peek() == Some(b']') {
            self.cursor.step();
            return Ok(());
        }
        for index in 0.. {
            match node.by_index(index) {
                Some(child) => self.value(child)?,
                None => {
                    self.cursor.value(self.scratch)?;
                }
            }
            if self.ends_array()? {
                break;
            }
        }
        Ok(())
    }

    /// Steps over the comma or the bracket behind an element; true for the bracket.
    fn ends_array(&mut self) -> Result<bool, Broken> {
        let end = match self.cursor.peek() {
            Some(b',') => false,
            Some(b']') => true,
            _ => return self.cursor.unexpected("',' or ']'"),
        };
        self.cursor.step();
        Ok(end)
    }

    /// The array of rows.
    fn rows(&mut self) -> Result<(), Broken> {
        self.note_place(Place::Rows);
        self.cursor.step();
        if self.cursor.peek() == Some(b']') {
            self.cursor.step();
            return Ok(());
        }
        if self.some_rows()? {
            return Ok(());
        }
        self.rest = Some(self.cursor);
        loop {
            self.cursor.value(self.scratch)?;
            if self.ends_array()? {
                return Ok(());
            }
        }
    }

    /// Up to [`ROWS_AT_ONCE`] rows; true where the array has ended with them.
    fn some_rows(&mut self) -> Result<bool, Broken> {
        let trees = self.trees;
        for _ in 0..ROWS_AT_ONCE {
            self.cursor.peek();
            let start = self.cursor.at();
            let row = self.begin_row();
            self.value(&trees.row)?;
            self.end_row(row, start);
            if self.ends_array()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn begin_row(&mut self) -> usize {
        let row = self.spans.rows.len();
        self.spans.rows.resize(row + self.spans.stride, Span::MISSING);
        row
    }

    fn end_row(&mut self, row: usize, start: usize) {
        if let Some(span) = self.spans.rows.get_mut(row) {
            *span = Span { start, end: self.cursor.at() };
        }
    }

    fn note_place(&mut self, place: Place) {
        self.place = if self.place == Place::Nothing { place } else { Place::Twice };
    }

    #[inline]
    fn note(&mut self, slot: usize, span: Span) {
        let noted = match slot.checked_sub(self.trees.message_slots) {
            None => self.spans.message.get_mut(slot),
            // The last row is the one that is walked.
            Some(of_row) => {
                let row = self.spans.rows.len().saturating_sub(self.spans.stride);
                self.spans.rows.get_mut(row + 1 + of_row)
            }
        };
        if let Some(noted) = noted {
            *noted = if noted.is_missing() { span } else { Span::TWICE };
        }
    }
}
