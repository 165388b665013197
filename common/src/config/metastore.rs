use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Secret;
use crate::units::HumanDuration;

/// `[metastore]`: where the catalog and what the cluster's processes share are kept. Without `etcd` a scheduler keeps
/// them in its data directory, and other processes reach them through it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetaStoreConfig {
    /// URLs of the members of an etcd, such as `https://etcd-0:2379`. Default: none.
    pub etcd: Vec<String>,
    /// What all keys begin with, so that several clusters can share one etcd. Default: `polarway/`.
    pub prefix: String,
    /// Needed if etcd has authentication enabled; goes together with one of the next two.
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// File with the password, read whenever etcd is logged in to; counts before `password`.
    pub password_file: Option<PathBuf>,
    /// Certificate authorities (PEM) of members that are `https`. Default: those of the system.
    pub ca: Option<PathBuf>,
    /// A certificate (PEM) for etcd to know us by; goes together with its key.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// How long a process that says nothing counts as there; the death of one is noticed after it. From 2s to 1h.
    /// Default: `5s`.
    pub lease_ttl: HumanDuration,
}

impl Default for MetaStoreConfig {
    fn default() -> Self {
        Self {
            etcd: Vec::new(),
            prefix: "polarway/".to_owned(),
            user: None,
            password: None,
            password_file: None,
            ca: None,
            certificate: None,
            key: None,
            lease_ttl: HumanDuration::from_secs(5),
        }
    }
}
