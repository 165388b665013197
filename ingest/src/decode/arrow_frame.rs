//! The decoder of binary frames: a whole Arrow IPC stream in each.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::cast::AsArray;
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::Decimal128Type;
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::ipc::reader::read_record_batch;

use super::fault::ArrowFault;
use super::ipc_message::{Header, Message, Messages, decoded_bytes};
use super::ipc_schema;
use super::schema::{self, UnsupportedType};

/// Decodes frames that hold an Arrow IPC stream (a schema and its batches) into batches of one declared schema.
///
/// The columns must have the declared names, in any order, and exactly the declared types; LargeUtf8 and Utf8View
/// are taken for Utf8. Dictionaries are refused. A frame is good as a whole or bad as a whole.
#[derive(Debug)]
pub struct ArrowFrames {
    schema: SchemaRef,
    /// What the batches of one frame may take when decoded, bytes.
    limit: usize,
}

impl ArrowFrames {
    /// A decoder for frames whose batches together take at most `limit` bytes when decoded.
    ///
    /// # Errors
    /// [`UnsupportedType`] as for [`Decoder::new`](super::Decoder::new).
    pub fn new(schema: SchemaRef, limit: usize) -> Result<Self, UnsupportedType> {
        schema::columns(&schema)?;
        Ok(Self { schema, limit })
    }

    /// The schema of the batches.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The batches of a frame.
    ///
    /// # Errors
    /// [`ArrowFault`] says why the whole frame is bad.
    pub fn decode(&self, frame: &[u8]) -> Result<Vec<RecordBatch>, ArrowFault> {
        let mut messages = Messages::new(frame);
        let first = messages.next().ok_or_else(|| ArrowFault::malformed("no schema"))??;
        let Header::Schema(found) = first.header else {
            return Err(ArrowFault::malformed("the first message is no schema"));
        };
        let found: SchemaRef = Arc::new(ipc_schema::schema(found, &self.schema)?);
        let mut left = self.limit;
        let mut batches = Vec::new();
        for message in messages {
            let batch = self.read(&message?, &found, &mut left)?;
            batches.push(self.conform(&batch, &mut left)?);
        }
        Ok(batches)
    }

    /// The batch of one message, in the schema of the frame.
    fn read(
        &self,
        message: &Message<'_>,
        found: &SchemaRef,
        left: &mut usize,
    ) -> Result<RecordBatch, ArrowFault> {
        let Header::Batch(header) = message.header else {
            return Err(ArrowFault::malformed("a second schema"));
        };
        // The sizes are checked before Arrow reads anything: it allocates what the frame claims.
        let bytes = decoded_bytes(header, message.body, found, *left)?;
        self.take(bytes, left)?;
        let body = Buffer::from(message.body);
        read_record_batch(&body, header, found.clone(), &HashMap::new(), None, &message.version)
            .map_err(ArrowFault::malformed)
    }

    fn take(&self, bytes: usize, left: &mut usize) -> Result<(), ArrowFault> {
        *left = left.checked_sub(bytes).ok_or(ArrowFault::TooLarge { limit: self.limit })?;
        Ok(())
    }

    /// The batch in the declared order and types.
    fn conform(&self, batch: &RecordBatch, left: &mut usize) -> Result<RecordBatch, ArrowFault> {
        let mut columns = Vec::with_capacity(self.schema.fields().len());
        for field in self.schema.fields() {
            let array = batch.column_by_name(field.name()).ok_or_else(|| missing(field))?;
            if !field.is_nullable() && array.null_count() > 0 {
                return Err(ArrowFault::NullValues {
                    column: field.name().clone(),
                    nulls: array.null_count(),
                });
            }
            if let DataType::Decimal128(precision, _) = field.data_type() {
                array
                    .as_primitive::<Decimal128Type>()
                    .validate_decimal_precision(*precision)
                    .map_err(|_| out_of_range(field))?;
            }
            columns.push(match field.data_type() {
                DataType::Utf8 => self.utf8(array, field, left)?,
                _ => array.clone(),
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(ArrowFault::malformed)
    }

    /// The strings as Utf8, whichever way the frame holds them.
    fn utf8(&self, array: &ArrayRef, field: &Field, left: &mut usize) -> Result<ArrayRef, ArrowFault> {
        if let Some(large) = array.as_string_opt::<i64>() {
            let offsets: Result<Vec<i32>, _> =
                large.offsets().iter().map(|&offset| i32::try_from(offset)).collect();
            let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets.map_err(|_| out_of_range(field))?));
            let array = StringArray::try_new(offsets, large.values().clone(), large.nulls().cloned());
            return Ok(Arc::new(array.map_err(ArrowFault::malformed)?));
        }
        if let Some(views) = array.as_string_view_opt() {
            // Many views may show the same bytes: a small frame can stand for a very long column.
            let bytes = views.lengths().fold(0_usize, |sum, length| sum.saturating_add(length as usize));
            self.take(bytes, left)?;
            if i32::try_from(bytes).is_err() {
                return Err(out_of_range(field));
            }
            return Ok(Arc::new(views.iter().collect::<StringArray>()));
        }
        Ok(array.clone())
    }
}

fn missing(field: &Field) -> ArrowFault {
    ArrowFault::MissingColumn { column: field.name().clone(), expected: field.data_type().to_string() }
}

fn out_of_range(field: &Field) -> ArrowFault {
    ArrowFault::OutOfRange { column: field.name().clone(), expected: field.data_type().to_string() }
}
