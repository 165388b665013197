//! The bytes of an object, read from local files.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::sync::Arc;

use super::output::{Output, OutputFile};
use super::plan::{Pack, Piece};
use super::record::{Record, Segment, StoredFile};

/// A pack on its way, object by object.
#[derive(Debug)]
pub(super) struct Assembly {
    pack: Arc<Pack>,
    /// Segments of each file of each output, as far as they have been read.
    segments: Vec<Vec<Vec<Segment>>>,
}

/// Where the record of an output is in the last object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordPlace {
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) crc: u32,
}

/// A file that cannot be read, and which output of the pack has it.
#[derive(Debug)]
pub(super) struct Unreadable {
    pub(super) output: usize,
    pub(super) file: usize,
    pub(super) source: io::Error,
}

impl Assembly {
    pub(super) fn new(pack: Arc<Pack>) -> Self {
        let segments = pack.outputs.iter().map(|output| vec![Vec::new(); output.files.len()]).collect();
        Self { pack, segments }
    }

    /// The bytes of the object at `index`. Objects are read once each, in their order. Blocks.
    pub(super) fn object(&mut self, index: usize) -> Result<(Vec<u8>, Vec<RecordPlace>), Unreadable> {
        let Self { pack, segments } = self;
        let Some(object) = pack.objects.get(index) else { return Ok((Vec::new(), Vec::new())) };
        let last = index + 1 == pack.objects.len();
        let records = if last { longest_records(pack) } else { 0 };
        let mut bytes = Vec::with_capacity(usize::try_from(object.bytes + records).unwrap_or_default());
        let mut open: Option<((usize, usize), File)> = None;
        for piece in &object.pieces {
            let crc = append(&mut bytes, &pack.outputs, piece, &mut open).map_err(|source| Unreadable {
                output: piece.output,
                file: piece.file,
                source,
            })?;
            let of_file = segments.get_mut(piece.output).and_then(|files| files.get_mut(piece.file));
            let Piece { start, offset, length, .. } = *piece;
            of_file.into_iter().for_each(|of_file| {
                of_file.push(Segment { start, object: object.seq, offset, length, crc });
            });
        }
        let places = if last { append_records(&mut bytes, &pack.outputs, segments) } else { Vec::new() };
        Ok((bytes, places))
    }
}

/// Appends a piece and gives its checksum. Pieces of a file follow each other, so it stays open.
fn append(
    bytes: &mut Vec<u8>,
    outputs: &[Output],
    piece: &Piece,
    open: &mut Option<((usize, usize), File)>,
) -> io::Result<u32> {
    let wanted = (piece.output, piece.file);
    let file = match open {
        Some((which, file)) if *which == wanted => file,
        _ => {
            let described = outputs.get(piece.output).and_then(|output| output.files.get(piece.file));
            let described = described.ok_or_else(|| io::Error::other("the pack has no such file"))?;
            let mut file = checked(described)?;
            file.seek(SeekFrom::Start(piece.start))?;
            &mut open.insert((wanted, file)).1
        }
    };
    let before = bytes.len();
    file.take(piece.length).read_to_end(bytes)?;
    let read = bytes.get(before..).unwrap_or_default();
    if read.len() as u64 != piece.length {
        return Err(io::Error::new(ErrorKind::UnexpectedEof, "it was cut short while it was read"));
    }
    Ok(crc32c::crc32c(read))
}

fn checked(described: &OutputFile) -> io::Result<File> {
    let file = File::open(&described.path)?;
    let length = file.metadata()?.len();
    if length != described.length {
        let detail = format!("it has {length} bytes and should have {}", described.length);
        return Err(io::Error::new(ErrorKind::InvalidData, detail));
    }
    Ok(file)
}

fn append_records(
    bytes: &mut Vec<u8>,
    outputs: &[Output],
    segments: &[Vec<Vec<Segment>>],
) -> Vec<RecordPlace> {
    let mut places = Vec::with_capacity(outputs.len());
    for (output, of_output) in outputs.iter().zip(segments) {
        let files = output.files.iter().zip(of_output).map(|(file, segments)| StoredFile {
            name: file.name,
            length: file.length,
            segments: segments.clone(),
        });
        let record = Record { memo: output.memo, summary: output.summary.clone(), files: files.collect() };
        let record = record.encode();
        let (offset, length) = (bytes.len() as u64, record.len() as u64);
        places.push(RecordPlace { offset, length, crc: crc32c::crc32c(&record) });
        bytes.extend_from_slice(&record);
    }
    places
}

fn longest_records(pack: &Pack) -> u64 {
    let mut segments = vec![0; pack.outputs.len()];
    for piece in pack.objects.iter().flat_map(|object| &object.pieces) {
        segments.get_mut(piece.output).into_iter().for_each(|count| *count += 1);
    }
    pack.outputs.iter().zip(segments).map(|(output, count)| super::record::longest(output, count)).sum()
}
