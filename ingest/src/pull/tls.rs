//! Whom a feed trusts.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

/// Why no connection with TLS can be made.
#[derive(Debug, Error)]
pub(super) enum TrustError {
    #[error("no certificates may be named: no directory is configured for them")]
    NoDirectory,
    #[error("the certificates of `{name}` cannot be read: {why}")]
    File { name: String, why: String },
    #[error("the system has no certificates to trust: {0}")]
    System(String),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// Trusts the certificates in the file `ca` of the directory and no others, or without a name the system's. Reads
/// files: not for the runtime's threads.
pub(super) fn client_config(
    ca: Option<&str>,
    directory: Option<&PathBuf>,
) -> Result<ClientConfig, TrustError> {
    let roots = match ca {
        Some(name) => {
            let directory = directory.ok_or(TrustError::NoDirectory)?;
            given(&directory.join(name)).map_err(|why| TrustError::File { name: name.to_owned(), why })?
        }
        None => system()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn given(path: &Path) -> Result<RootCertStore, String> {
    let pem = std::fs::read(path).map_err(|error: io::Error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("it holds none".to_owned()) } else { Ok(roots) }
}

fn system() -> Result<RootCertStore, TrustError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A system may hold old certificates that are no longer valid to rustls; those that are suffice.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(TrustError::System(format!("{:?}", found.errors)));
    }
    Ok(roots)
}
