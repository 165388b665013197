//! From the configuration to a store.

use std::sync::Arc;

use polarway_common::config::MetaStoreConfig;

use crate::error::Result;
use crate::etcd::{Credentials, EtcdConfig, EtcdMetaStore, Password, TlsFiles};
use crate::store::MetaStore;

/// The etcd that is configured; none where a scheduler keeps the metadata itself.
///
/// # Errors
/// [`crate::MetaStoreError::InvalidConfig`], or etcd cannot be reached or does not let us in.
pub async fn configured(config: &MetaStoreConfig) -> Result<Option<Arc<dyn MetaStore>>> {
    if config.etcd.is_empty() {
        return Ok(None);
    }
    Ok(Some(Arc::new(EtcdMetaStore::connect(&etcd(config)).await?)))
}

fn etcd(config: &MetaStoreConfig) -> EtcdConfig {
    let MetaStoreConfig { etcd, prefix, user, password, password_file, ca, certificate, key } = config;
    let file = password_file.clone().map(Password::File);
    let password = file.or_else(|| password.clone().map(Password::Text));
    EtcdConfig {
        endpoints: etcd.clone(),
        prefix: prefix.clone(),
        credentials: user.clone().zip(password).map(|(user, password)| Credentials { user, password }),
        tls: TlsFiles { ca: ca.clone(), certificate: certificate.clone(), key: key.clone() },
        ..EtcdConfig::default()
    }
}
