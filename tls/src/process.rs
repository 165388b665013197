//! A process's side of TLS.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use polarway_common::Error;
use polarway_common::config::TlsConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use crate::connector::Connector;
use crate::material::{Contents, Files, Material};

/// How often the files are looked at. Kubernetes changes a mounted secret by swapping a link, which not every way to watch
/// a file notices.
const ROUND: Duration = Duration::from_secs(2);
/// What a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What is spoken at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/2, to users and processes; the latter show a certificate.
    Grpc,
    /// HTTP/1.1 or HTTP/2.
    Http,
    /// HTTP/1.1, which becomes WebSocket.
    WebSocket,
}

impl Protocol {
    const ALL: [Self; 3] = [Self::Grpc, Self::Http, Self::WebSocket];

    /// As metrics call it.
    fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
            Self::WebSocket => "ws",
        }
    }
}

/// An encrypted connection that a server has accepted.
#[derive(Debug)]
pub struct Accepted {
    pub stream: Box<TlsStream<TcpStream>>,
    /// Whether the other end is a process of the cluster.
    pub by_process: bool,
}

/// What a process shows to others and whom it trusts, or that it speaks without TLS. Clones share it.
#[derive(Clone, Default)]
pub struct Tls(Option<Arc<State>>);

struct State {
    files: Files,
    material: RwLock<Arc<Material>>,
    failed: [AtomicU64; 3],
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "Tls(on)" } else { "Tls(off)" })
    }
}

impl Tls {
    /// As it is configured; without TLS if nothing is.
    ///
    /// # Errors
    /// `Configuration`: half of it is given, a file cannot be read, or what is in it does not fit.
    pub async fn load(config: &TlsConfig) -> Result<Self, Error> {
        let Some(files) = Files::of(config)? else { return Ok(Self::default()) };
        let contents = read(&files).await?;
        let material = Material::of(&files, &contents)?;
        material.check(&files)?;
        let state = State { files, material: RwLock::new(Arc::new(material)), failed: Default::default() };
        Ok(Self(Some(Arc::new(state))))
    }

