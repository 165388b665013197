//! What is stored of one output beside its bytes: where they are, and their checksums.
//!
//! A record is at the end of the last object that has bytes of its output, so that it exists only after all of
//! them. Where it is, and its own checksum, is in the output's [`crate::shuffle::Entry`].

use std::ops::Range;

use bytes::Bytes;
use prost::Message;
use thiserror::Error;

use super::output::{FileKind, FileName, Output};

/// The longest segment, in bytes: what is read at least to verify a byte.
pub const MAX_SEGMENT: u64 = 4 << 20;

const VERSION: u32 = 1;

/// Why a record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    #[error("the record has the checksum {found:08x} and should have {expected:08x}")]
    Checksum { expected: u32, found: u32 },
    #[error("the record has the version {0}, which this one cannot read")]
    Version(u32),
    #[error("the record has no meaning: {0}")]
    Malformed(String),
}

/// Consecutive bytes of a file that have one checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it is in the file, in bytes.
    pub start: u64,
    /// The sequence number of the object, see [`crate::shuffle::ObjectName`].
    pub object: u32,
    /// Where it is in the object, in bytes.
    pub offset: u64,
    /// In bytes, at least one and at most [`MAX_SEGMENT`].
    pub length: u64,
    /// CRC-32C of its bytes.
    pub crc: u32,
}

impl Segment {
    /// Its bytes in the object.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.length
    }
}

/// A file of a stored output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    pub name: FileName,
    /// In bytes.
    pub length: u64,
    /// In the order of the file's bytes, which they cover without gaps.
    pub segments: Vec<Segment>,
}

impl StoredFile {
    /// The segments that have bytes of a range of the file. What of the range is beyond its end has none.
    pub fn covering(&self, range: &Range<u64>) -> &[Segment] {
        if range.is_empty() {
            return &[];
        }
        let first = self.segments.partition_point(|segment| segment.start + segment.length <= range.start);
        let end = self.segments.partition_point(|segment| segment.start < range.end);
        self.segments.get(first..end).unwrap_or_default()
    }
}

/// All that a reader needs to know of a stored output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub memo: Option<[u8; 16]>,
    pub summary: Bytes,
    pub files: Vec<StoredFile>,
}

impl Record {
    pub fn file(&self, name: FileName) -> Option<&StoredFile> {
        self.files.iter().find(|file| file.name == name)
    }

    /// The bytes that are stored; their CRC-32C is kept elsewhere.
    pub fn encode(&self) -> Vec<u8> {
        wire::Record {
            version: VERSION,
            memo: self.memo.map(|memo| memo.to_vec().into()),
            summary: self.summary.clone(),
            files: self.files.iter().map(wire::File::from).collect(),
        }
        .encode_to_vec()
    }

    /// # Errors
    /// [`RecordError::Checksum`] if these are not the bytes that were stored, [`RecordError::Version`] if another
    /// version wrote them, [`RecordError::Malformed`] if they are not of a record that could have been written.
    pub fn decode(bytes: &[u8], crc: u32) -> Result<Self, RecordError> {
        let found = crc32c::crc32c(bytes);
        if found != crc {
            return Err(RecordError::Checksum { expected: crc, found });
        }
        let record = wire::Record::decode(bytes).map_err(|error| malformed(error.to_string()))?;
        if record.version != VERSION {
            return Err(RecordError::Version(record.version));
        }
        let memo = record.memo.map(|memo| {
            memo.as_ref().try_into().map_err(|_| malformed(format!("a memo of {} bytes", memo.len())))
        });
        Ok(Self {
            memo: memo.transpose()?,
            summary: record.summary,
            files: record.files.into_iter().map(StoredFile::try_from).collect::<Result<_, _>>()?,
        })
    }
}

/// The most bytes that the record of an output can have if its files are in this many segments.
pub(super) fn longest(output: &Output, segments: usize) -> u64 {
    // A tag, a length, and the longest numbers of each message, rounded up.
    const FIXED: usize = 64;
    const FILE: usize = 40;
    const SEGMENT: usize = 40;
    let numbers = output.files.len() * FILE + segments * SEGMENT;
    (FIXED + output.summary.len() + numbers) as u64
}

fn malformed(detail: impl Into<String>) -> RecordError {
    RecordError::Malformed(detail.into())
}

impl From<&StoredFile> for wire::File {
    fn from(file: &StoredFile) -> Self {
        let kind = match file.name.kind {
            FileKind::Data => wire::DATA,
            FileKind::Index => wire::INDEX,
        };
        let segments = file.segments.iter().map(|segment| wire::Segment {
            object: segment.object,
            offset: segment.offset,
            length: segment.length,
            crc: segment.crc,
        });
        Self { partition: file.name.partition, kind, length: file.length, segments: segments.collect() }
    }
}

impl TryFrom<wire::File> for StoredFile {
    type Error = RecordError;

    fn try_from(file: wire::File) -> Result<Self, RecordError> {
        let kind = match file.kind {
            wire::DATA => FileKind::Data,
            wire::INDEX => FileKind::Index,
            other => return Err(malformed(format!("a file of kind {other}"))),
        };
        let mut start = 0_u64;
        let mut segments = Vec::with_capacity(file.segments.len());
        for wire::Segment { object, offset, length, crc } in file.segments {
            if length == 0 || length > MAX_SEGMENT || offset.checked_add(length).is_none() {
                return Err(malformed(format!("a segment of {length} bytes")));
            }
            segments.push(Segment { start, object, offset, length, crc });
            start = start.checked_add(length).ok_or_else(|| malformed("a file without end"))?;
        }
        if start != file.length {
            return Err(malformed(format!("segments of {start} bytes for a file of {}", file.length)));
        }
        Ok(Self { name: FileName { partition: file.partition, kind }, length: file.length, segments })
    }
}

