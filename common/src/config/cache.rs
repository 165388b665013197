use serde::{Deserialize, Serialize};

use crate::units::ByteSize;

/// `[cache]`: what is kept so that the next query starts sooner. Zero turns a cache off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Plans. Default: 1024.
    pub plans: usize,
    /// Bytes of file metadata (Parquet footers). Default: `256MiB`.
    pub metadata: ByteSize,
    /// Bytes of statistics of files. Default: `64MiB`.
    pub statistics: ByteSize,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { plans: 1024, metadata: ByteSize::mib(256), statistics: ByteSize::mib(64) }
    }
}
