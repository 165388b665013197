//! Where the rows of a frame begin and end.
//!
//! A frame that begins with `[` is an array. Any other frame is one object, which may span lines, or one object a
//! line. Lines are cut at line feeds before they are read, so that a damaged line never takes its neighbours
//! with it; JSON strings hold no raw line feeds.

use super::cursor::{Broken, Cursor, MAX_DEPTH};
use super::fault::{BadRow, BadRows, Reason};
use super::row::Rows;

/// How many rows of a frame were good and how many bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pushed {
    /// Rows appended.
    pub rows: usize,
    /// Rows given to the sink of bad rows.
    pub bad: usize,
}

/// A frame being taken apart.
pub(crate) struct Frame<'f, 's> {
    bytes: &'f [u8],
    /// The frame is UTF-8 up to here.
    valid: usize,
    rows: &'s mut Rows,
    bad: &'s mut dyn BadRows,
    pushed: Pushed,
}

/// Reads all rows of a frame.
pub(crate) fn read(frame: &[u8], rows: &mut Rows, bad: &mut dyn BadRows) -> Pushed {
    let valid = utf8_end(frame);
    let mut frame = Frame { bytes: frame, valid, rows, bad, pushed: Pushed::default() };
    let mut cursor = Cursor::new(frame.bytes, 0);
    match cursor.peek() {
        None => {}
        Some(b'[') => {
            cursor.step();
            frame.array(cursor);
        }
        Some(_) => frame.object_or_lines(cursor),
    }
    frame.pushed
}

/// Without the white space of JSON at both ends.
fn trimmed(mut line: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r', rest @ ..] | [rest @ .., b' ' | b'\t' | b'\r'] = line {
        line = rest;
    }
    line
}

/// How far the bytes are UTF-8.
fn utf8_end(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        Err(error) => error.valid_up_to(),
    }
}

impl<'f> Frame<'f, '_> {
    fn is_valid(&self) -> bool {
        self.valid == self.bytes.len()
    }

    fn refuse(&mut self, reason: Reason, bytes: &[u8]) {
        self.pushed.bad += 1;
        let named = reason.column().map(str::to_owned);
        self.bad.bad(BadRow { reason, column: named.as_deref(), bytes });
    }

    /// Counts a row that ended, or refuses its bytes.
    #[inline]
    fn end_row(&mut self, end: Result<(), Reason>, bytes: &'f [u8]) {
        match end {
            Ok(()) => self.pushed.rows += 1,
            Err(reason) => self.refuse(reason, bytes),
        }
    }

    /// A frame that is not an array; the cursor stands on its first byte that is not white space.
    #[inline]
    fn object_or_lines(&mut self, mut cursor: Cursor<'f>) {
        let start = cursor.at();
        let held = self.rows.len();
        if self.is_valid()
            && let Ok(end) = self.rows.read(&mut cursor)
        {
            let row = cursor.since(start);
            if cursor.peek().is_none() {
                return self.end_row(end, row);
            }
        }
        // Not one object: one a line, read anew.
        self.rows.truncate(held);
        self.lines();
    }

    fn lines(&mut self) {
        let mut at = 0;
        for end in memchr::memchr_iter(b'\n', self.bytes).chain([self.bytes.len()]) {
            let line = self.bytes.get(at..end).unwrap_or_default();
            at = end + 1;
            self.line(line);
        }
    }

    /// One line of NDJSON without its line feed.
    fn line(&mut self, line: &'f [u8]) {
        // White space around the row, such as a carriage return, is no part of it.
        let line = trimmed(line);
        if line.is_empty() {
            return;
        }
        if !self.is_valid() {
            let valid = utf8_end(line);
            if valid < line.len() {
                return self.refuse(Reason::InvalidUtf8 { at: valid }, line);
            }
        }
        let mut cursor = Cursor::new(line, 0);
        let held = self.rows.len();
        let end = self.rows.read(&mut cursor);
        match end {
            Ok(end) if cursor.peek().is_none() => self.end_row(end, line),
            Ok(_) => {
                self.rows.truncate(held);
                self.refuse(
                    broken(Broken::Unexpected { at: cursor.at(), expected: "the end of the line" }, line),
                    line,
                );
            }
            Err(fault) => self.refuse(broken(fault, line), line),
        }
    }

    /// The rows of an array; the cursor stands behind its `[`. A fault of syntax in a row spoils the frame from
    /// that row on, one between rows from the end of the row before: what follows cannot be told apart.
    fn array(&mut self, mut cursor: Cursor<'f>) {
        // Behind the last row or bracket that is settled.
        let mut settled = cursor.at();
        if cursor.peek() == Some(b']') {
            cursor.step();
            return self.after_array(cursor);
        }
        loop {
            cursor.peek();
            let start = cursor.at();
            let held = self.rows.len();
            let end = match self.rows.read(&mut cursor) {
                // Nothing of a row is there: a comma or a bracket is wrong, or the frame is cut off.
                Err(Broken::Unexpected { at, .. }) if at == start => {
                    return self.spoilt(Broken::Unexpected { at, expected: "a row" }, settled);
                }
                Err(fault) => return self.spoilt(fault, start),
                Ok(end) => end,
            };
            if cursor.at() > self.valid {
                self.rows.truncate(held);
                return self.spoilt(Broken::Unexpected { at: cursor.at(), expected: "" }, start);
            }
            settled = cursor.at();
            self.end_row(end, cursor.since(start));
            match cursor.peek() {
                Some(b',') => cursor.step(),
                Some(b']') => {
                    cursor.step();
                    return self.after_array(cursor);
                }
                _ => {
                    return self
                        .spoilt(Broken::Unexpected { at: cursor.at(), expected: "',' or ']'" }, settled);
                }
            }
        }
    }

    fn after_array(&mut self, mut cursor: Cursor<'f>) {
        let end = cursor.at();
        if cursor.peek().is_some() {
            self.spoilt(Broken::Unexpected { at: cursor.at(), expected: "the end of the frame" }, end);
        }
    }

    /// Refuses the frame from `start` on as one bad row.
    #[cold]
    fn spoilt(&mut self, fault: Broken, start: usize) {
        let rest = self.bytes.get(start..).unwrap_or_default();
        let (Broken::Unexpected { at, .. } | Broken::TooDeep { at }) = fault;
        let reason = if self.valid <= at && !self.is_valid() {
            Reason::InvalidUtf8 { at: self.valid.saturating_sub(start) }
        } else {
            let at = at.saturating_sub(start);
            broken(
                match fault {
                    Broken::Unexpected { expected, .. } => Broken::Unexpected { at, expected },
                    Broken::TooDeep { .. } => Broken::TooDeep { at },
                },
                rest,
            )
        };
        self.refuse(reason, rest);
    }
}

/// The reason of a fault in `bytes`.
pub(crate) fn broken(fault: Broken, bytes: &[u8]) -> Reason {
    match fault {
        Broken::TooDeep { at } => Reason::TooDeep { at, limit: MAX_DEPTH },
        Broken::Unexpected { at, expected } => {
            let found = match bytes.get(at..) {
                None | Some([]) => "the end".to_owned(),
                Some(&[byte, ..]) if byte < 0x20 || byte == 0x7f => format!("byte 0x{byte:02x}"),
                Some(rest) => {
                    let first = rest.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
                    first.map_or_else(
                        || "a byte that is no character".to_owned(),
                        |first| format!("'{first}'"),
                    )
                }
            };
            Reason::Syntax { at, expected, found }
        }
    }
}
