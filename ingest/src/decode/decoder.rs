//! The decoder of text frames.

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use super::fault::BadRows;
use super::frame::{self, Pushed};
use super::options::DecodeOptions;
use super::row::Rows;
use super::schema::UnsupportedType;

/// Decodes frames of JSON text into record batches of one schema.
///
/// The same frames give the same rows and the same faults, whatever was pushed before; the one exception is
/// [`Reason::ColumnFull`](super::Reason::ColumnFull), far beyond any sensible batch.
#[derive(Debug)]
pub struct Decoder {
    schema: SchemaRef,
    rows: Rows,
}

impl Decoder {
    /// A decoder without rows.
    ///
    /// # Errors
    /// [`UnsupportedType`] names the first column that cannot be decoded.
    pub fn new(schema: SchemaRef, options: DecodeOptions) -> Result<Self, UnsupportedType> {
        let rows = Rows::new(&schema, options.unknown_fields)?;
        Ok(Self { schema, rows })
    }

    /// The schema of the batches.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Appends the good rows of a frame (one object, an array of objects, or one object a line) and gives the bad
    /// ones to `bad`. A frame without rows is no fault.
    pub fn push(&mut self, frame: &[u8], bad: &mut dyn BadRows) -> Pushed {
        frame::read(frame, &mut self.rows, bad)
    }

    /// How many rows are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True where no row is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// About how many bytes the held rows take. It counts values, not reserved room, so that the same rows always
    /// give the same number.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rows.bytes()
    }

    /// Takes the held rows as one batch. The decoder is empty afterwards and makes room for a batch of the same
    /// size when the next row comes.
    ///
    /// # Errors
    /// None in practice: the columns are built to fit the schema. Arrow checks them once more, and that check is
    /// handed on rather than hidden.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows.len()));
        let columns = self.rows.finish()?;
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
    }
}
