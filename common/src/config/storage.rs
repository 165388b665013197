use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Secret;
use crate::units::HumanDuration;

/// `[storage]`: which data can be reached, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// Roots below which data can be read; nothing else can be reached. Each is the path of a
    /// directory or `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`, `https://host/prefix`.
    /// Default: the working directory.
    pub allowed: Vec<String>,
    /// Roots below which statements may write, in the same form. They are read only where `allowed` has them, too. Default:
    /// none.
    pub writable: Vec<String>,
    /// Directory of the tables that statements make, a path or a URL such as `s3://bucket/tables`, the same for all processes
    /// of a cluster. Default: `tables` in `data_dir` for `polarway up`, and else none: tables cannot be made.
    pub tables: Option<String>,
    /// How long what a remote store listed is taken as current; `0s` lists each time. Local directories are looked at
    /// each time. Default: `5s`.
    pub list_ttl: HumanDuration,
    pub s3: S3Config,
}

/// `[storage.s3]`: access to S3 and to stores that speak its protocol. What is not set here comes from the usual
/// `AWS_*` environment variables or the machine's role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3Config {
    /// URL of the service. Default: that of AWS.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<Secret>,
    /// Token that belongs to temporary keys.
    pub session_token: Option<Secret>,
    /// Whether the endpoint may be `http://`. Default: false.
    pub allow_http: bool,
    /// Whether the bucket is part of the host's name rather than of the path. Default: false.
    pub virtual_hosted: bool,
    /// File (PEM) with authorities that an `https` endpoint is trusted by, beside those of the system. Default: those alone.
    pub ca: Option<PathBuf>,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            allowed: vec![".".to_owned()],
            writable: vec![],
            tables: None,
            list_ttl: HumanDuration::from_secs(5),
            s3: S3Config::default(),
        }
    }
}
