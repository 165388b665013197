use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// `[tls]`: what this process shows to others and whom it trusts. With it every port speaks TLS and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// File (PEM) with the certificate of this process, and those between it and its authority; goes together with the next
    /// two. Default: none, and nothing is encrypted.
    pub certificate: Option<PathBuf>,
    /// File (PEM) with its key.
    pub key: Option<PathBuf>,
    /// File (PEM) with the authorities of the cluster's processes.
    pub ca: Option<PathBuf>,
    /// The DNS name that is in the certificates of all processes of the cluster, and in nobody else's. Default:
    /// `polarway-process`.
    pub process_name: String,
    /// Files (PEM) with another certificate and its key, which users are shown. Default: those above.
    pub public_certificate: Option<PathBuf>,
    pub public_key: Option<PathBuf>,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            certificate: None,
            key: None,
            ca: None,
            process_name: "polarway-process".to_owned(),
            public_certificate: None,
            public_key: None,
        }
    }
}

impl TlsConfig {
    /// Certificate, key and authorities, if they are given.
    ///
    /// # Errors
    /// `Configuration` if some of them are.
    pub fn files(&self) -> Result<Option<(&Path, &Path, &Path)>> {
        match (&self.certificate, &self.key, &self.ca) {
            (Some(certificate), Some(key), Some(ca)) => Ok(Some((certificate, key, ca))),
            (None, None, None) => Ok(None),
            _ => Err(fault("`tls.certificate`, `tls.key` and `tls.ca` go together")),
        }
    }

    /// Certificate and key for users, if they are given.
    ///
    /// # Errors
    /// `Configuration` if one of them is, or if processes have none.
    pub fn public(&self) -> Result<Option<(&Path, &Path)>> {
        match (&self.public_certificate, &self.public_key) {
            (Some(certificate), Some(key)) if self.files()?.is_some() => Ok(Some((certificate, key))),
            (None, None) => Ok(None),
            (Some(_), Some(_)) => {
                Err(fault("`tls.public_certificate` needs `tls.certificate`, `tls.key` and `tls.ca`"))
            }
            _ => Err(fault("`tls.public_certificate` and `tls.public_key` go together")),
        }
    }

    /// Whether all of it is given.
    pub fn is_on(&self) -> bool {
        matches!(self.files(), Ok(Some(_)))
    }

    pub fn bad_name(&self) -> Error {
        fault(&format!("`tls.process_name` ({}) is no DNS name", self.process_name))
    }

    /// Whether what is given goes together.
    ///
    /// # Errors
    /// `Configuration`.
    pub fn check(&self) -> Result<()> {
        self.files()?;
        self.public()?;
        let is_label = |label: &str| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        // An address is none: those who dial one do not send it as the name that they want.
        let is_address = self.process_name.parse::<std::net::IpAddr>().is_ok();
        if is_address || !self.process_name.split('.').all(is_label) {
            return Err(self.bad_name());
        }
        Ok(())
    }
}

fn fault(told: &str) -> Error {
    Error::new(ErrorKind::Configuration, told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_47_half_of_it_is_refused() {
        let path = || Some(PathBuf::from("/x.pem"));
        let some = |bits: u8| TlsConfig {
            certificate: path().filter(|_| bits & 1 > 0),
            key: path().filter(|_| bits & 2 > 0),
            ca: path().filter(|_| bits & 4 > 0),
            public_certificate: path().filter(|_| bits & 8 > 0),
            public_key: path().filter(|_| bits & 16 > 0),
            ..TlsConfig::default()
        };
        for bits in 0..32 {
            let config = some(bits);
            let checked = config.check();
            assert_eq!(checked.is_ok(), [0, 7, 31].contains(&bits), "{config:?}: {checked:?}");
            assert_eq!(config.is_on(), bits & 7 == 7);
        }
        for name in ["", "10.0.0.1", "::1", "a b", "a..b"] {
            let config = TlsConfig { process_name: name.to_owned(), ..some(7) };
            assert!(config.check().unwrap_err().message.contains("`tls.process_name`"), "{name}");
        }
    }
}
