//! What the files of a process hold, as rustls and tonic want it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use polarway_common::Error;
use polarway_common::config::TlsConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig};
use tonic::transport::{ClientTlsConfig, Identity};

use crate::files::{Source, provider};
use crate::process::Protocol;
use crate::trust::H2;

const HTTP_1: &[u8] = b"http/1.1";
/// What a handshake with a process may take that tonic makes. Those that are accepted have more time.
const HANDSHAKE: Duration = Duration::from_secs(3);

/// A certificate with its key.
#[derive(Debug, Clone)]
struct Pair {
    certificate: Source,
    key: Source,
}

/// The files of a process.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    shown: Pair,
    ca: Source,
    public: Option<Pair>,
    pub name: ServerName<'static>,
    name_text: String,
}

/// What is in them.
#[derive(PartialEq)]
pub(crate) struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<u8>,
    public: Option<(Vec<u8>, Vec<u8>)>,
}

impl Files {
    /// # Errors
    /// `Configuration` if half of it is given; none without any.
    pub fn of(config: &TlsConfig) -> Result<Option<Self>, Error> {
        let Some((certificate, key, ca)) = config.files()? else { return Ok(None) };
        let name = ServerName::try_from(config.process_name.clone()).map_err(|_| config.bad_name())?;
        let public = config.public()?.map(|(certificate, key)| Pair {
            certificate: Source::new("tls.public_certificate", certificate),
            key: Source::new("tls.public_key", key),
        });
        Ok(Some(Self {
            shown: Pair {
                certificate: Source::new("tls.certificate", certificate),
                key: Source::new("tls.key", key),
            },
            ca: Source::new("tls.ca", ca),
            public,
            name,
            name_text: config.process_name.clone(),
        }))
    }

    pub fn shown_path(&self) -> &std::path::Path {
        &self.shown.certificate.path
    }

    /// Reads all: not for the runtime's threads.
    pub fn read(&self) -> Result<Contents, Error> {
        let public = self.public.as_ref().map(|pair| Ok((pair.certificate.read()?, pair.key.read()?)));
        Ok(Contents {
            certificate: self.shown.certificate.read()?,
            key: self.shown.key.read()?,
            ca: self.ca.read()?,
            public: public.transpose()?,
        })
    }
}

impl Pair {
    fn certified(&self, certificate: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, Error> {
        let chain = self.certificate.certificates(certificate)?;
        let private = self.key.private_key(key)?;
        CertifiedKey::from_der(chain, private, &provider()).map(Arc::new).map_err(|error| match error {
            rustls::Error::InvalidCertificate(_) => self.certificate.fault(error),
            _ => self.key.fault(format!("it does not fit `{}`: {error}", self.certificate.key)),
        })
    }
}

/// Ready for use; made as a whole or not at all.
pub(crate) struct Material {
    servers: [Arc<ServerConfig>; 3],
    /// For our own dials.
    pub dial: Arc<ClientConfig>,
    /// For those that tonic makes: what is shown, and who is trusted.
    pub foreign: ClientTlsConfig,
    pub verifier: Arc<WebPkiServerVerifier>,
    shown: Arc<CertifiedKey>,
}

impl Material {
    pub fn of(files: &Files, contents: &Contents) -> Result<Self, Error> {
        let shown = files.shown.certified(&contents.certificate, &contents.key)?;
        let public = match (&files.public, &contents.public) {
            (Some(pair), Some((certificate, key))) => pair.certified(certificate, key)?,
            _ => Arc::clone(&shown),
        };
        let authorities = files.ca.authorities(&contents.ca)?;
        let by_name = Arc::new(ByName { process: Arc::clone(&shown), public, name: files.name_text.clone() });
        let servers = [
            server(files, &by_name, Some(&authorities), &[H2])?,
            // Browsers that speak HTTP/2 send no `Host`, by which the page knows its own.
            server(files, &by_name, None, &[HTTP_1])?,
            server(files, &by_name, None, &[HTTP_1])?,
        ];
        let chain = shown.cert.clone();
        let private = files.shown.key.private_key(&contents.key)?;
        let mut dial = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::internal(format!("TLS: {error}")))?
            .with_root_certificates(Arc::clone(&authorities))
            .with_client_auth_cert(chain, private)
            .map_err(|error| files.shown.key.fault(error))?;
        dial.alpn_protocols = vec![H2.to_vec()];
        let foreign = ClientTlsConfig::new()
            .domain_name(files.name_text.clone())
            .timeout(HANDSHAKE)
            .identity(Identity::from_pem(&contents.certificate, &contents.key));
        let verifier = WebPkiServerVerifier::builder_with_provider(authorities, provider())
            .build()
            .map_err(|error| files.ca.fault(error))?;
        Ok(Self { servers, dial: Arc::new(dial), foreign, verifier, shown })
    }

    /// Whether other processes would take what this one shows. That it has expired is no reason to stop, and told.
    ///
    /// # Errors
    /// `Configuration`: it is of another authority, or has not the name of processes.
    pub fn check(&self, files: &Files) -> Result<(), Error> {
        let Some((first, others)) = self.shown.cert.split_first() else { return Ok(()) };
        let certificate = &files.shown.certificate;
        let taken = self.verifier.verify_server_cert(first, others, &files.name, &[], UnixTime::now());
        match taken {
            Ok(_) => Ok(()),
            Err(rustls::Error::InvalidCertificate(
                cause @ (CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }),
            )) => {
                let path = certificate.path.display();
                tracing::error!(%path, %cause, "nobody will take the certificate of this process");
                Ok(())
            }
            Err(error) => Err(certificate.fault(format!("other processes would not take it: {error}"))),
        }
    }

    pub fn server(&self, protocol: Protocol) -> Arc<ServerConfig> {
        Arc::clone(&self.servers[protocol as usize])
    }
}

fn server(
    files: &Files,
    certificates: &Arc<ByName>,
    processes_of: Option<&Arc<RootCertStore>>,
    protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, Error> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(format!("TLS: {error}")))?;
    let builder = match processes_of {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            // Users have none.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(authorities), provider())
                .allow_unauthenticated()
                .build()
                .map_err(|error| files.ca.fault(error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let asks = processes_of.is_some();
    let mut config = builder.with_cert_resolver(Arc::clone(certificates) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    if asks {
        // A session that is resumed is not verified again, and a certificate may have expired.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}

/// Shows processes, which ask for the name of processes, what they trust, and users what they trust.
struct ByName {
    process: Arc<CertifiedKey>,
    public: Arc<CertifiedKey>,
    name: String,
}

impl fmt::Debug for ByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByName").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let of_process = hello.server_name().is_some_and(|name| name.eq_ignore_ascii_case(&self.name));
        Some(Arc::clone(if of_process { &self.process } else { &self.public }))
    }
}
