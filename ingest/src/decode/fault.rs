//! Why a row or a frame was refused, and where refused rows go.

use std::fmt;

use thiserror::Error;

/// The longest piece of found text a message repeats, in bytes; the rest is replaced by `…`. The whole text is
/// in the dead letter.
const SHOWN: usize = 40;

/// Takes the rows that were refused.
///
/// Called once for each bad row, in the order of the frame, before [`push`](super::Decoder::push) returns.
pub trait BadRows {
    /// Takes one bad row. The bytes are borrowed from the frame; copy what must outlive the call.
    fn bad(&mut self, row: BadRow<'_>);
}

/// Any closure over a bad row is a sink.
impl<F: FnMut(BadRow<'_>)> BadRows for F {
    fn bad(&mut self, row: BadRow<'_>) {
        self(row);
    }
}

/// One refused row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow<'a> {
    /// The first fault of the row; a fault of syntax goes before all others, since it says where the row ends.
    pub reason: Reason,
    /// The declared column at fault, where there is one.
    pub column: Option<&'a str>,
    /// The bytes of the row as they stood in the frame: the object; the NDJSON line without its line end; or,
    /// after a fault of syntax inside an array, the rest of the frame (empty where only the `]` was missing).
    pub bytes: &'a [u8],
}

/// Why a row was refused. The text names the column, the found value (shortened) and what was expected. Byte
/// offsets count from the start of the bad row's own bytes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Reason {
    /// The bytes are not JSON.
    #[error("not JSON at byte {at}: expected {expected}, found {found}")]
    Syntax {
        /// Offset of the fault, bytes.
        at: usize,
        /// What the grammar allows there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// The bytes are not UTF-8, which all JSON text must be.
    #[error("not UTF-8 at byte {at}")]
    InvalidUtf8 {
        /// Offset of the first byte that is not part of a character.
        at: usize,
    },
    /// Arrays and objects are nested deeper than the decoder follows.
    #[error("nested too deep at byte {at}: more than {limit} levels below the row")]
    TooDeep {
        /// Offset of the bracket that went too deep, bytes.
        at: usize,
        /// How many levels are followed.
        limit: usize,
    },
    /// A row is some other JSON value.
    #[error("found {found}, expected a row (a JSON object)")]
    NotAnObject {
        /// The value, shortened.
        found: String,
    },
    /// The row has a field that no column declares.
    #[error("unknown field \"{field}\": no column of this name is declared")]
    UnknownField {
        /// The key, shortened.
        field: String,
    },
    /// The row gives a column twice.
    #[error("column \"{column}\": the key is given twice in one row")]
    DuplicateKey {
        /// The column.
        column: String,
    },
    /// The row lacks a column that must have a value.
    #[error("column \"{column}\": the field is missing, expected {expected} (the column is NOT NULL)")]
    MissingField {
        /// The column.
        column: String,
        /// What the column takes.
        expected: String,
    },
    /// The row has `null` where a value must be.
    #[error("column \"{column}\": found null, expected {expected} (the column is NOT NULL)")]
    NullValue {
        /// The column.
        column: String,
        /// What the column takes.
        expected: String,
    },
    /// The value is of a kind that the column does not take.
    #[error("column \"{column}\": found {found}, expected {expected}")]
    WrongType {
        /// The column.
        column: String,
        /// The value, shortened.
        found: String,
        /// What the column takes.
        expected: String,
    },
    /// The value is a number or a time that the column's type cannot hold.
    #[error("column \"{column}\": {found} is out of range, expected {expected}")]
    OutOfRange {
        /// The column.
        column: String,
        /// The value, shortened.
        found: String,
        /// What the column takes.
        expected: String,
    },
    /// The value has more digits after the point than the column keeps.
    #[error("column \"{column}\": {found} is too fine, expected {expected}")]
    TooFine {
        /// The column.
        column: String,
        /// The value, shortened.
        found: String,
        /// What the column takes.
        expected: String,
    },
    /// A string for a column with a time zone does not say its offset from UTC.
    #[error("column \"{column}\": {found} has no offset from UTC, expected {expected}")]
    MissingOffset {
        /// The column.
        column: String,
        /// The value, shortened.
        found: String,
        /// What the column takes.
        expected: String,
    },
    /// The text column of the batch in the making cannot take the value: Arrow offsets of Utf8 have 31 bits.
    #[error("column \"{column}\": the batch holds 2 GiB of text, finish it before this row")]
    ColumnFull {
        /// The column.
        column: String,
    },
    /// A message has nothing where its rows should be.
    #[error("nothing at \"{pointer}\", expected rows")]
    NoRows {
        /// The place of the rows.
        pointer: String,
    },
    /// What stands where a row should be is neither an object nor an array.
    #[error("found {found}, expected a row (a JSON object or array)")]
    NotARow {
        /// The value, shortened.
        found: String,
    },
    /// No column finds its value: it is another kind of message, and no row of nulls.
    #[error("none of the mapped fields is there")]
    NoFields,
    /// The message gives something twice that is looked for once.
    #[error("\"{pointer}\" is given twice in one message")]
    GivenTwice {
        /// The place.
        pointer: String,
    },
    /// A message has so many bad rows that the rest of it is refused unread.
    #[error("after {rows} bad rows in one message: the rest of it is not read")]
    TooManyBad {
        /// How many there were before.
        rows: usize,
    },
    /// A binary frame is not an acceptable Arrow IPC stream.
    #[error(transparent)]
    ArrowFrame(#[from] ArrowFault),
}

/// Why a whole binary frame was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ArrowFault {
    /// The bytes are not a whole Arrow IPC stream.
    #[error("not an Arrow IPC stream: {what}")]
    Malformed {
        /// What is wrong.
        what: String,
    },
    /// The frame lacks a declared column.
    #[error("column \"{column}\": missing in the Arrow frame, expected {expected}")]
    MissingColumn {
        /// The column.
        column: String,
        /// The declared type.
        expected: String,
    },
    /// The frame has a column that is not declared.
    #[error("column \"{column}\": found in the Arrow frame, but not declared")]
    UnknownColumn {
        /// The column.
        column: String,
    },
    /// The frame has a column twice.
    #[error("column \"{column}\": given twice in the Arrow frame")]
    DuplicateColumn {
        /// The column.
        column: String,
    },
    /// A column is of another type than the declared one.
    #[error("column \"{column}\": found type {found} in the Arrow frame, expected {expected}")]
    ColumnType {
        /// The column.
        column: String,
        /// The type in the frame.
        found: String,
        /// The declared type.
        expected: String,
    },
    /// A column that is NOT NULL has nulls.
    #[error(
        "column \"{column}\": {nulls} null values in the Arrow frame, expected none (the column is NOT NULL)"
    )]
    NullValues {
        /// The column.
        column: String,
        /// How many nulls the batch has.
        nulls: usize,
    },
    /// A value breaks the bounds of its declared type, such as a decimal of too many digits.
    #[error("column \"{column}\": a value in the Arrow frame is out of range, expected {expected}")]
    OutOfRange {
        /// The column.
        column: String,
        /// The declared type.
        expected: String,
    },
    /// The decoded batches would take more memory than allowed.
    #[error("the Arrow frame holds more than {limit} bytes when decoded")]
    TooLarge {
        /// The limit, bytes.
        limit: usize,
    },
}

