//! What one record of the log holds: the rows of one group of frames.
//!
//! ```text
//! version u8 | generation u64 | place u64 | number u64 | length of producer u8 | producer
//!            | marks u8, each: number u64 | length of producer u8 | producer
//!            | frames u32, each: number u64 | rows u32
//!            | length of message u32 | message | body
//! ```
//!
//! Integers are little endian. Message and body are an Arrow IPC record batch; its schema is the stream's. Version 1 has
//! neither marks nor frames.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::read_record_batch;
use arrow::ipc::root_as_message;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use thiserror::Error;

use super::state::FrameRows;
use crate::wal::Payload;

const VERSION: u8 = 2;
/// Without marks and frames.
const FIRST_VERSION: u8 = 1;
/// Where the generation and the place stand, which are known last.
const GENERATION: std::ops::Range<usize> = 1..9;
const PLACE: std::ops::Range<usize> = 9..17;
/// Bytes that a producer's name may have.
pub const MAX_PRODUCER: usize = u8::MAX as usize;

/// Why a record cannot be written or read.
#[derive(Debug, Error)]
pub enum RecordError {
    #[error("a record of version {0} was written by a later version of Polarway")]
    Version(u8),
    #[error("a record ends too early")]
    Short,
    #[error("a record holds what no writer writes: {0}")]
    Malformed(&'static str),
    #[error("the name of a producer has more than {MAX_PRODUCER} bytes")]
    LongProducer,
    #[error("a record has more than {MAX_MARKS} marks: too many logs were not handed over")]
    Marks,
    #[error("the rows of a record cannot be encoded or decoded: {0}")]
    Rows(#[from] arrow::error::ArrowError),
}

/// Who sent a group of frames, and the number of its last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    pub producer: Arc<str>,
    pub number: u64,
}

/// Logs that a record may have gone through.
const MAX_MARKS: usize = u8::MAX as usize;

/// Where the rows of a record are from: what makes them known when they come again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    pub sender: Option<Sender>,
    /// The sender's frames, in order; unknown for a record of an earlier version.
    pub frames: Vec<FrameRows>,
    /// The logs of owners before this one that the record was in, and its number in each, the latest last.
    pub marks: Vec<Sender>,
}

impl Origin {
    /// Rows that a client sent to this process.
    pub fn sent(producer: Option<&Arc<str>>, frames: &[FrameRows]) -> Self {
        let Some(producer) = producer else { return Self::default() };
        let number = frames.last().map_or(0, |frame| frame.number);
        let sender = Sender { producer: Arc::clone(producer), number };
        Self { sender: Some(sender), frames: frames.to_vec(), marks: vec![] }
    }
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub generation: u64,
    /// Place of the first row in the stream.
    pub place: u64,
    pub origin: Origin,
    pub rows: RecordBatch,
}

