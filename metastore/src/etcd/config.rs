//! How etcd is reached.

use std::path::PathBuf;
use std::time::Duration;

use polarway_common::config::Secret;
use tonic::codegen::http::Uri;

use crate::error::{MetaStoreError, Result};
use crate::patience::Patience;

/// etcd gives no lease a shorter time to live.
const SHORTEST_TTL: Duration = Duration::from_secs(2);
/// The death of a process should be noticed while somebody still cares.
const LONGEST_TTL: Duration = Duration::from_secs(60 * 60);

/// Settings of an [`super::EtcdMetaStore`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdConfig {
    /// URLs of the members, such as `https://etcd-0:2379`: scheme, host and port, all with one scheme. One is used at a
    /// time, the next when it fails.
    pub endpoints: Vec<String>,
    /// What all keys begin with, up to a `/`, so that several clusters can share one etcd.
    pub prefix: String,
    /// Needed if etcd has authentication enabled, and refused by it otherwise.
    pub credentials: Option<Credentials>,
    /// Only with `https`. Default: the system's certificate authorities, and no certificate of our own.
    pub tls: TlsFiles,
    /// What processes ask for when they take a lease: how soon the death of one is noticed.
    pub lease_ttl: Duration,
    pub patience: Patience,
    pub limits: EtcdLimits,
}

impl Default for EtcdConfig {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            prefix: "polarway/".to_owned(),
            credentials: None,
            tls: TlsFiles::default(),
            lease_ttl: Duration::from_secs(5),
            patience: Patience::default(),
            limits: EtcdLimits::default(),
        }
    }
}

/// Who we are to etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user: String,
    pub password: Password,
}

/// Where the password is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    Text(Secret),
    /// Read anew whenever etcd is logged in to, without the end of its last line.
    File(PathBuf),
}

/// Files in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate authorities that members' certificates are checked against.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key, both or none.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// What etcd takes; its operator can raise both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EtcdLimits {
    /// Preconditions, and writes, of one transaction (`--max-txn-ops`).
    pub operations: usize,
    /// Bytes of one request (`--max-request-bytes`).
    pub request_bytes: usize,
}

impl Default for EtcdLimits {
    fn default() -> Self {
        Self { operations: 128, request_bytes: 1_572_864 }
    }
}

impl EtcdConfig {
    /// # Errors
    /// [`MetaStoreError::InvalidConfig`] that names the setting.
    pub fn validate(&self) -> Result<()> {
        self.problem().map_or(Ok(()), |detail| Err(invalid(detail)))
    }

    fn problem(&self) -> Option<String> {
        let Self { endpoints, prefix, credentials, tls, lease_ttl, patience, limits } = self;
        if endpoints.is_empty() {
            return Some("no endpoint is given".to_owned());
        }
        if let Some(problem) = endpoints.iter().find_map(|endpoint| problem_of_endpoint(endpoint)) {
            return Some(problem);
        }
        let encrypted = endpoints.iter().filter(|endpoint| is_https(endpoint)).count();
        if encrypted != 0 && encrypted != endpoints.len() {
            return Some("some endpoints are https and some are not".to_owned());
        }
        if encrypted == 0 && *tls != TlsFiles::default() {
            return Some("TLS files are given, and the endpoints are not https".to_owned());
        }
        if tls.certificate.is_some() != tls.key.is_some() {
            return Some("a certificate of our own needs its key, and the key its certificate".to_owned());
        }
        if prefix == "/" || !prefix.ends_with('/') {
            return Some(format!("the prefix `{prefix}` must have a name and end with `/`"));
        }
        if credentials.as_ref().is_some_and(|credentials| credentials.user.is_empty()) {
            return Some("the user's name is empty".to_owned());
        }
        if *lease_ttl < SHORTEST_TTL || *lease_ttl > LONGEST_TTL {
            return Some(format!(
                "the time to live of leases is {lease_ttl:?}; it must be from {SHORTEST_TTL:?} to {LONGEST_TTL:?}"
            ));
        }
        if patience.deadline.is_zero() || limits.operations == 0 || limits.request_bytes == 0 {
            return Some("a limit is zero".to_owned());
        }
        None
    }
}

fn is_https(endpoint: &str) -> bool {
    endpoint.starts_with("https://")
}

/// The text of an endpoint is shown in errors and logs, so that it must not hold a password.
fn problem_of_endpoint(endpoint: &str) -> Option<String> {
    if endpoint.contains('@') {
        return Some(
            "an endpoint holds a user's name or password, which belong into the credentials".to_owned(),
        );
    }
    let valid = endpoint.parse::<Uri>().is_ok_and(|uri| {
        let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
        scheme && uri.port().is_some() && matches!(uri.path(), "" | "/") && uri.query().is_none()
    });
    (!valid).then(|| format!("the endpoint `{endpoint}` is not of the form `https://host:2379`"))
}

pub(super) fn invalid(detail: impl Into<String>) -> MetaStoreError {
    MetaStoreError::InvalidConfig { detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> EtcdConfig {
        EtcdConfig {
            endpoints: vec!["http://a:2379".into(), "http://b:2379/".into()],
            ..EtcdConfig::default()
        }
    }

    fn problem(change: impl FnOnce(&mut EtcdConfig)) -> String {
        let mut config = valid();
        change(&mut config);
        let error = config.validate().unwrap_err();
        let text = error.to_string();
        assert_eq!(polarway_common::Error::from(error).kind, polarway_common::ErrorKind::Configuration);
        text
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        valid().validate().unwrap();
        assert!(problem(|it| it.endpoints.clear()).contains("no endpoint"));
        for endpoint in ["a:2379", "http://a", "ftp://a:1", "http://a:1/x", "http://a:1?x", ""] {
            assert!(problem(|it| it.endpoints[1] = endpoint.into()).contains(&format!("`{endpoint}`")));
        }
        assert!(problem(|it| it.endpoints[0] = "https://a:2379".into()).contains("some are not"));
        assert!(problem(|it| it.tls.ca = Some("ca.pem".into())).contains("not https"));
        for prefix in ["", "/", "polarway"] {
            assert!(problem(|it| it.prefix = prefix.into()).contains(&format!("`{prefix}`")));
        }
        assert!(problem(|it| it.lease_ttl = Duration::from_secs(1)).contains("1s"));
        assert!(problem(|it| it.lease_ttl = Duration::from_secs(86_400)).contains("86400s"));
        assert!(problem(|it| it.limits.operations = 0).contains("zero"));
        let nobody = Credentials { user: String::new(), password: Password::Text(Secret::new("x")) };
        assert!(problem(|it| it.credentials = Some(nobody)).contains("empty"));
        let half = |it: &mut EtcdConfig| {
            it.endpoints = vec!["https://a:2379".into()];
            it.tls.key = Some("key.pem".into());
        };
        assert!(problem(half).contains("its certificate"));
    }

    #[test]
    fn no_secret_is_shown() {
        let text = problem(|it| it.endpoints[0] = "http://root:hunter2@a:2379".into());
        assert!(!text.contains("hunter2"), "{text}");
        let credentials =
            Credentials { user: "root".into(), password: Password::Text(Secret::new("hunter2")) };
        let config = EtcdConfig { credentials: Some(credentials), ..valid() };
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
