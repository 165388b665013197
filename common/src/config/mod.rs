//! Configuration: typed settings from defaults, a TOML file, the environment and flags, each over the one before.
//!
//! A key is written `[scheduler]` / `listen = …` in the file, `POLARWAY_SCHEDULER__LISTEN` in the environment and
//! `scheduler.listen` in messages. A name that no setting has is refused, with the nearest that exists, and so is
//! a value that does not fit or that contradicts another; nothing is ignored.

mod admission;
mod cache;
mod executor;
mod identity;
mod ingest;
mod keys;
mod layers;
mod log;
mod metastore;
mod query;
mod scheduler;
mod secret;
mod shuffle;
mod storage;
mod telemetry;
mod tls;
mod validate;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use admission::AdmissionConfig;
pub use cache::CacheConfig;
pub use executor::ExecutorConfig;
pub use identity::{Callers, IdentityConfig};
pub use ingest::IngestConfig;
pub use log::{LogConfig, LogFormat};
pub use metastore::MetaStoreConfig;
pub use query::{QueryConfig, Route};
pub use scheduler::{DirectOn, ResultDelivery, SchedulerConfig};
pub use secret::Secret;
pub use shuffle::{ShuffleConfig, ShuffleMode};
pub use storage::{S3Config, StorageConfig};
pub use telemetry::TelemetryConfig;
pub use tls::TlsConfig;

use crate::error::{Error, ErrorKind, Result};
use crate::units::ByteSize;

/// Everything an operator can set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Directory of everything that outlives a process on this machine: catalog, shuffle, spill.
    /// Default: `$XDG_DATA_HOME/polarway`, or `~/.local/share/polarway`.
    pub data_dir: PathBuf,
    /// The part of the data centre that this process is in, for others to see. Default: none.
    pub zone: Option<String>,
    pub log: LogConfig,
    pub telemetry: TelemetryConfig,
    pub identity: IdentityConfig,
    pub tls: TlsConfig,
    pub scheduler: SchedulerConfig,
    pub admission: AdmissionConfig,
    pub query: QueryConfig,
    pub executor: ExecutorConfig,
    pub ingest: IngestConfig,
    pub storage: StorageConfig,
    pub cache: CacheConfig,
    pub metastore: MetaStoreConfig,
    pub shuffle: ShuffleConfig,
    /// The file that settings were read from; none of them itself.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self::with_data_dir(default_data_dir(|name| std::env::var(name).ok()))
    }
}

impl Config {
    /// What an executor's tasks hold together: its own limit, or that of queries.
    pub fn executor_memory_limit(&self) -> ByteSize {
        self.executor.memory_limit.unwrap_or_else(|| self.query.resolved_memory_limit())
    }

    fn with_data_dir(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            zone: None,
            log: LogConfig::default(),
            telemetry: TelemetryConfig::default(),
            identity: IdentityConfig::default(),
            tls: TlsConfig::default(),
            scheduler: SchedulerConfig::default(),
            admission: AdmissionConfig::default(),
            query: QueryConfig::default(),
            executor: ExecutorConfig::default(),
            ingest: IngestConfig::default(),
            storage: StorageConfig::default(),
            cache: CacheConfig::default(),
            metastore: MetaStoreConfig::default(),
            shuffle: ShuffleConfig::default(),
            file: None,
        }
    }

    /// What of this process no statement may read or write, wherever it lies: files and directories with secrets, and those that
    /// say whom it trusts.
    pub fn private_files(&self) -> Vec<PathBuf> {
        let Self { identity, tls, ingest, storage, metastore, file, .. } = self;
        let named = [
            file,
            &identity.tokens,
            &tls.certificate,
            &tls.key,
            &tls.ca,
            &tls.public_certificate,
            &tls.public_key,
            &metastore.password_file,
            &metastore.ca,
            &metastore.certificate,
            &metastore.key,
            &ingest.secrets,
            &ingest.certificates,
            &storage.s3.ca,
        ];
        // The secret that signs tickets is in the metadata store.
        named.into_iter().flatten().cloned().chain([self.data_dir.join("metadata.redb")]).collect()
    }

    /// Builds the configuration from its layers: defaults, then `file`, then those of the variables `env` that
    /// start with `POLARWAY_`, then `overrides` (dotted key and value, from flags). The result is valid.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] that names the key, where it was set, and what is wrong with it.
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        overrides: &[(String, String)],
    ) -> Result<Self> {
        let env: Vec<_> = env.collect();
        let value_of = |name: &str| env.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let mut layers = layers::Layers::over(Self::with_data_dir(default_data_dir(value_of)))?;
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|error| {
                let message = format!("cannot read the configuration file {}: {error}", path.display());
                Error::new(ErrorKind::Configuration, message)
            })?;
            layers.apply_file(&path.display().to_string(), &text)?;
        }
        layers.apply_env(&env)?;
        layers.apply_flags(overrides)?;
        let config = Self { file: file.map(Path::to_path_buf), ..layers.finish()? };
        config.validate()?;
        Ok(config)
    }

    /// The configuration in effect, as a TOML text that can be used as a file except for its secrets, which show
    /// as `***`.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self)
            .map_err(|error| Error::internal(format!("cannot print the configuration: {error}")))
    }

    /// Every key that can be set, dotted and in alphabetical order.
    pub fn keys() -> Result<Vec<String>> {
        Ok(keys::Keys::of(&Self::default())?.names().map(str::to_owned).collect())
    }
}

/// The XDG base directory rules: a relative `XDG_DATA_HOME` is to be ignored. A process without a home keeps its
/// data below its working directory.
fn default_data_dir(variable: impl Fn(&str) -> Option<String>) -> PathBuf {
    let directory = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    directory("XDG_DATA_HOME")
        .or_else(|| directory("HOME").map(|home| home.join(".local/share")))
        .map_or_else(|| PathBuf::from(".polarway"), |base| base.join("polarway"))
}