impl Reason {
    /// The declared column at fault, where there is one.
    #[must_use]
    pub fn column(&self) -> Option<&str> {
        match self {
            Self::Syntax { .. }
            | Self::InvalidUtf8 { .. }
            | Self::TooDeep { .. }
            | Self::NotAnObject { .. }
            | Self::UnknownField { .. }
            | Self::NoRows { .. }
            | Self::NotARow { .. }
            | Self::NoFields
            | Self::TooManyBad { .. }
            | Self::GivenTwice { .. } => None,
            Self::DuplicateKey { column }
            | Self::MissingField { column, .. }
            | Self::NullValue { column, .. }
            | Self::WrongType { column, .. }
            | Self::OutOfRange { column, .. }
            | Self::TooFine { column, .. }
            | Self::MissingOffset { column, .. }
            | Self::ColumnFull { column } => Some(column),
            Self::ArrowFrame(fault) => fault.column(),
        }
    }
}

impl ArrowFault {
    /// The declared column at fault, where there is one.
    #[must_use]
    pub fn column(&self) -> Option<&str> {
        match self {
            Self::Malformed { .. } | Self::UnknownColumn { .. } | Self::TooLarge { .. } => None,
            Self::MissingColumn { column, .. }
            | Self::DuplicateColumn { column }
            | Self::ColumnType { column, .. }
            | Self::NullValues { column, .. }
            | Self::OutOfRange { column, .. } => Some(column),
        }
    }

    pub(crate) fn malformed(what: impl fmt::Display) -> Self {
        Self::Malformed { what: what.to_string() }
    }
}

/// The found text as a message shows it: one line, at most [`SHOWN`] bytes, cut between characters.
pub(crate) fn shown(text: &[u8]) -> String {
    let cut = &text[..text.len().min(SHOWN)];
    // A cut inside a character leaves up to three of its bytes: leave them out rather than show `U+FFFD`.
    let whole = match std::str::from_utf8(cut) {
        Err(error) if error.error_len().is_none() => &cut[..error.valid_up_to()],
        _ => cut,
    };
    let mut shown: String = String::from_utf8_lossy(whole)
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    if whole.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(shown(b"\"abc\""), "\"abc\"");
        assert_eq!(shown(&[b'x'; 41]), format!("{}…", "x".repeat(40)));
        let text = format!("{}é!", "x".repeat(39));
        assert_eq!(shown(text.as_bytes()), format!("{}…", "x".repeat(39)));
        assert_eq!(shown(b"[1,\n2]"), "[1, 2]");
    }
}
