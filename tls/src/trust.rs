//! Whom a client trusts.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use polarway_common::{Error, ErrorKind};
use rustls::{ClientConfig, RootCertStore};

use crate::files::{Source, provider};

pub(crate) const H2: &[u8] = b"h2";

/// The authorities whose certificates a client takes. Clones share them.
#[derive(Clone)]
pub struct Trust(pub(crate) Arc<ClientConfig>);

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}

impl Trust {
    /// The system's authorities. Reads files: not for the runtime's threads.
    ///
    /// # Errors
    /// `Configuration` if there are none.
    pub fn system() -> Result<Self, Error> {
        client(system()?, None).map(Self)
    }

    /// The authorities in the file (PEM) and no others. Reads it: not for the runtime's threads.
    ///
    /// # Errors
    /// `Configuration` that names the file.
    pub fn of_file(path: &Path) -> Result<Self, Error> {
        let source = Source::new("tls_ca", path);
        let roots = source.authorities(&source.read()?)?;
        client(roots, None).map(Self)
    }
}

/// What a client trusts and shows, in files that may change: they are read for each connection.
pub struct ClientFiles {
    ca: Option<Source>,
    shown: Option<(Source, Source)>,
    last: Mutex<Option<Arc<ClientConfig>>>,
}

impl fmt::Debug for ClientFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientFiles").field("ca", &self.ca).finish_non_exhaustive()
    }
}

impl ClientFiles {
    /// `ca`: authorities, without which the system's are trusted. `shown`: a certificate and its key. Each is named with the
    /// key of the configuration that names it.
    ///
    /// # Errors
    /// `Configuration` if they cannot be used as they are now.
    pub fn open(
        ca: Option<(&'static str, PathBuf)>,
        shown: Option<[(&'static str, PathBuf); 2]>,
    ) -> Result<Self, Error> {
        let source = |(key, path): (&'static str, PathBuf)| Source { key, path };
        let shown = shown.map(|[certificate, key]| (source(certificate), source(key)));
        let files = Self { ca: ca.map(source), shown, last: Mutex::default() };
        let config = files.read()?;
        *files.last.lock() = Some(config);
        Ok(files)
    }

    fn read(&self) -> Result<Arc<ClientConfig>, Error> {
        let roots = match &self.ca {
            Some(ca) => ca.authorities(&ca.read()?)?,
            None => system()?,
        };
        client(roots, self.shown.as_ref())
    }

    /// As the files are now; or as they were, if they cannot be used now: they may be about to be replaced. Reads them.
    pub(crate) fn current(&self) -> Result<Arc<ClientConfig>, Error> {
        match self.read() {
            Ok(config) => {
                *self.last.lock() = Some(Arc::clone(&config));
                Ok(config)
            }
            Err(error) => {
                tracing::error!(%error, "certificates stay as they were");
                self.last.lock().clone().ok_or(error)
            }
        }
    }
}

fn client(roots: Arc<RootCertStore>, shown: Option<&(Source, Source)>) -> Result<Arc<ClientConfig>, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(format!("TLS: {error}")))?
        .with_root_certificates(roots);
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificate.certificates(&certificate.read()?)?;
            let private = key.private_key(&key.read()?)?;
            builder.with_client_auth_cert(chain, private).map_err(|error| key.fault(error))?
        }
    };
    config.alpn_protocols = vec![H2.to_vec()];
    Ok(Arc::new(config))
}

fn system() -> Result<Arc<RootCertStore>, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A system may hold old certificates that are not valid to rustls; those that are suffice.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let told = format!("the system has no authorities to trust: {:?}", found.errors);
        return Err(Error::new(ErrorKind::Configuration, told)
            .with_hint("name a file with the authority's certificate"));
    }
    Ok(Arc::new(roots))
}
