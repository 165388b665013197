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
    let MetaStoreConfig { etcd, prefix, user, password, password_file, ca, certificate, key, lease_ttl } =
        config;
    let file = password_file.clone().map(Password::File);
    let password = file.or_else(|| password.clone().map(Password::Text));
    EtcdConfig {
        endpoints: etcd.clone(),
        prefix: prefix.clone(),
        credentials: user.clone().zip(password).map(|(user, password)| Credentials { user, password }),
        tls: TlsFiles { ca: ca.clone(), certificate: certificate.clone(), key: key.clone() },
        lease_ttl: lease_ttl.0,
        ..EtcdConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use polarway_common::HumanDuration;
    use polarway_common::config::Secret;

    use super::*;

    fn everything() -> MetaStoreConfig {
        MetaStoreConfig {
            etcd: vec!["https://a:1".into(), "https://b:2".into()],
            prefix: "one/".into(),
            user: Some("polarway".into()),
            password: Some(Secret::new("text")),
            password_file: Some("/file".into()),
            ca: Some("/ca".into()),
            certificate: Some("/certificate".into()),
            key: Some("/key".into()),
            lease_ttl: HumanDuration::from_secs(9),
        }
    }

    #[test]
    fn every_setting_reaches_etcd() {
        let credentials = |password| Some(Credentials { user: "polarway".into(), password });
        let expected = EtcdConfig {
            endpoints: vec!["https://a:1".into(), "https://b:2".into()],
            prefix: "one/".into(),
            credentials: credentials(Password::File("/file".into())),
            tls: TlsFiles {
                ca: Some("/ca".into()),
                certificate: Some("/certificate".into()),
                key: Some("/key".into()),
            },
            lease_ttl: Duration::from_secs(9),
            ..EtcdConfig::default()
        };
        assert_eq!(etcd(&everything()), expected);
        let as_text = etcd(&MetaStoreConfig { password_file: None, ..everything() });
        assert_eq!(as_text.credentials, credentials(Password::Text(Secret::new("text"))));
    }

    #[tokio::test]
    async fn without_members_there_is_none() {
        assert!(configured(&MetaStoreConfig::default()).await.unwrap().is_none());
    }

    #[test]
    fn the_default_prefix_is_that_of_etcds_own_settings() {
        assert_eq!(MetaStoreConfig::default().prefix, EtcdConfig::default().prefix);
    }
}
