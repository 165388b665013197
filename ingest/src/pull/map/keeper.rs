//! The columns of the batch in the making.

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use super::filler::{Filled, Filler, Values};
use crate::decode::{Column, Reason};

/// Columns, and how each is filled. They hold good rows only.
#[derive(Debug)]
pub(super) struct Keeper {
    schema: SchemaRef,
    columns: Vec<(Column, Filler)>,
    /// Some column is filled from the row.
    needs_row: bool,
    len: usize,
    /// The held bytes of a row without its strings.
    row_bytes: usize,
    /// Rows and characters of the last batch: the next will be about as large.
    last: Option<(usize, Vec<usize>)>,
}

impl Keeper {
    pub fn new(schema: SchemaRef, columns: Vec<(Column, Filler)>) -> Self {
        let row_bytes = columns.iter().map(|(column, _)| column.row_bytes()).sum();
        let needs_row = columns.iter().any(|(_, filler)| filler.is_of_row());
        Self { schema, columns, needs_row, len: 0, row_bytes, last: None }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn bytes(&self) -> usize {
        self.len * self.row_bytes + self.columns.iter().map(|(column, _)| column.text_bytes()).sum::<usize>()
    }

    /// Appends a row, or says why it is bad.
    pub fn row(&mut self, values: Values<'_>, scratch: &mut Vec<u8>) -> Result<(), Box<Reason>> {
        if let Some((rows, texts)) = self.last.take() {
            for ((column, _), text_bytes) in self.columns.iter_mut().zip(texts) {
                column.reserve(rows, text_bytes);
            }
        }
        let filled = self.fill(values, scratch);
        match filled {
            Ok(()) => self.len += 1,
            Err(_) => self.columns.iter_mut().for_each(|(column, _)| column.truncate(self.len)),
        }
        filled
    }

    fn fill(&mut self, values: Values<'_>, scratch: &mut Vec<u8>) -> Result<(), Box<Reason>> {
        let mut from_row = !self.needs_row;
        for (column, filler) in &mut self.columns {
            from_row |= filler.fill(column, values, scratch)? == Filled::FromRow;
        }
        // Without this a message of another kind would become a row of nulls.
        if from_row { Ok(()) } else { Err(Box::new(Reason::NoFields)) }
    }

    /// Takes the rows out as one batch.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let options = RecordBatchOptions::new().with_row_count(Some(self.len));
        if self.len > 0 {
            self.last =
                Some((self.len, self.columns.iter().map(|(column, _)| column.text_bytes()).collect()));
        }
        self.len = 0;
        let columns = self.columns.iter_mut().map(|(column, _)| column.finish()).collect::<Result<_, _>>()?;
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
    }
}
