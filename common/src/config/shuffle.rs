use std::fmt;

use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, HumanDuration};

/// `[shuffle]`: what becomes of the rows that tasks exchange when the executor that wrote them is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShuffleConfig {
    /// Where executors keep copies of their output: a directory that all of them share, or `s3://bucket/prefix`,
    /// `gs://bucket/prefix`, `az://container/prefix`. Default: nowhere.
    pub url: Option<String>,
    /// Default: `write-behind` with a `url`, `local` without one.
    pub mode: Option<ShuffleMode>,
    /// Size up to which outputs are put together in one object, in bytes. Default: `32MiB`.
    pub object_size: ByteSize,
    /// How long an output may wait for others before it is copied. Default: `2s`.
    pub upload_after: HumanDuration,
    /// Age at which a copy of which nobody knows is removed: a crash can leave some. Default: `15m`.
    pub orphan_after: HumanDuration,
}

impl ShuffleConfig {
    /// `mode`, or what it is by default.
    pub fn resolved_mode(&self) -> ShuffleMode {
        let default = if self.url.is_some() { ShuffleMode::WriteBehind } else { ShuffleMode::Local };
        self.mode.unwrap_or(default)
    }
}

impl Default for ShuffleConfig {
    fn default() -> Self {
        Self {
            url: None,
            mode: None,
            object_size: ByteSize::mib(32),
            upload_after: HumanDuration::from_secs(2),
            orphan_after: HumanDuration::from_secs(15 * 60),
        }
    }
}

/// When the output of a task is copied to the object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShuffleMode {
    /// Never: it is lost with its executor.
    Local,
    /// In the background, while others read it from the executor.
    WriteBehind,
    /// Before the task counts as done.
    Durable,
}

impl ShuffleMode {
    /// Whether outputs are copied at all.
    pub fn stores(self) -> bool {
        self != Self::Local
    }
}

impl fmt::Display for ShuffleMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::WriteBehind => "write-behind",
            Self::Durable => "durable",
        })
    }
}

impl std::str::FromStr for ShuffleMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Local, Self::WriteBehind, Self::Durable]
            .into_iter()
            .find(|mode| text.eq_ignore_ascii_case(&mode.to_string()))
            .ok_or_else(|| {
                format!("`{text}` is not a shuffle mode; use \"local\", \"write-behind\" or \"durable\"")
            })
    }
}
