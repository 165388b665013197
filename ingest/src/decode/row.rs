//! One JSON object becomes one row.

use arrow::array::ArrayRef;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;

use super::columns::{Column, Refusal};
use super::cursor::{Broken, Cursor};
use super::fault::{Reason, shown};
use super::keys::Keys;
use super::options::UnknownFields;
use super::schema::{self, UnsupportedType};

/// The columns, and what reading a row into them needs.
#[derive(Debug)]
pub(crate) struct Rows {
    columns: Vec<Column>,
    keys: Keys,
    unknown_fields: UnknownFields,
    /// For each column the number of the last row that gave it: a second time is a duplicate. Row numbers never
    /// return, so that nothing must be cleared between rows.
    given: Vec<u64>,
    row: u64,
    /// Holds keys and strings with escapes.
    scratch: Vec<u8>,
    /// Good rows held.
    len: usize,
    /// The held bytes of a row without its strings.
    row_bytes: usize,
    /// Rows and characters of the last batch: the next will be about as large.
    last: Option<(usize, Vec<usize>)>,
}

impl Rows {
    pub fn new(schema: &Schema, unknown_fields: UnknownFields) -> Result<Self, UnsupportedType> {
        let columns = schema::columns(schema)?;
        Ok(Self {
            keys: Keys::new(columns.iter().map(Column::name)),
            unknown_fields,
            given: vec![0; columns.len()],
            row: 0,
            scratch: Vec::new(),
            len: 0,
            row_bytes: columns.iter().map(Column::row_bytes).sum(),
            last: None,
            columns,
        })
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn bytes(&self) -> usize {
        self.len * self.row_bytes + self.columns.iter().map(Column::text_bytes).sum::<usize>()
    }

    /// Reads the value at the cursor as one row. After `Ok` the cursor stands behind the value, and the inner
    /// error says why the row is bad; after `Err` the bytes are not JSON. The columns keep good rows only.
    pub fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<Result<(), Reason>, Broken> {
        if self.len == 0 {
            self.make_room();
        }
        let before = self.len;
        let end = self.read_value(cursor);
        match end {
            Ok(Ok(())) => self.len += 1,
            _ => self.truncate(before),
        }
        end
    }

    /// Takes back the rows after the first `len`.
    #[cold]
    pub fn truncate(&mut self, len: usize) {
        for column in &mut self.columns {
            column.truncate(len);
        }
        self.len = len;
    }

    /// Takes the rows out, one array a column.
    pub fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        self.last = Some((self.len, self.columns.iter().map(Column::text_bytes).collect()));
        self.len = 0;
        self.columns.iter_mut().map(Column::finish).collect()
    }

    /// Room for a batch like the last one, asked for only when a row comes: an idle stream holds nothing.
    fn make_room(&mut self) {
        if let Some((rows, texts)) = self.last.take() {
            for (column, text_bytes) in self.columns.iter_mut().zip(texts) {
                column.reserve(rows, text_bytes);
            }
        }
    }

    fn read_value(&mut self, cursor: &mut Cursor<'_>) -> Result<Result<(), Reason>, Broken> {
        if cursor.peek() != Some(b'{') {
            let start = cursor.at();
            cursor.value(&mut self.scratch)?;
            return Ok(Err(Reason::NotAnObject { found: shown(cursor.since(start)) }));
        }
        cursor.step();
        self.row += 1;
        self.keys.start_row();
        let mut missing = self.columns.len();
        let mut fault = None;
        if cursor.peek() == Some(b'}') {
            cursor.step();
        } else {
            loop {
                // The first fault is the one told; the rest of the row is read for its end only.
                match self.field(cursor)? {
                    Ok(filled) => missing -= usize::from(filled),
                    Err(reason) => fault = fault.or(Some(reason)),
                }
                match cursor.peek() {
                    Some(b',') => cursor.step(),
                    Some(b'}') => break cursor.step(),
                    _ => return cursor.unexpected("',' or '}'"),
                }
            }
        }
        Ok(match fault {
            Some(reason) => Err(*reason),
            None if missing > 0 => self.fill_missing(),
            None => Ok(()),
        })
    }

    /// One key and its value; true where a column was filled. A reason is boxed to keep the common answer small.
    #[inline]
    fn field(&mut self, cursor: &mut Cursor<'_>) -> Result<Result<bool, Box<Reason>>, Broken> {
        let column = match self.keys.expected() {
            Some((column, key)) if cursor.peek().is_some() && cursor.take_pattern(key) => {
                self.keys.hit(column);
                Some(column)
            }
            _ => {
                let key = cursor.key(&mut self.scratch)?;
                match self.keys.find(key) {
                    None if self.unknown_fields == UnknownFields::Reject => {
                        let reason = Reason::UnknownField { field: shown(key) };
                        cursor.value(&mut self.scratch)?;
                        return Ok(Err(Box::new(reason)));
                    }
                    found => found,
                }
            }
        };
        cursor.peek();
        let start = cursor.at();
        let token = cursor.value(&mut self.scratch)?;
        let Some(index) = column else { return Ok(Ok(false)) };
        let (Some(column), Some(given)) = (self.columns.get_mut(index), self.given.get_mut(index)) else {
            return Ok(Ok(false));
        };
        if std::mem::replace(given, self.row) == self.row {
            return Ok(Err(Box::new(Reason::DuplicateKey { column: column.name().to_owned() })));
        }
        match column.append(&token) {
            Ok(()) => Ok(Ok(true)),
            Err(refusal) => Ok(Err(Box::new(column.reason(refusal, cursor.since(start))))),
        }
    }

    /// A field that is not in the row is null, in the order of the columns.
    fn fill_missing(&mut self) -> Result<(), Reason> {
        for (column, given) in self.columns.iter_mut().zip(&self.given) {
            if *given == self.row {
                continue;
            }
            match column.append_null() {
                Ok(()) => {}
                Err(Refusal::Null) => {
                    let (column, expected) = (column.name().to_owned(), column.expected());
                    return Err(Reason::MissingField { column, expected });
                }
                Err(refusal) => return Err(column.reason(refusal, b"")),
            }
        }
        Ok(())
    }
}
