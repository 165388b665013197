//! The one runtime environment of a process: object stores, caches, memory pool, spill directory.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::execution::cache::cache_manager::CacheManagerConfig;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use object_store::path::Path;
use polarway_common::config::{CacheConfig, StorageConfig};
use polarway_common::{Error, ErrorKind};
use polarway_storage::StoreRoot;
use polarway_storage::guard::StoreCounters;
use polarway_storage::policy::PathPolicy;
use polarway_storage::registry::PolicyRegistry;
use polarway_storage::writes::WriteAccess;
use url::Url;

use crate::memory::{BoundedPool, SMALL};

const NARROW_MERGE: usize = 4;
const REPARTITION_SHARE: usize = 32;

/// What a process runs plans with.
#[derive(Debug, Clone)]
pub struct EngineRuntime {
    pub env: Arc<RuntimeEnv>,
    pub policy: Arc<PathPolicy>,
    pub counters: Arc<StoreCounters>,
    /// Where statements may write.
    pub writes: Arc<WriteAccess>,
    /// Where the tables are that statements make.
    pub tables: Option<StoreRoot>,
    registry: Arc<PolicyRegistry>,
    pool: Arc<dyn MemoryPool>,
}

/// The memory that the queries and tasks of one process share. Clones share it too.
#[derive(Debug, Clone)]
pub struct MemoryBudget(Arc<dyn MemoryPool>);

impl MemoryBudget {
    /// `limit` in bytes.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(BoundedPool::of_process(limit)))
    }
}

/// What [`EngineRuntime::build`] needs; sizes in bytes.
#[derive(Debug)]
pub struct RuntimeOptions<'a> {
    pub storage: &'a StorageConfig,
    pub cache: &'a CacheConfig,
    pub memory: MemoryBudget,
    pub spill_dir: PathBuf,
    pub spill_limit: u64,
    /// What no statement may read or write, wherever it lies.
    pub private: Vec<PathBuf>,
}

/// How many spill files one merge reads at a time; zero means as many as there is memory for. A merge takes its memory
/// before it starts, so that the first of several merges would leave nothing of a small pool to the others.
fn merge_width(memory: &MemoryBudget) -> usize {
    match memory.0.memory_limit() {
        MemoryLimit::Finite(limit) if limit < SMALL.as_usize() => NARROW_MERGE,
        _ => 0,
    }
}

/// The environment with `pool` in place of its own.
pub(crate) fn with_pool(env: &RuntimeEnv, pool: Arc<dyn MemoryPool>) -> Result<Arc<RuntimeEnv>, Error> {
    RuntimeEnvBuilder::from_runtime_env(env)
        .with_memory_pool(pool)
        .build_arc()
        .map_err(|error| crate::errors::classify(&error))
}

impl EngineRuntime {
    pub fn build(options: &RuntimeOptions<'_>) -> Result<Self, Error> {
        let StorageConfig { allowed, writable, tables, s3, .. } = options.storage;
        let tables = tables.as_ref().map(|place| StoreRoot::open(place, s3, "storage.tables")).transpose()?;
        let with_tables = |roots: &[String]| -> Vec<String> {
            roots.iter().chain(tables.as_ref().map(|tables| &tables.name)).cloned().collect()
        };
        let private = &options.private;
        let policy = Arc::new(PathPolicy::new(&with_tables(allowed))?.without(private));
        let writes = Arc::new(WriteAccess::new(&with_tables(writable), s3.clone())?.without(private));
        let s3 = s3.clone();
        let registry = Arc::new(PolicyRegistry::new(Arc::clone(&policy), s3, options.storage.list_ttl.get()));
        let counters = registry.counters();
        std::fs::create_dir_all(&options.spill_dir).map_err(|error| {
            Error::new(
                ErrorKind::Configuration,
                format!("cannot create the spill directory `{}`: {error}", options.spill_dir.display()),
            )
        })?;
        // The list cache stays off: its keys tell paths apart but not stores, and it would cover local directories.
        // The stores keep listings themselves. Metadata and statistics entries are checked against size and
        // modification time each time they are used.
        let caches = CacheManagerConfig::default()
            .with_list_files_cache(None)
            .with_list_files_cache_limit(0)
            .with_file_statistics_cache_limit(options.cache.statistics.as_usize())
            .with_metadata_cache_limit(options.cache.metadata.as_usize());
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![options.spill_dir.clone()]))
            .with_max_temp_directory_size(options.spill_limit)
            .with_max_spill_merge_fan_in(merge_width(&options.memory));
        let pool = Arc::clone(&options.memory.0);
        let env = RuntimeEnvBuilder::new()
            .with_object_store_registry(Arc::clone(&registry) as Arc<_>)
            .with_cache_manager(caches)
            .with_disk_manager_builder(disk)
            .with_memory_pool(Arc::clone(&pool))
            .build_arc()
            .map_err(|error| crate::errors::classify(&error))?;
        Ok(Self { env, policy, counters, writes, tables, registry, pool })
    }

    /// Lets the next statement list the directory of a file anew.
    pub fn forget_listing(&self, store: &Url, file: &Path) {
        self.registry.forget(store, file);
    }

    /// The same environment with a memory pool of one query's own inside the process's pool.
    pub fn for_query(&self, limit: Option<usize>) -> Result<Arc<RuntimeEnv>, Error> {
        let Some(limit) = limit else { return Ok(Arc::clone(&self.env)) };
        with_pool(&self.env, Arc::new(BoundedPool::of_query(Arc::clone(&self.pool), limit)))
    }

    /// The environment of a query that ran out of memory before: as [`for_query`](Self::for_query), and repartitioning,
    /// each with one input, spills what is beyond a thirty-second.
    pub fn for_spilling_query(&self, limit: Option<usize>) -> Result<Arc<RuntimeEnv>, Error> {
        let process = self.memory_limit();
        let limit = limit.unwrap_or(process);
        let pool = BoundedPool::of_query(Arc::clone(&self.pool), limit)
            .with_repartition_limit(limit.min(process) / REPARTITION_SHARE);
        with_pool(&self.env, Arc::new(pool))
    }

    /// Bytes that queries hold now.
    pub fn reserved(&self) -> usize {
        self.pool.reserved()
    }

    /// Bytes that they may hold.
    pub fn memory_limit(&self) -> usize {
        match self.pool.memory_limit() {
            MemoryLimit::Finite(limit) => limit,
            _ => usize::MAX,
        }
    }

    /// Bytes of spill files that exist now.
    pub fn spilled(&self) -> u64 {
        self.env.disk_manager.used_disk_space()
    }
}