/// What is stored, in Protocol Buffers. Numbers of fields keep their meaning; what changes it raises the version.
mod wire {
    use bytes::Bytes;
    use prost::Message;

    pub(super) const DATA: u32 = 0;
    pub(super) const INDEX: u32 = 1;

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Record {
        #[prost(uint32, tag = "1")]
        pub(super) version: u32,
        #[prost(bytes = "bytes", optional, tag = "2")]
        pub(super) memo: Option<Bytes>,
        #[prost(bytes = "bytes", tag = "3")]
        pub(super) summary: Bytes,
        #[prost(message, repeated, tag = "4")]
        pub(super) files: Vec<File>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct File {
        #[prost(uint32, optional, tag = "1")]
        pub(super) partition: Option<u32>,
        #[prost(uint32, tag = "2")]
        pub(super) kind: u32,
        #[prost(uint64, tag = "3")]
        pub(super) length: u64,
        #[prost(message, repeated, tag = "4")]
        pub(super) segments: Vec<Segment>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Segment {
        #[prost(uint32, tag = "1")]
        pub(super) object: u32,
        #[prost(uint64, tag = "2")]
        pub(super) offset: u64,
        #[prost(uint64, tag = "3")]
        pub(super) length: u64,
        #[prost(fixed32, tag = "4")]
        pub(super) crc: u32,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn file() -> impl Strategy<Value = StoredFile> {
        let segment = (any::<u32>(), 0..u64::MAX / 2, 1..=MAX_SEGMENT, any::<u32>());
        (any::<Option<u32>>(), any::<bool>(), vec(segment, 0..20)).prop_map(|(partition, data, parts)| {
            let kind = if data { FileKind::Data } else { FileKind::Index };
            let mut start = 0;
            let mut segments = Vec::new();
            for (object, offset, length, crc) in parts {
                segments.push(Segment { start, object, offset, length, crc });
                start += length;
            }
            StoredFile { name: FileName { partition, kind }, length: start, segments }
        })
    }

    fn record() -> impl Strategy<Value = Record> {
        (any::<Option<[u8; 16]>>(), vec(any::<u8>(), 0..50), vec(file(), 0..4))
            .prop_map(|(memo, summary, files)| Record { memo, summary: summary.into(), files })
    }

    fn output_of(record: &Record) -> Output {
        let id = super::super::OutputId { run: "q".into(), attempt: 1, stage: 0, task: 0 };
        let files = record.files.iter().map(|file| super::super::OutputFile {
            name: file.name,
            path: "f".into(),
            length: file.length,
            cuts: Vec::new(),
        });
        let (memo, summary) = (record.memo, record.summary.clone());
        Output { id, memo, summary, files: files.collect() }
    }

    proptest! {
        #[test]
        fn a_record_reads_back_and_is_no_longer_than_said(record in record()) {
            let bytes = record.encode();
            let segments = record.files.iter().map(|file| file.segments.len()).sum();
            prop_assert!(bytes.len() as u64 <= longest(&output_of(&record), segments));
            prop_assert_eq!(Record::decode(&bytes, crc32c::crc32c(&bytes)), Ok(record));
        }

        #[test]
        fn a_changed_bit_is_noticed(record in record(), at: prop::sample::Index, bit in 0..8_u32) {
            let mut bytes = record.encode();
            let crc = crc32c::crc32c(&bytes);
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            let noticed = matches!(Record::decode(&bytes, crc), Err(RecordError::Checksum { .. }));
            prop_assert!(noticed);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..100)) {
            let _ = Record::decode(&bytes, crc32c::crc32c(&bytes));
        }

        #[test]
        fn exactly_the_segments_of_a_range_cover_it(file in file(), a: prop::sample::Index, b: prop::sample::Index) {
            let (a, b) = (a.index(file.length as usize + 2) as u64, b.index(file.length as usize + 2) as u64);
            let range = a.min(b)..a.max(b);
            let expected: Vec<Segment> = file
                .segments
                .iter()
                .filter(|s| !range.is_empty() && s.start < range.end && range.start < s.start + s.length)
                .copied()
                .collect();
            prop_assert_eq!(file.covering(&range), expected.as_slice());
        }
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        let segment = |length| wire::Segment { object: 0, offset: 0, length, crc: 0 };
        let record = |version, memo: Option<&'static [u8]>, kind, length, segments| wire::Record {
            version,
            memo: memo.map(Bytes::from_static),
            files: vec![wire::File { partition: None, kind, length, segments }],
            ..wire::Record::default()
        };
        let decode = |record: wire::Record| {
            let bytes = record.encode_to_vec();
            Record::decode(&bytes, crc32c::crc32c(&bytes))
        };
        assert!(decode(record(1, None, wire::DATA, 5, vec![segment(2), segment(3)])).is_ok());
        assert_eq!(decode(record(2, None, wire::DATA, 0, vec![])), Err(RecordError::Version(2)));
        for wrong in [
            record(1, Some(b"short"), wire::DATA, 0, vec![]),
            record(1, None, 7, 0, vec![]),
            record(1, None, wire::DATA, 6, vec![segment(2), segment(3)]),
            record(1, None, wire::DATA, 2, vec![segment(2), segment(0)]),
            record(1, None, wire::DATA, MAX_SEGMENT + 1, vec![segment(MAX_SEGMENT + 1)]),
        ] {
            assert!(matches!(decode(wrong.clone()), Err(RecordError::Malformed(_))), "{wrong:?}");
        }
    }
}
