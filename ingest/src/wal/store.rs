//! The segments of a log, and what is done when the storage fails.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

use super::disk::Disk;
use super::record::Frame;
use super::segment::{HEADER_LEN, Segment};
use super::{Position, WalError, WalOptions};

/// All segments, of which at most one is written.
///
/// Two rules keep replay right:
///
/// * A segment is made only when everything before its base is durable. Once its name may be on disk,
///   nothing more is written to the segment before it. So its name bounds that segment, and what a failed
///   write left behind the bound is ignored for ever.
/// * After a sync failed, the bytes that it was to make durable are given up. The system may have dropped
///   them and yet report success for the next sync.
pub(super) struct Store {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    segment_bytes: u64,
    closed: VecDeque<Closed>,
    /// `None` after a failure, until a new segment can be made.
    active: Option<Segment>,
    /// Everything before this is durable.
    end: Position,
}

/// A segment that is no longer written.
pub(super) struct Closed {
    pub end: Position,
    pub path: PathBuf,
    /// Bytes on disk, with those that a failed write left and that could not be cut off.
    pub file_len: u64,
}

/// Why a group is not in the log.
pub(super) struct Refused {
    source: Arc<io::Error>,
    absent: bool,
}

impl Refused {
    fn before_writing(source: io::Error) -> Self {
        Self { source: Arc::new(source), absent: true }
    }

    fn without_segment() -> Self {
        Self::before_writing(io::Error::other("no segment to write to"))
    }

    pub fn error(&self) -> WalError {
        let source = Arc::clone(&self.source);
        if self.absent { WalError::NotWritten { source } } else { WalError::Uncertain { source } }
    }
}

impl Store {
    pub fn new(disk: Arc<dyn Disk>, options: &WalOptions, closed: VecDeque<Closed>, active: Segment) -> Self {
        let (directory, segment_bytes) = (options.directory.clone(), options.segment_bytes);
        let end = active.end();
        Self { disk, directory, segment_bytes, closed, active: Some(active), end }
    }

    pub fn end(&self) -> Position {
        self.end
    }

    /// Bytes of all live segments on disk.
    pub fn used(&self) -> u64 {
        self.closed.iter().map(|segment| segment.file_len).sum::<u64>()
            + self.active.as_ref().map_or(0, Segment::file_len)
    }

    /// Makes sure that there is a segment with room for a record of `frame` bytes, and returns where the
    /// record will be and how many bytes the segment takes.
    pub fn prepare(&mut self, frame: u64) -> Result<(Frame, u64), Refused> {
        let fits = |segment: &Segment| segment.is_empty() || segment.file_len() + frame <= self.segment_bytes;
        if !self.active.as_ref().is_some_and(fits) {
            self.rotate(0).map_err(Refused::before_writing)?;
        }
        let active = self.active.as_ref().ok_or_else(Refused::without_segment)?;
        let room = self.segment_bytes.saturating_sub(active.file_len()).max(frame);
        Ok((active.frame(self.end), room))
    }

    /// Writes one group, encoded for the place that [`Store::prepare`] gave. It is durable after `Ok`.
    pub fn commit(&mut self, group: &[u8]) -> Result<(), Refused> {
        let bytes = group.len() as u64;
        let active = self.active.as_mut().ok_or_else(Refused::without_segment)?;
        let written = active.write(group);
        let write_failed = written.is_err();
        let Err(error) = written.and_then(|()| active.sync(bytes)) else {
            self.end = active.end();
            return Ok(());
        };
        let cut = active.cut();
        tracing::warn!(
            path = %active.path().display(), end = %self.end, %error, cut = cut.is_ok(),
            "write-ahead log lost a group"
        );
        // A failed write leaves the segment as good as it was. A failed sync does not: see `Store`.
        let absent = if write_failed && cut.is_ok() {
            true
        } else {
            let leftover = if cut.is_ok() { 0 } else { bytes };
            let bounded = self.rotate(leftover);
            cut.is_ok() || bounded.is_ok()
        };
        Err(Refused { source: Arc::new(error), absent })
    }

    /// Deletes the segments that lie wholly before `upto`, the active one too.
    pub fn trim(&mut self, upto: Position) -> Result<(), WalError> {
        // Deleting comes first: the new segment may need the room.
        self.delete_closed(upto)?;
        if self.end <= upto && !self.active.as_ref().is_some_and(Segment::is_empty) {
            self.rotate(0).map_err(WalError::io("make a segment in", &self.directory))?;
            self.delete_closed(upto)?;
        }
        Ok(())
    }

    fn delete_closed(&mut self, upto: Position) -> Result<(), WalError> {
        // The last name in the directory stays: it alone keeps the position from starting again at zero.
        while let Some(first) = self.closed.front()
            && first.end <= upto
            && (self.closed.len() > 1 || self.active.is_some())
        {
            match self.disk.remove(&first.path) {
                // An earlier trim got as far as this and no further.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => other.map_err(WalError::io("delete", &first.path))?,
            }
            // One by one: a power loss between two must not leave the older one, which would be a gap.
            self.disk.sync_directory(&self.directory).map_err(WalError::io("sync", &self.directory))?;
            self.closed.pop_front();
        }
        Ok(())
    }

    /// Begins a segment at the durable end. The old one is given up first, even if this fails.
    fn rotate(&mut self, leftover: u64) -> io::Result<()> {
        if let Some(old) = self.active.take()
            // An empty one has the very name that the new one gets, and is made anew.
            && !old.is_empty()
        {
            let (end, file_len) = (old.end(), old.file_len() + leftover);
            self.closed.push_back(Closed { end, path: old.path().to_owned(), file_len });
        }
        match Segment::create(self.disk.as_ref(), &self.directory, self.end) {
            Ok(segment) => {
                debug_assert_eq!(segment.file_len(), HEADER_LEN);
                self.active = Some(segment);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(directory = %self.directory.display(), %error, "no new log segment");
                Err(error)
            }
        }
    }
}