    /// Whatever others would say of what it shows.
    #[cfg(test)]
    pub(crate) async fn unchecked(config: &TlsConfig) -> Self {
        let files = Files::of(config).unwrap().unwrap();
        let material = Material::of(&files, &read(&files).await.unwrap()).unwrap();
        let state = State { files, material: RwLock::new(Arc::new(material)), failed: Default::default() };
        Self(Some(Arc::new(state)))
    }

    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The handshake with a client that has connected; none if this process speaks without TLS.
    ///
    /// # Errors
    /// Those of the handshake, which may take ten seconds. They are counted, unless the client just [went away](went_away).
    pub async fn accept(
        &self,
        socket: TcpStream,
        protocol: Protocol,
    ) -> io::Result<Result<Accepted, TcpStream>> {
        let Some(state) = &self.0 else { return Ok(Err(socket)) };
        let config = state.material.read().server(protocol);
        let handshake = timeout(HANDSHAKE, TlsAcceptor::from(config).accept(socket)).await;
        match handshake.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                let by_process = state.is_process(&stream);
                Ok(Ok(Accepted { stream: Box::new(stream), by_process }))
            }
            Err(error) => {
                if !went_away(&error) {
                    state.failed[protocol as usize].fetch_add(1, Ordering::Relaxed);
                }
                Err(error)
            }
        }
    }

    /// Dials processes of the cluster.
    pub fn connector(&self) -> Connector {
        Connector::of_process(self.clone())
    }

    pub(crate) fn dial(&self) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        let state = self.0.as_ref()?;
        Some((Arc::clone(&state.material.read().dial), state.files.name.clone()))
    }

    /// What a HTTP/1.1 client asks processes of the cluster with, and the name that it asks for; none without TLS.
    pub fn for_https(&self) -> Option<(ClientConfig, String)> {
        let (config, name) = self.dial()?;
        let mut config = config.as_ref().clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Some((config, name.to_str().into_owned()))
    }

    /// An endpoint, a process's, that somebody else connects to. Whenever it connects it trusts who is trusted then, and shows
    /// what is shown now. If there is TLS it is a new one, on which windows and timeouts are to be set.
    ///
    /// # Errors
    /// Those of tonic.
    pub fn on_endpoint(&self, endpoint: Endpoint) -> Result<Endpoint, tonic::transport::Error> {
        let Some(state) = &self.0 else { return Ok(endpoint) };
        let authority = endpoint.uri().authority().map(ToString::to_string).unwrap_or_default();
        // tonic encrypts what says `https`, and nothing of an endpoint can be read back but its address.
        Endpoint::from_shared(format!("https://{authority}"))?.tcp_nodelay(true).tls_config_with_verifier(
            state.material.read().foreign.clone(),
            Arc::new(Current(Arc::clone(state))),
        )
    }

    /// Reads the files again when they have changed, until `stop`. What does not fit changes nothing: files are often replaced
    /// one after the other.
    ///
    /// # Errors
    /// None: what fails is told, and tried again.
    pub async fn follow(self, stop: CancellationToken) -> Result<(), Error> {
        let Some(state) = &self.0 else {
            stop.cancelled().await;
            return Ok(());
        };
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = None;
        loop {
            tokio::select! {
                _ = rounds.tick() => {}
                () = stop.cancelled() => return Ok(()),
            }
            state.look(&mut seen).await;
        }
    }

    /// Metrics in the text format of OpenMetrics; nothing without TLS.
    pub fn metrics(&self) -> String {
        let Some(failed) = self.failed_handshakes() else { return String::new() };
        let name = "polarway_tls_handshakes_failed";
        let mut text = format!("# HELP {name} TLS handshakes that failed.\n# TYPE {name} counter\n");
        for (protocol, count) in failed {
            text.push_str(&format!("{name}_total{{protocol=\"{protocol}\"}} {count}\n"));
        }
        text
    }

    /// How many handshakes have failed, by protocol; none without TLS.
    pub fn failed_handshakes(&self) -> Option<[(&'static str, u64); 3]> {
        let state = self.0.as_ref()?;
        Some(
            Protocol::ALL
                .map(|protocol| (protocol.name(), state.failed[protocol as usize].load(Ordering::Relaxed))),
        )
    }
}

impl State {
    /// Whether the client has shown a certificate (it was verified) with the name of processes in it.
    fn is_process(&self, stream: &TlsStream<TcpStream>) -> bool {
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        shown.is_some_and(|certificate| {
            ParsedCertificate::try_from(certificate)
                .and_then(|parsed| verify_server_name(&parsed, &self.files.name))
                .is_ok()
        })
    }

    /// Reads the files, and takes what is in them if that is something else than what was `seen`.
    async fn look(&self, seen: &mut Option<Result<Contents, Error>>) {
        let now = read(&self.files).await;
        if seen.as_ref() == Some(&now) {
            return;
        }
        let material = match &now {
            Ok(contents) => Material::of(&self.files, contents)
                .and_then(|material| material.check(&self.files).map(|()| material)),
            Err(error) => Err(error.clone()),
        };
        match material {
            Ok(material) => {
                *self.material.write() = Arc::new(material);
                if seen.is_some() {
                    tracing::info!(certificate = %self.files.shown_path().display(), "certificates were read anew");
                }
            }
            Err(error) => tracing::error!(%error, "certificates stay as they were"),
        }
        *seen = Some(now);
    }
}

/// Trusts whom the process trusts at the time.
struct Current(Arc<State>);

impl Current {
    fn verifier(&self) -> Arc<WebPkiServerVerifier> {
        Arc::clone(&self.0.material.read().verifier)
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl ServerCertVerifier for Current {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verifier().verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier().verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier().verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier().supported_verify_schemes()
    }
}

/// Whether the other end closed the connection without a word, as who only looks whether a port is open does.
pub fn went_away(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
}

async fn read(files: &Files) -> Result<Contents, Error> {
    let files = files.clone();
    tokio::task::spawn_blocking(move || files.read())
        .await
        .unwrap_or_else(|error| Err(Error::internal(format!("certificates could not be read: {error}"))))
}
