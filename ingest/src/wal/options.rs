//! What a log is opened with.

use std::path::PathBuf;

use tokio::sync::Semaphore;

use super::{WalError, record, segment};

/// How a log is kept. All sizes are in bytes.
#[derive(Debug, Clone)]
pub struct WalOptions {
    /// Holds this log's segments and nothing else. Made if it is not there.
    pub directory: PathBuf,
    /// A segment is not filled beyond this, unless one record alone is larger. Opening reads one whole
    /// segment at a time into memory. Space is given back in whole segments.
    pub segment_bytes: u64,
    /// Appends are refused with [`WalError::Full`] once the live segments and the queued records
    /// together would pass this. The disk may hold one segment header more per segment.
    pub max_bytes: u64,
    /// How many records may wait for the writer. They are also bounded by `max_bytes` in sum.
    pub queue: usize,
}

impl WalOptions {
    pub(super) fn check(&self) -> Result<(), WalError> {
        if self.queue == 0 || self.queue > Semaphore::MAX_PERMITS {
            return Err(WalError::Options("queue must be at least 1"));
        }
        if self.segment_bytes <= segment::HEADER_LEN {
            return Err(WalError::Options("segment_bytes leaves no room for a record"));
        }
        if self.max_bytes <= segment::HEADER_LEN.saturating_add(record::framed(0)) {
            return Err(WalError::Options("max_bytes leaves no room for a record"));
        }
        Ok(())
    }

    /// The largest payload that can ever fit, in bytes.
    ///
    /// A record that passes `max_bytes` even in an empty log must not be answered with `Full`: the caller
    /// would wait for ever for room.
    pub(super) fn max_payload(&self) -> usize {
        let room = self.max_bytes.saturating_sub(segment::HEADER_LEN).saturating_sub(record::framed(0));
        usize::try_from(room).unwrap_or(usize::MAX).min(record::MAX_PAYLOAD)
    }
}
