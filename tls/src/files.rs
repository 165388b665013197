//! Certificates and keys in files (PEM). Whatever is wrong with one is told with the key that names it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use polarway_common::{Error, ErrorKind};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Where a file is, and which key says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub key: &'static str,
    pub path: PathBuf,
}

impl Source {
    pub fn new(key: &'static str, path: &Path) -> Self {
        Self { key, path: path.to_owned() }
    }

    pub fn fault(&self, cause: impl std::fmt::Display) -> Error {
        let told = format!("`{}` ({}): {cause}", self.key, self.path.display());
        Error::new(ErrorKind::Configuration, told)
    }

    /// Reads the file: not for the runtime's threads.
    pub fn read(&self) -> Result<Vec<u8>, Error> {
        std::fs::read(&self.path).map_err(|error| self.fault(error))
    }

    /// The certificates in `pem`, one or more.
    pub fn certificates(&self, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
        let all: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| self.fault(format!("it is no PEM file: {error}")))?;
        if all.is_empty() { Err(self.fault("it holds no certificate")) } else { Ok(all) }
    }

    pub fn authorities(&self, pem: &[u8]) -> Result<Arc<RootCertStore>, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates(pem)? {
            roots
                .add(certificate)
                .map_err(|error| self.fault(format!("a certificate in it is no authority's: {error}")))?;
        }
        Ok(Arc::new(roots))
    }

    /// The private key in `pem`. Nothing of it is told.
    pub fn private_key(&self, pem: &[u8]) -> Result<PrivateKeyDer<'static>, Error> {
        PrivateKeyDer::from_pem_slice(pem).map_err(|_| self.fault("it holds no private key"))
    }
}

/// The only cryptography here.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
