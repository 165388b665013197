use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::address::HostPort;
use crate::units::{ByteSize, HumanDuration};

/// `[ingest]`: streams, whose rows arrive over WebSocket. Held by `polarway up` or by executors with the role ingest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestConfig {
    /// Where WebSocket clients connect. Default: nowhere, and `polarway up` holds no streams; `127.0.0.1:8081` with the role
    /// ingest.
    pub listen: Option<HostPort>,
    /// Directory of sealed rows, a path or a URL such as `s3://bucket/streams`. Default: `streams` in `data_dir`.
    pub directory: Option<String>,
    /// Directory of the logs. Default: `wal` in `data_dir`.
    pub log_directory: Option<PathBuf>,
    /// What the log of one stream may take on disk, in bytes. Default: `1GiB`.
    pub log_limit: ByteSize,
    /// What the rows of one stream may take in memory, in bytes. Default: `256MiB`.
    pub hot_limit: ByteSize,
    /// How long sealed rows stay in memory for queries that were planned before. Default: `30s`.
    pub grace: HumanDuration,
    /// WebSocket connections at once. Default: 1024.
    pub max_connections: usize,
    /// Largest frame of rows, in bytes. Default: `16MiB`.
    pub max_frame: ByteSize,
    /// Bytes a second that one WebSocket connection may send; above it the socket is not read for a while. Default: no bound.
    pub connection_rate: Option<ByteSize>,
    /// A sender from which nothing came for so long, pings unanswered, is given up. Default: `60s`.
    pub idle_timeout: HumanDuration,
    /// Beginnings of the URLs that streams may be fetched from, such as `wss://stream.example.com:9443/ws`: scheme, host and
    /// port have to be the same, and the path's first segments. Default: none.
    pub feeds: Vec<String>,
    /// Directory whose files are the secrets that feeds may name. Default: none.
    pub secrets: Option<PathBuf>,
    /// Directory with the certificates (PEM) that feeds may name. Default: none.
    pub certificates: Option<PathBuf>,
}

impl IngestConfig {
    /// `directory`, or `streams` in `data_dir`.
    pub fn resolved_directory(&self, data_dir: &Path) -> String {
        self.directory.clone().unwrap_or_else(|| data_dir.join("streams").display().to_string())
    }

    /// `log_directory`, or `wal` in `data_dir`.
    pub fn resolved_log_directory(&self, data_dir: &Path) -> PathBuf {
        self.log_directory.clone().unwrap_or_else(|| data_dir.join("wal"))
    }
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            listen: None,
            directory: None,
            log_directory: None,
            log_limit: ByteSize::gib(1),
            hot_limit: ByteSize::mib(256),
            grace: HumanDuration::from_secs(30),
            max_connections: 1024,
            max_frame: ByteSize::mib(16),
            connection_rate: None,
            idle_timeout: HumanDuration::from_secs(60),
            feeds: vec![],
            secrets: None,
            certificates: None,
        }
    }
}
