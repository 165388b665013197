//! Where a record is in the endless log.

use std::fmt;

use super::record;

/// A place in the log, in bytes since the log was first made.
///
/// Only records count, not segment headers, so the end of one segment is the start of the next. A
/// position is never used again for another record, whatever is trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

/// Far above what any disk holds, and far enough below `u64::MAX` that sums of lengths can not overflow.
pub(super) const MAX_POSITION: u64 = 1 << 62;

impl Position {
    /// The position just behind a record that begins here and has `payload` bytes: what to give to
    /// [`Wal::trim`](super::Wal::trim) once that record and all before it are no longer needed.
    #[must_use]
    pub fn after(self, payload: usize) -> Self {
        self.plus(record::framed(payload))
    }

    pub(super) fn plus(self, bytes: u64) -> Self {
        Self(self.0.saturating_add(bytes))
    }

    /// Bytes from `earlier` to here; zero if `earlier` is not earlier.
    pub(super) fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
