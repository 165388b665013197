//! How a stream is held and sealed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use polarway_common::Clock;

use super::recent::KeyOptions;
use super::retention::Retention;
use crate::ownership::Tenure;
use crate::seal::Layout;

/// What a stream needs of whoever opens it.
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// Identity; another stream of the same name has another.
    pub id: String,
    /// For messages, for example `public.ticks`.
    pub name: String,
    pub schema: SchemaRef,
    pub layout: Layout,
    pub seal: SealPolicy,
    /// Directory of the log.
    pub log: PathBuf,
    /// Bytes that the log may take on disk.
    pub log_limit: u64,
    /// Bytes of rows in memory beyond which none are taken until some have left.
    pub hot_limit: usize,
    /// How long sealed rows stay in memory for queries that were planned before.
    pub grace: Duration,
    /// By what rows that come again are known; without it none are.
    pub key: Option<KeyOptions>,
    /// How long sealed rows are kept; without it for ever.
    pub retention: Option<Retention>,
    pub clock: Arc<dyn Clock>,
    /// Whether the process may say that rows are in the log.
    pub tenure: Tenure,
}

impl StreamOptions {
    /// Bytes of rows that are sealed at once, one group more or less.
    pub fn portion(&self) -> usize {
        usize::try_from(self.seal.bytes).unwrap_or(usize::MAX).min(self.hot_limit / 4)
    }
}

/// When rows are sealed: as soon as one of these is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealPolicy {
    pub rows: u64,
    pub bytes: u64,
    /// Of the first row that is not sealed.
    pub age: Duration,
}

/// What a stream holds that is not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsealed {
    /// Rows that the log has.
    pub rows: u64,
    pub bytes: u64,
    pub age: Duration,
}

impl SealPolicy {
    pub fn is_due(&self, unsealed: Unsealed) -> bool {
        unsealed.rows > 0
            && (unsealed.rows >= self.rows || unsealed.bytes >= self.bytes || unsealed.age >= self.age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whichever_is_reached_first() {
        let policy = SealPolicy { rows: 100, bytes: 1000, age: Duration::from_secs(60) };
        let unsealed = |rows, bytes, seconds| Unsealed { rows, bytes, age: Duration::from_secs(seconds) };
        assert!(!policy.is_due(unsealed(99, 999, 59)));
        assert!(policy.is_due(unsealed(100, 0, 0)));
        assert!(policy.is_due(unsealed(1, 1000, 0)));
        assert!(policy.is_due(unsealed(1, 0, 60)));
        assert!(!policy.is_due(unsealed(0, 5000, 600)), "there is nothing to seal");
    }
}