/// A record whose place is not known yet, so that its rows are encoded before anybody waits for it.
#[derive(Debug)]
pub struct Draft {
    /// All before the body.
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Draft {
    pub fn new(rows: &RecordBatch, origin: &Origin) -> Result<Self, RecordError> {
        let Origin { sender, frames, marks } = origin;
        let mut of = Vec::with_capacity(64 + 12 * frames.len());
        match sender {
            Some(sender) => name(&mut of, sender)?,
            None => of.extend([0; 9]),
        }
        of.push(u8::try_from(marks.len()).map_err(|_| RecordError::Marks)?);
        for mark in marks {
            name(&mut of, mark)?;
        }
        let too_many = |_| RecordError::Malformed("more frames or rows than a record can count");
        of.extend(u32::try_from(frames.len()).map_err(too_many)?.to_le_bytes());
        for frame in frames {
            of.extend(frame.number.to_le_bytes());
            of.extend(u32::try_from(frame.rows).map_err(too_many)?.to_le_bytes());
        }
        let (_, encoded) = IpcDataGenerator::default().encode(
            rows,
            &mut DictionaryTracker::new(true),
            &IpcWriteOptions::default(),
            &mut IpcWriteContext::default(),
        )?;
        let message = u32::try_from(encoded.ipc_message.len())
            .map_err(|_| RecordError::Malformed("a message beyond 4 GiB"))?;
        let mut head = Vec::with_capacity(21 + of.len() + encoded.ipc_message.len());
        head.push(VERSION);
        head.extend([0; 16]);
        head.extend(of);
        head.extend(message.to_le_bytes());
        head.extend(encoded.ipc_message);
        Ok(Self { head, body: encoded.arrow_data })
    }

    /// Bytes of the record.
    pub fn size(&self) -> usize {
        self.head.len() + self.body.len()
    }

    pub fn placed(mut self, generation: u64, place: u64) -> Payload {
        if let Some(bytes) = self.head.get_mut(GENERATION) {
            bytes.copy_from_slice(&generation.to_le_bytes());
        }
        if let Some(bytes) = self.head.get_mut(PLACE) {
            bytes.copy_from_slice(&place.to_le_bytes());
        }
        Payload { head: self.head.into(), body: self.body.into() }
    }
}

impl Record {
    pub fn read(bytes: &[u8], schema: &SchemaRef) -> Result<Self, RecordError> {
        let mut rest = bytes;
        let [version] = take(&mut rest)?;
        if version != VERSION && version != FIRST_VERSION {
            return Err(RecordError::Version(version));
        }
        let generation = u64::from_le_bytes(take(&mut rest)?);
        let place = u64::from_le_bytes(take(&mut rest)?);
        let sender = named(&mut rest)?;
        let mut origin = Origin { sender, ..Origin::default() };
        if version != FIRST_VERSION {
            let [marks] = take(&mut rest)?;
            for _ in 0..marks {
                origin.marks.extend(named(&mut rest)?);
            }
            let frames = u32::from_le_bytes(take(&mut rest)?);
            for _ in 0..frames {
                let number = u64::from_le_bytes(take(&mut rest)?);
                let rows = u32::from_le_bytes(take(&mut rest)?) as usize;
                origin.frames.push(FrameRows { number, rows });
            }
        }
        let length = u32::from_le_bytes(take(&mut rest)?);
        let message = root_as_message(part(&mut rest, length as usize)?)
            .map_err(|_| RecordError::Malformed("a message that Arrow does not know"))?;
        // Arrow's reader takes it for granted.
        if message.bodyLength() != rest.len() as i64 {
            return Err(RecordError::Short);
        }
        let batch = message.header_as_record_batch().ok_or(RecordError::Malformed("no rows"))?;
        let rows = read_record_batch(
            &Buffer::from(rest),
            batch,
            Arc::clone(schema),
            &HashMap::new(),
            None,
            &message.version(),
        )?;
        Ok(Self { generation, place, origin, rows })
    }
}

fn name(bytes: &mut Vec<u8>, Sender { producer, number }: &Sender) -> Result<(), RecordError> {
    bytes.extend(number.to_le_bytes());
    bytes.push(u8::try_from(producer.len()).map_err(|_| RecordError::LongProducer)?);
    bytes.extend(producer.as_bytes());
    Ok(())
}

/// None where there is no name.
fn named(rest: &mut &[u8]) -> Result<Option<Sender>, RecordError> {
    let number = u64::from_le_bytes(take(rest)?);
    let [length] = take(rest)?;
    let producer = std::str::from_utf8(part(rest, length as usize)?)
        .map_err(|_| RecordError::Malformed("a producer that is not text"))?;
    Ok((!producer.is_empty()).then(|| Sender { producer: producer.into(), number }))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], RecordError> {
    let (taken, left) = rest.split_first_chunk::<N>().ok_or(RecordError::Short)?;
    *rest = left;
    Ok(*taken)
}

fn part<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], RecordError> {
    let (taken, left) = rest.split_at_checked(length).ok_or(RecordError::Short)?;
    *rest = left;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hot::samples::{rows, schema};

    fn sent() -> Origin {
        let frames = [FrameRows { number: 41, rows: 3 }, FrameRows { number: 42, rows: 2 }];
        Origin::sent(Some(&"a producer".into()), &frames)
    }

    #[test]
    fn a_record_reads_back() {
        let mark = |producer: &str, number| Sender { producer: producer.into(), number };
        let handed = Origin { marks: vec![mark("log 1", 7), mark("log 3", 1)], ..sent() };
        let alone = Origin { sender: None, frames: vec![], ..handed.clone() };
        for (origin, count) in [(Origin::default(), 3), (sent(), 1000), (sent(), 0), (handed, 5), (alone, 0)]
        {
            let rows = rows(10, count);
            let bytes = Draft::new(&rows, &origin).unwrap().placed(7, 1 << 40).to_vec();
            let record = Record::read(&bytes, &schema()).unwrap();
            assert_eq!(record, Record { generation: 7, place: 1 << 40, origin, rows });
        }
    }

    #[test]
    fn a_record_of_the_first_version_is_read() {
        let bytes = Draft::new(&rows(0, 5), &sent()).unwrap().placed(1, 2).to_vec();
        // Marks and frames, of which there are two, stand behind the name.
        let (before, after) = (26 + "a producer".len(), 26 + "a producer".len() + 5 + 2 * 12);
        let mut first = [&bytes[..before], &bytes[after..]].concat();
        first[0] = FIRST_VERSION;
        let record = Record::read(&first, &schema()).unwrap();
        assert_eq!(record.origin, Origin { frames: vec![], ..sent() });
        assert_eq!((record.place, record.rows), (2, rows(0, 5)));
    }

    /// What is a slice of something large is written alone.
    #[test]
    fn only_the_groups_own_rows_are_written() {
        let slice = rows(0, 100_000).slice(50_000, 10);
        let bytes = Draft::new(&slice, &Origin::default()).unwrap().placed(0, 0).to_vec();
        assert!(bytes.len() < 2000, "{} bytes", bytes.len());
        assert_eq!(Record::read(&bytes, &schema()).unwrap().rows, slice);
    }

    #[test]
    fn a_long_name_is_refused() {
        let sender = Sender { producer: "p".repeat(256).into(), number: 1 };
        let origin = Origin { sender: Some(sender), ..Origin::default() };
        assert!(matches!(Draft::new(&rows(0, 1), &origin), Err(RecordError::LongProducer)));
    }

    proptest! {
        /// The log's checksums find damage first; this is about what passed them.
        #[test]
        fn damage_is_an_error_and_not_a_panic(cut in 0usize..400, at in 0usize..60, with: u8) {
            let whole = Draft::new(&rows(0, 5), &sent()).unwrap().placed(1, 2).to_vec();
            let short = &whole[..cut.min(whole.len() - 1)];
            prop_assert!(Record::read(short, &schema()).is_err());
            let mut changed = whole;
            changed[at] ^= with;
            let _ = Record::read(&changed, &schema());
        }
    }
}
