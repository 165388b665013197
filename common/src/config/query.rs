use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::machine;
use crate::units::{ByteSize, HumanDuration};

/// `[query]`: how queries run that no `SET` says otherwise for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueryConfig {
    /// Whether one process or all executors run a query. Default: `auto`.
    pub route: Route,
    /// Memory of all queries of this process together, in bytes. Default: 70 % of the machine's or control
    /// group's memory.
    pub memory_limit: Option<ByteSize>,
    /// Memory of one query, in bytes. Default: no limit but `memory_limit`.
    pub per_query_memory: Option<ByteSize>,
    /// How long a query may take. Default: any time.
    pub timeout: Option<HumanDuration>,
    /// Partitions that a plan is split into. Default: the number of cores.
    pub target_partitions: Option<usize>,
    /// Bytes to scan up to which `auto` takes one process as sufficient. Default: `1GiB`.
    pub direct_max_bytes: ByteSize,
    /// Rows a batch. Default: 8192.
    pub batch_size: usize,
    /// Directory for what does not fit into memory. Default: `spill` in `data_dir`.
    pub spill_dir: Option<PathBuf>,
    /// Bytes that may lie in `spill_dir` at a time. Default: `100GiB`.
    pub spill_limit: ByteSize,
}

/// Where a query runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Route {
    /// Decided for each query from its statistics.
    #[default]
    Auto,
    /// In one process.
    Direct,
    /// In stages, over the executors.
    Staged,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Route::Auto => "auto",
            Route::Direct => "direct",
            Route::Staged => "staged",
        })
    }
}

impl std::str::FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Route::Auto, Route::Direct, Route::Staged]
            .into_iter()
            .find(|route| text.eq_ignore_ascii_case(&route.to_string()))
            .ok_or_else(|| format!("`{text}` is not a route; use \"auto\", \"direct\" or \"staged\""))
    }
}

impl QueryConfig {
    /// `memory_limit`, or 70 % of the machine's or control group's memory.
    pub fn resolved_memory_limit(&self) -> ByteSize {
        self.memory_limit.unwrap_or_else(machine::default_memory_limit)
    }

    /// `target_partitions`, or the number of cores.
    pub fn resolved_target_partitions(&self) -> usize {
        self.target_partitions.unwrap_or_else(machine::cores)
    }

    /// `spill_dir`, or `spill` in `data_dir`.
    pub fn resolved_spill_dir(&self, data_dir: &Path) -> PathBuf {
        self.spill_dir.clone().unwrap_or_else(|| data_dir.join("spill"))
    }
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            route: Route::Auto,
            memory_limit: None,
            per_query_memory: None,
            timeout: None,
            target_partitions: None,
            direct_max_bytes: ByteSize::gib(1),
            batch_size: 8192,
            spill_dir: None,
            spill_limit: ByteSize::gib(100),
        }
    }
}
