//! What opening a log finds on disk, and how it is put in order.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::Disk;
use super::record::{self, Fault, Frame, Record};
use super::segment::{self, HEADER_LEN, Header, Segment};
use super::store::{Closed, Store};
use super::{Position, WalError, WalOptions};

/// What [`Wal::open`](super::Wal::open) found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovered {
    /// The oldest position that is still in the log. The log itself can not tell whether the last trim
    /// left it there, or whether someone deleted the oldest files; a caller who knows can.
    pub begin: Position,
    /// Records that were replayed.
    pub records: u64,
    /// Payload bytes of these records.
    pub bytes: u64,
    /// Bytes that were cut off: what the last run was writing when it ended and had not acknowledged,
    /// and what a failed write left behind.
    pub torn_bytes: u64,
}

/// Replays the log and returns it ready to be written.
///
/// Nothing on disk is changed before every segment but the last was found sound. The records of the last
/// segment are replayed only after it was repaired, so whatever is replayed is durable.
pub(super) fn recover(
    disk: Arc<dyn Disk>,
    options: &WalOptions,
    replay: impl FnMut(Position, &[u8]) -> Result<(), WalError>,
) -> Result<(Store, Recovered), WalError> {
    let directory = options.directory.as_path();
    let mut replay = Replay { give: replay, recovered: Recovered::default() };
    let mut bases = list(directory)?;
    // A new log is one whose first segment was not finished.
    let last = bases.pop().unwrap_or_default();
    replay.recovered.begin = bases.first().copied().unwrap_or(last);

    let mut closed = VecDeque::new();
    let mut leftovers = Vec::new();
    let nexts = bases.iter().copied().skip(1).chain([last]);
    for (base, next) in bases.iter().copied().zip(nexts) {
        let path = directory.join(segment::file_name(base));
        let file_len = HEADER_LEN + next.since(base);
        let leftover = replay_closed(&path, base, next, &mut replay)?;
        if leftover > 0 {
            leftovers.push((path.clone(), file_len));
            replay.recovered.torn_bytes += leftover;
        }
        closed.push_back(Closed { end: next, path, file_len });
    }

    let last = Last::read(directory, last)?;
    replay.recovered.torn_bytes += last.torn_bytes;
    if replay.recovered.torn_bytes > 0 {
        let bytes = replay.recovered.torn_bytes;
        tracing::warn!(directory = %directory.display(), bytes, "cutting off what was not acknowledged");
    }
    for (path, file_len) in leftovers {
        cut(disk.as_ref(), &path, file_len).map_err(WalError::io("cut", &path))?;
    }
    let active = last.repair(disk.as_ref(), directory).map_err(WalError::io("repair", &last.path))?;
    // The names may be from a run that died before it made them durable.
    disk.sync_directory(directory).map_err(WalError::io("sync", directory))?;
    for record in last.records() {
        replay.record(&record)?;
    }
    Ok((Store::new(disk, options, closed, active), replay.recovered))
}

struct Replay<F> {
    give: F,
    recovered: Recovered,
}

impl<F: FnMut(Position, &[u8]) -> Result<(), WalError>> Replay<F> {
    fn record(&mut self, record: &Record<'_>) -> Result<(), WalError> {
        self.recovered.records += 1;
        self.recovered.bytes += record.payload.len() as u64;
        (self.give)(record.at, record.payload)
    }
}

/// The bases of all segments in the directory, in order.
fn list(directory: &Path) -> Result<Vec<Position>, WalError> {
    let failed = || WalError::io("list", directory);
    let mut bases = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if segment::is_segment_name(&name) {
            let base = segment::parse_name(&name);
            bases.push(base.ok_or_else(|| WalError::damaged(&entry.path(), 0, "not a segment's name"))?);
        }
    }
    bases.sort_unstable();
    Ok(bases)
}

/// Replays a segment that another follows, and returns how many bytes are left behind its end.
///
/// The next segment's name says where this one ends: that name is made only when everything before it is
/// durable, and from then on nothing is written here. So each byte up to there must be sound, and what
/// lies behind is left from a failed write and was never acknowledged, however sound it looks.
fn replay_closed(
    path: &Path,
    base: Position,
    next: Position,
    replay: &mut Replay<impl FnMut(Position, &[u8]) -> Result<(), WalError>>,
) -> Result<u64, WalError> {
    let file = fs::read(path).map_err(WalError::io("read", path))?;
    let Some(seed) = seed_of(path, &file, base)? else {
        return Err(WalError::damaged(path, 0, "segment header does not match its checksum"));
    };
    let end = usize::try_from(HEADER_LEN + next.since(base)).unwrap_or(usize::MAX);
    let Some((bytes, leftover)) = file.split_at_checked(end) else {
        return Err(WalError::damaged(path, file.len(), "file ends before the next segment begins"));
    };
    let mut walk = Walk::new(bytes, base, seed);
    for record in walk.by_ref() {
        replay.record(&record)?;
    }
    match walk.fault {
        None => Ok(leftover.len() as u64),
        Some(fault) => Err(WalError::damaged(path, walk.offset, fault.reason())),
    }
}

