//! Counters of a feed that the host exports.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

/// Counters since start, except where noted. They are read one by one, so they may disagree for a moment.
#[derive(Debug, Default)]
pub struct FeedStatus {
    /// 1 while there is a connection.
    pub connected: AtomicU64,
    /// Attempts to connect.
    pub dials: AtomicU64,
    /// Attempts that led to a connection.
    pub connects: AtomicU64,
    pub messages: AtomicU64,
    pub rows: AtomicU64,
    pub bad: AtomicU64,
    /// Messages that the filter did not let through, acknowledgements included.
    pub skipped: AtomicU64,
    /// Bytes of the messages.
    pub bytes: AtomicU64,
    pub gaps: AtomicU64,
    /// Attempts of the sink that failed.
    pub sink_errors: AtomicU64,
    /// When the last message came, microseconds since 1970; 0 before the first.
    pub last_message_micros: AtomicI64,
    /// Why there is no connection, or why there was none last.
    fault: Mutex<Option<Arc<str>>>,
}

/// The counters at one time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatusSnapshot {
    pub connected: bool,
    pub dials: u64,
    pub connects: u64,
    pub messages: u64,
    pub rows: u64,
    pub bad: u64,
    pub skipped: u64,
    pub bytes: u64,
    pub gaps: u64,
    pub sink_errors: u64,
    pub last_message_micros: Option<i64>,
    pub last_error: Option<Arc<str>>,
}

impl FeedStatus {
    #[must_use]
    pub fn snapshot(&self) -> StatusSnapshot {
        StatusSnapshot {
            connected: self.connected.load(Relaxed) != 0,
            dials: self.dials.load(Relaxed),
            connects: self.connects.load(Relaxed),
            messages: self.messages.load(Relaxed),
            rows: self.rows.load(Relaxed),
            bad: self.bad.load(Relaxed),
            skipped: self.skipped.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            gaps: self.gaps.load(Relaxed),
            sink_errors: self.sink_errors.load(Relaxed),
            last_message_micros: Some(self.last_message_micros.load(Relaxed)).filter(|micros| *micros != 0),
            last_error: self.fault.lock().clone(),
        }
    }

    pub(super) fn fails(&self, why: &str) {
        *self.fault.lock() = Some(why.into());
    }
}

pub(super) fn add(counter: &AtomicU64, by: usize) {
    counter.fetch_add(u64::try_from(by).unwrap_or(u64::MAX), Relaxed);
}
