//! One file of the log.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};

use super::Position;
use super::disk::{Disk, DiskFile};
use super::position::MAX_POSITION;
use super::record::Frame;

const MAGIC: [u8; 8] = *b"PLRWAL\r\n";
pub(super) const VERSION: u32 = 1;
/// magic 8 | version u32 | base u64 | salt u64 | checksum u32
pub(super) const HEADER_LEN: u64 = 32;
const HEADER: usize = HEADER_LEN as usize;
const SUFFIX: &str = ".wal";

/// Twenty digits hold every `u64`, so names sort as positions do.
pub(super) fn file_name(base: Position) -> String {
    format!("{:020}{SUFFIX}", base.0)
}

pub(super) fn is_segment_name(name: &str) -> bool {
    name.ends_with(SUFFIX)
}

/// The base in a name that [`file_name`] made; `None` for all others.
pub(super) fn parse_name(name: &str) -> Option<Position> {
    let digits = name.strip_suffix(SUFFIX)?;
    let base = digits.parse().ok().filter(|base| *base <= MAX_POSITION).map(Position)?;
    (file_name(base) == name).then_some(base)
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// What the checksums of this segment's records start from.
    Valid {
        seed: u32,
    },
    /// Not a header that this program ever finished.
    Broken,
    /// A whole header of another segment.
    Misnamed,
    OtherVersion(u32),
}

/// Reads the header at the start of `bytes`, the file that is named by `base`.
pub(super) fn read_header(bytes: &[u8], base: Position) -> Header {
    let Some((header, _)) = bytes.split_first_chunk::<HEADER>() else { return Header::Broken };
    let Some((body, sum)) = header.split_last_chunk::<4>() else { return Header::Broken };
    let seed = crc32c::crc32c(body);
    if seed.to_le_bytes() != *sum || !body.starts_with(&MAGIC) {
        return Header::Broken;
    }
    let mut version = [0; 4];
    version.copy_from_slice(&body[8..12]);
    match u32::from_le_bytes(version) {
        VERSION if body[12..20] == base.0.to_le_bytes() => Header::Valid { seed },
        VERSION => Header::Misnamed,
        other => Header::OtherVersion(other),
    }
}

/// A header with a new salt, and the seed that follows from it.
fn make_header(base: Position) -> ([u8; HEADER], u32) {
    let salt = RandomState::new().hash_one(base);
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..20].copy_from_slice(&base.0.to_le_bytes());
    header[20..28].copy_from_slice(&salt.to_le_bytes());
    let seed = crc32c::crc32c(&header[..28]);
    header[28..].copy_from_slice(&seed.to_le_bytes());
    (header, seed)
}

/// The segment that is being written.
pub(super) struct Segment {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    base: Position,
    seed: u32,
    /// Everything before this is durable.
    end: Position,
}

impl Segment {
    /// Makes the segment, or makes it anew if an earlier try left something of it. Returns only once the
    /// file and its name are durable.
    ///
    /// It is emptied and not removed: its name bounds the segment before it (see `store`), and a crash
    /// must not find that bound missing.
    pub fn create(disk: &dyn Disk, directory: &Path, base: Position) -> io::Result<Self> {
        let path = directory.join(file_name(base));
        let mut file = disk.open(&path)?;
        let (header, seed) = make_header(base);
        file.set_len(0)?;
        // A power loss must not find half of the new header before records of an earlier try: a segment
        // with records and no sound header is damaged.
        file.sync_all()?;
        file.write(0, &header)?;
        file.sync_all()?;
        disk.sync_directory(directory)?;
        Ok(Self { file, path, base, seed, end: base })
    }

    /// Goes on with a segment that was found on disk, after making sure that its records are durable.
    ///
    /// `last_group` are the bytes of its last group, which end at `end`. The run that wrote them may have
    /// died before, or after, a sync that failed. The system may then take them for clean though they
    /// never reached the disk, and a sync alone would do nothing. So they are written again. All before
    /// them was synced before they were first written.
    pub fn resume(
        disk: &dyn Disk,
        path: PathBuf,
        frame: Frame,
        end: Position,
        last_group: &[u8],
    ) -> io::Result<Self> {
        let mut segment = Self { file: disk.open(&path)?, path, base: frame.at, seed: frame.seed, end };
        segment.file.set_len(segment.file_len())?;
        segment.file.write(segment.file_len() - last_group.len() as u64, last_group)?;
        segment.file.sync_all()?;
        Ok(segment)
    }

    /// Writes behind the durable end. Nothing is durable before [`Segment::sync`].
    pub fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        self.file.write(self.file_len(), frames)
    }

    /// Makes the `bytes` that were just written durable.
    pub fn sync(&mut self, bytes: u64) -> io::Result<()> {
        self.file.sync_data()?;
        self.end = self.end.plus(bytes);
        Ok(())
    }

    /// Takes back what was written behind the durable end. After `Ok` a power loss does not bring it back.
    pub fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.file_len())?;
        self.file.sync_all()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn end(&self) -> Position {
        self.end
    }

    pub fn is_empty(&self) -> bool {
        self.base == self.end
    }

    pub fn frame(&self, at: Position) -> Frame {
        Frame { at, seed: self.seed }
    }

    /// Bytes of the file up to the durable end.
    pub fn file_len(&self) -> u64 {
        HEADER_LEN + self.end.since(self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways_and_sort() {
        assert_eq!(file_name(Position(42)), "00000000000000000042.wal");
        assert_eq!(parse_name("00000000000000000042.wal"), Some(Position(42)));
        for other in ["42.wal", "+0000000000000000042.wal", "0000000000000000004x.wal", "lock", ".wal"] {
            assert_eq!(parse_name(other), None, "{other}");
        }
        assert_eq!(parse_name("18446744073709551615.wal"), None);
    }

    #[test]
    fn a_header_is_whole_or_broken() {
        let (header, seed) = make_header(Position(5));
        assert_eq!(read_header(&header, Position(5)), Header::Valid { seed });
        assert_eq!(read_header(&header, Position(6)), Header::Misnamed);
        for len in 0..HEADER {
            assert_eq!(read_header(&header[..len], Position(5)), Header::Broken);
        }
        for bit in 0..HEADER * 8 {
            let mut flipped = header;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read_header(&flipped, Position(5)), Header::Broken, "bit {bit}");
        }
    }

    #[test]
    fn another_version_is_not_taken_for_damage() {
        let (mut header, _) = make_header(Position(5));
        header[8] = 9;
        let sum = crc32c::crc32c(&header[..28]);
        header[28..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(read_header(&header, Position(5)), Header::OtherVersion(9));
    }
}