fn cut(disk: &dyn Disk, path: &Path, len: u64) -> io::Result<()> {
    let mut file = disk.open(path)?;
    file.set_len(len)?;
    file.sync_all()
}

/// The last segment: the only one whose end a crash can have torn.
struct Last {
    path: PathBuf,
    base: Position,
    seed: u32,
    /// The file up to the end of its last sound record; empty if not even the header is sound.
    sound: Vec<u8>,
    /// Offset in `sound` of the group that was written last.
    last_group: usize,
    torn_bytes: u64,
}

impl Last {
    fn read(directory: &Path, base: Position) -> Result<Self, WalError> {
        let path = directory.join(segment::file_name(base));
        let mut sound = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            other => other.map_err(WalError::io("read", &path))?,
        };
        let seed = seed_of(&path, &sound, base)?;
        let found = sound.len();
        let mut last_group = HEADER_LEN as usize;
        let end = match seed {
            // The header is durable before the first record is written, so no record was.
            None if found as u64 <= HEADER_LEN => 0,
            None => return Err(WalError::damaged(&path, 0, "segment header does not match its checksum")),
            Some(seed) => {
                let mut walk = Walk::new(&sound, base, seed);
                for record in walk.by_ref() {
                    last_group = HEADER_LEN as usize + record.group.since(base) as usize;
                }
                if let Some(fault) = walk.fault
                    && walk.was_durable()
                {
                    return Err(WalError::damaged(&path, walk.offset, fault.reason()));
                }
                walk.offset
            }
        };
        sound.truncate(end);
        let torn_bytes = (found - end) as u64;
        Ok(Self { path, base, seed: seed.unwrap_or_default(), sound, last_group, torn_bytes })
    }

    fn records(&self) -> Walk<'_> {
        Walk::new(&self.sound, self.base, self.seed)
    }

    fn repair(&self, disk: &dyn Disk, directory: &Path) -> io::Result<Segment> {
        let records = (self.sound.len() as u64).saturating_sub(HEADER_LEN);
        if records == 0 {
            // Nothing proves that the header is durable, though it may look sound.
            return Segment::create(disk, directory, self.base);
        }
        let frame = Frame { at: self.base, seed: self.seed };
        let last_group = self.sound.get(self.last_group..).unwrap_or_default();
        Segment::resume(disk, self.path.clone(), frame, self.base.plus(records), last_group)
    }
}

/// `None` if there is no sound header.
fn seed_of(path: &Path, file: &[u8], base: Position) -> Result<Option<u32>, WalError> {
    match segment::read_header(file, base) {
        Header::Valid { seed } => Ok(Some(seed)),
        Header::Broken => Ok(None),
        Header::Misnamed => Err(WalError::damaged(path, 0, "file has the header of another segment")),
        Header::OtherVersion(found) => {
            Err(WalError::Version { path: path.to_owned(), found, known: segment::VERSION })
        }
    }
}

/// The records of a segment file, up to its end or the first fault.
struct Walk<'a> {
    file: &'a [u8],
    base: Position,
    seed: u32,
    /// Behind the last sound record.
    offset: usize,
    fault: Option<Fault>,
}

impl<'a> Walk<'a> {
    fn new(file: &'a [u8], base: Position, seed: u32) -> Self {
        // No header means no records.
        let offset = file.len().min(HEADER_LEN as usize);
        Self { file, base, seed, offset, fault: None }
    }

    fn decode(&self, offset: usize) -> Result<Record<'a>, Fault> {
        let rest = self.file.get(offset..).unwrap_or_default();
        record::decode(rest, Frame { at: self.position(offset), seed: self.seed })
    }

    fn position(&self, offset: usize) -> Position {
        self.base.plus((offset as u64).saturating_sub(HEADER_LEN))
    }

    /// Whether the place of the fault was once durable: some later record belongs to a later group, which
    /// was not begun before.
    ///
    /// A later record of the same group proves nothing, since a power loss keeps any part of a group.
    fn was_durable(&self) -> bool {
        let fault = self.position(self.offset);
        let mut offset = self.offset + 1;
        while offset < self.file.len() {
            match self.decode(offset) {
                Ok(record) if record.group > fault => return true,
                Ok(record) => offset += record::framed(record.payload.len()) as usize,
                Err(_) => offset += 1,
            }
        }
        false
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        if self.fault.is_some() || self.offset >= self.file.len() {
            return None;
        }
        match self.decode(self.offset) {
            Ok(record) => {
                self.offset += record::framed(record.payload.len()) as usize;
                Some(record)
            }
            Err(fault) => {
                self.fault = Some(fault);
                None
            }
        }
    }
}
