//! Messages that came together, on their way into one batch.

use arrow::error::ArrowError;

use super::batch::{FeedBatch, Refused};
use super::gap::Gap;
use super::map::{Mapped, Mapper};
use super::options::PullOptions;
use super::session::Sequences;

/// A batch as it grows.
#[derive(Debug)]
pub(super) struct Gather {
    mapper: Mapper,
    sequences: Sequences,
    refused: Refused,
    gaps: Vec<Gap>,
    messages: usize,
    batches: u64,
}

impl Gather {
    pub fn new(mapper: Mapper) -> Self {
        Self {
            mapper,
            sequences: Sequences::default(),
            refused: Refused::default(),
            gaps: Vec::new(),
            messages: 0,
            batches: 0,
        }
    }

    /// Adds a message that came at this time.
    pub fn message(&mut self, message: &[u8], micros: i64) -> Mapped {
        self.messages += 1;
        let (sequences, gaps) = (&mut self.sequences, &mut self.gaps);
        self.mapper.push(message, &mut self.refused, &mut |key, value| {
            gaps.extend(sequences.see(key, value, micros));
        })
    }

    /// Counts a ping or a pong, so that a flood of them ends a batch too.
    pub fn control(&mut self) {
        self.messages += 1;
    }

    pub fn gap(&mut self, gap: Gap) {
        self.gaps.push(gap);
    }

    /// The numbers begin anew.
    pub fn forget_sequences(&mut self) {
        self.sequences.clear();
    }

    /// Whether another message may join.
    pub fn has_room(&self, options: &PullOptions) -> bool {
        self.messages < options.batch_messages
            && self.mapper.len() + self.refused.rows.len() + self.gaps.len() < options.batch_rows
            && self.mapper.bytes() + self.refused.bytes < options.batch_bytes
    }

    /// Takes what has come; nothing where nothing has.
    pub fn take(&mut self, received_micros: i64) -> Result<Option<FeedBatch>, ArrowError> {
        self.messages = 0;
        if self.mapper.is_empty() && self.refused.rows.is_empty() && self.gaps.is_empty() {
            return Ok(None);
        }
        self.batches += 1;
        Ok(Some(FeedBatch {
            number: self.batches,
            received_micros,
            rows: self.mapper.finish()?,
            bad: std::mem::take(&mut self.refused).rows.into(),
            gaps: std::mem::take(&mut self.gaps).into(),
        }))
    }
}
