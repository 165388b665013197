//! From a group of frames to rows.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use super::dead::DeadLetters;
use crate::decode::{ArrowFrames, BadRow, BadRows, DecodeOptions, Decoder, Reason, UnsupportedType};
use crate::socket::Frame;
use crate::stream::FrameRows;

/// The rows of a group, and those that were refused.
#[derive(Debug)]
pub struct Decoded {
    pub rows: RecordBatch,
    /// One entry a frame, in their order.
    pub frames: Vec<FrameRows>,
    pub dead: DeadLetters,
}

/// Decodes the frames of one connection.
#[derive(Debug)]
pub struct GroupDecoder {
    schema: SchemaRef,
    text: Decoder,
    binary: ArrowFrames,
}

impl GroupDecoder {
    /// A binary frame may hold so many bytes of rows once it is decoded.
    ///
    /// # Errors
    /// When the schema has a column of a type that frames cannot carry.
    pub fn new(schema: SchemaRef, options: DecodeOptions, limit: usize) -> Result<Self, UnsupportedType> {
        Ok(Self {
            text: Decoder::new(Arc::clone(&schema), options)?,
            binary: ArrowFrames::new(Arc::clone(&schema), limit)?,
            schema,
        })
    }

    /// Rows come in the order of the frames and of the rows in them.
    ///
    /// # Errors
    /// When the rows of the group cannot be put together: more than 2 GiB of text in one column.
    pub fn decode(&mut self, frames: &[Frame], mut dead: DeadLetters) -> Result<Decoded, ArrowError> {
        let mut batches = vec![];
        let mut counts = Vec::with_capacity(frames.len());
        for frame in frames {
            dead.frame(frame.number);
            let rows = if frame.binary {
                // What came before it as text has to stand before it.
                batches.extend(self.flush()?);
                self.binary_rows(&frame.payload, &mut dead, &mut batches)
            } else {
                self.text.push(&frame.payload, &mut dead).rows
            };
            counts.push(FrameRows { number: frame.number, rows });
        }
        batches.extend(self.flush()?);
        let rows = match batches.as_slice() {
            [one] => one.clone(),
            all => concat_batches(&self.schema, all)?,
        };
        Ok(Decoded { rows, frames: counts, dead })
    }

    fn flush(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        if self.text.is_empty() { Ok(None) } else { self.text.finish().map(Some) }
    }

    fn binary_rows(&self, payload: &[u8], dead: &mut DeadLetters, batches: &mut Vec<RecordBatch>) -> usize {
        match self.binary.decode(payload) {
            Ok(found) => {
                let rows = found.iter().map(RecordBatch::num_rows).sum();
                batches.extend(found);
                rows
            }
            Err(fault) => {
                let reason = Reason::from(fault);
                let column = reason.column().map(str::to_owned);
                dead.bad(BadRow { reason, column: column.as_deref(), bytes: payload });
                0
            }
        }
    }
}
