//! Dials.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::http::Uri;
use tower::{Service, ServiceExt};

use crate::failure::ConnectError;
use crate::process::Tls;
use crate::stream::MaybeTls;
use crate::trust::{ClientFiles, Trust};

const KEEPALIVE: Duration = Duration::from_secs(30);

/// Makes connections with TCP_NODELAY, for `Endpoint::connect_with_connector` of tonic. A URI stays `http://`, encrypted
/// or not: tonic refuses others without TLS of its own. Each connection is made with what is trusted and shown at that time.
#[derive(Clone)]
pub struct Connector(How);

#[derive(Clone)]
enum How {
    Plain,
    Trusting(Trust),
    Files(Arc<ClientFiles>),
    Process(Tls),
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            How::Plain => "Connector(plain)",
            How::Trusting(_) | How::Files(_) => "Connector(TLS)",
            How::Process(_) => "Connector(process)",
        })
    }
}

impl Connector {
    /// Without encryption.
    pub fn plain() -> Self {
        Self(How::Plain)
    }

    /// To servers that show a certificate of a trusted authority for the host that the URI names.
    pub fn trusting(trust: &Trust) -> Self {
        Self(How::Trusting(trust.clone()))
    }

    /// Likewise, as the files say when it dials.
    pub fn of_files(files: ClientFiles) -> Self {
        Self(How::Files(Arc::new(files)))
    }

    /// To processes of the cluster.
    pub(crate) fn of_process(tls: Tls) -> Self {
        Self(How::Process(tls))
    }

    async fn dial(self, uri: Uri) -> Result<TokioIo<MaybeTls<TlsStream<TcpStream>>>, ConnectError> {
        let nowhere = || ConnectError::Address(uri.to_string());
        let host = uri.host().ok_or_else(nowhere)?;
        let port = uri.port_u16().ok_or_else(nowhere)?;
        // IPv6 addresses come in brackets.
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let place = || format!("{}:{port}", polarway_common::address::url_host(host));
        let by_host = || ServerName::try_from(host.to_owned()).map_err(|_| nowhere());
        let tls: Option<(Arc<ClientConfig>, ServerName<'static>)> = match &self.0 {
            How::Plain => None,
            How::Trusting(trust) => Some((Arc::clone(&trust.0), by_host()?)),
            How::Files(files) => {
                let files = Arc::clone(files);
                let read = tokio::task::spawn_blocking(move || files.current()).await;
                let read = read.map_err(|error| polarway_common::Error::internal(error.to_string()));
                Some((read??, by_host()?))
            }
            How::Process(tls) => tls.dial(),
        };
        let connected = tcp().oneshot(uri.clone()).await;
        let stream = connected
            .map_err(|cause| ConnectError::Tcp { place: place(), cause: Box::new(cause) })?
            .into_inner();
        let Some((config, name)) = tls else { return Ok(TokioIo::new(MaybeTls::Plain(stream))) };
        let handshake = TlsConnector::from(config).connect(name, stream).await;
        let stream = handshake.map_err(|cause| ConnectError::Handshake { place: place(), cause })?;
        Ok(TokioIo::new(MaybeTls::Tls(Box::new(stream))))
    }
}

/// Tries the addresses of a name, of both families at nearly the same time (RFC 8305).
fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp
}

impl Service<Uri> for Connector {
    type Response = TokioIo<MaybeTls<TlsStream<TcpStream>>>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        self.clone().dial(uri).boxed()
    }
}
