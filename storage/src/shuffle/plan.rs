//! Where in which object each byte of a pack goes.

use super::output::Output;
use super::record::MAX_SEGMENT;

/// Outputs that are stored together: those of one object, or the one of several consecutive objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pack {
    /// The query of all its outputs.
    pub run: String,
    pub outputs: Vec<Output>,
    /// In the order of their sequence numbers, which follow each other. The records of all outputs are at the end
    /// of the last.
    pub objects: Vec<PackObject>,
}

/// An object to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackObject {
    pub seq: u32,
    /// In ascending order of their offsets, without gaps from zero.
    pub pieces: Vec<Piece>,
    /// The length of the pieces, in bytes.
    pub bytes: u64,
}

/// Bytes of a file that become one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Which of the pack's outputs.
    pub output: usize,
    /// Which of the output's files.
    pub file: usize,
    /// Where in the file, in bytes.
    pub start: u64,
    /// Where in the object, in bytes.
    pub offset: u64,
    /// In bytes, at least one and at most [`MAX_SEGMENT`].
    pub length: u64,
}

impl Pack {
    /// Lays out the outputs in objects of at most `target` bytes beside records, the first with the number `first`.
    pub(super) fn plan(run: String, outputs: Vec<Output>, first: u32, target: u64) -> Self {
        let mut objects = Vec::new();
        let mut object = PackObject { seq: first, pieces: Vec::new(), bytes: 0 };
        for (of_output, output) in outputs.iter().enumerate() {
            for (of_file, file) in output.files.iter().enumerate() {
                let mut start = 0;
                while start < file.length {
                    if object.bytes >= target {
                        let next =
                            PackObject { seq: object.seq.wrapping_add(1), pieces: Vec::new(), bytes: 0 };
                        objects.push(std::mem::replace(&mut object, next));
                    }
                    let room = target.saturating_sub(object.bytes).max(1);
                    let length = (segment_end(start, file.length, &file.cuts) - start).min(room);
                    object.pieces.push(Piece {
                        output: of_output,
                        file: of_file,
                        start,
                        offset: object.bytes,
                        length,
                    });
                    object.bytes += length;
                    start += length;
                }
            }
        }
        objects.push(object);
        Self { run, outputs, objects }
    }

    /// The output at `index`, and the pack without it, if it has others.
    pub(super) fn without(mut self, index: usize, target: u64) -> (Output, Option<Self>) {
        let output = self.outputs.remove(index);
        let first = self.first();
        let rest = (!self.outputs.is_empty()).then(|| Self::plan(self.run, self.outputs, first, target));
        (output, rest)
    }

    /// The sequence number of the first object.
    pub(super) fn first(&self) -> u32 {
        self.objects.first().map_or(0, |object| object.seq)
    }

    /// The length of all files, in bytes.
    pub fn bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.bytes).sum()
    }
}

/// How many segments the files of an output have in an object that has room for them.
pub(super) fn segments(output: &Output) -> usize {
    let of_file = |length: u64, cuts: &[u64]| {
        let (mut start, mut count) = (0, 0);
        while start < length {
            start = segment_end(start, length, cuts);
            count += 1;
        }
        count
    };
    output.files.iter().map(|file| of_file(file.length, &file.cuts)).sum()
}

/// Where the segment that begins at `start` ends: at the next cut, unless it is too far away.
fn segment_end(start: u64, length: u64, cuts: &[u64]) -> u64 {
    let next = cuts.get(cuts.partition_point(|cut| *cut <= start)).copied().unwrap_or(length);
    next.min(length).min(start.saturating_add(MAX_SEGMENT))
}
