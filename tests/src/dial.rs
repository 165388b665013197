//! TLS as tests speak it beside our client: whom they trust, what they show, and what they are shown.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::Empty;
use hyper_util::rt::TokioIo;
use polarway_common::ErrorKind;
use polarway_proto::status::error_from_status;
use prost::Message;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::http::Uri;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

use crate::pki::{Authority, Leaf, PROCESS_NAME};
use crate::wait::within;

pub const HTTP1: &[u8] = b"http/1.1";
pub const HTTP2: &[u8] = b"h2";
const CEILING: Duration = Duration::from_secs(60);

/// How to dial servers. Each connection is a handshake of its own: none is resumed.
#[derive(Debug, Clone)]
pub struct Dial {
    config: ClientConfig,
    /// The name that is looked for; without it the address.
    name: Option<ServerName<'static>>,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// The connection was ended, before the call or during it.
    CutOff,
    /// The server's own word.
    Answered(Code),
}

impl Called {
    /// Whether the server told that this caller may not call it.
    pub fn is_refused(self) -> bool {
        matches!(self, Self::Answered(Code::PermissionDenied | Code::Unauthenticated))
    }
}

impl Dial {
    /// As a user does: trusts certificates of these for the address that is dialled, and shows none.
    pub fn user(trusted: &[&Authority]) -> Self {
        Self { config: config(trusted, None), name: None }
    }

    /// The same with a certificate to show.
    pub fn showing(trusted: &[&Authority], leaf: &Leaf) -> Self {
        Self { config: config(trusted, Some(leaf)), name: None }
    }

    /// Looks for the name of processes in place of the address, as processes do.
    #[must_use]
    pub fn at_processes(mut self) -> Self {
        self.name = Some(ServerName::try_from(PROCESS_NAME).unwrap());
        self
    }

    /// One connection, which offers these protocols.
    pub async fn open(&self, server: SocketAddr, protocols: &[&[u8]]) -> io::Result<TlsStream<TcpStream>> {
        let mut config = self.config.clone();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let name = self.name.clone().unwrap_or_else(|| ServerName::from(server.ip()));
        let connector = TlsConnector::from(Arc::new(config));
        let socket = TcpStream::connect(server).await?;
        within(format!("a handshake with {server}"), CEILING, Box::pin(connector.connect(name, socket))).await
    }

    /// The certificate that a server shows.
    pub async fn shown_by(&self, server: SocketAddr) -> io::Result<CertificateDer<'static>> {
        let stream = self.open(server, &[HTTP2, HTTP1]).await?;
        let (_, session) = stream.get_ref();
        Ok(session.peer_certificates().unwrap()[0].clone())
    }

    /// A channel for gRPC; the connection is made.
    pub async fn channel(&self, server: SocketAddr) -> Result<Channel, tonic::transport::Error> {
        let dial = self.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let dial = dial.clone();
            async move { dial.open(server, &[HTTP2]).await.map(TokioIo::new) }
        });
        // tonic does not take `https` without its own TLS.
        let origin: Uri = format!("https://{server}").parse().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{server}"))?.origin(origin);
        endpoint.connect_with_connector(connector).await
    }

    /// Calls a method once, with one message.
    pub async fn call<M: Message + 'static>(
        &self,
        server: SocketAddr,
        path: &'static str,
        message: M,
        token: Option<&str>,
    ) -> Called {
        let mut request = Request::new(message);
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let calling = async {
            let Ok(channel) = self.channel(server).await else { return Called::CutOff };
            let mut grpc = tonic::client::Grpc::new(channel);
            if grpc.ready().await.is_err() {
                return Called::CutOff;
            }
            let codec = tonic_prost::ProstCodec::<M, Empty>::default();
            match grpc.unary(request, PathAndQuery::from_static(path), codec).await {
                Ok(_) => Called::Answered(Code::Ok),
                // What a server sends has no cause here.
                Err(status) if status.source().is_some() => Called::CutOff,
                // Of what was sent, not of who has sent it; the code of both is the same.
                Err(status) if error_from_status(&status).kind == ErrorKind::InvalidTicket => {
                    Called::Answered(Code::InvalidArgument)
                }
                Err(status) => Called::Answered(status.code()),
            }
        };
        within(path, CEILING, Box::pin(calling)).await
    }

    /// Status and body of a GET over HTTP/1.1.
    pub async fn get(
        &self,
        server: SocketAddr,
        path: &str,
        token: Option<&str>,
    ) -> io::Result<(u16, String)> {
        let mut request = format!("GET {path} HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\n");
        if let Some(token) = token {
            request.push_str(&format!("authorization: Bearer {token}\r\n"));
        }
        request.push_str("\r\n");
        let mut stream = self.open(server, &[HTTP1]).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = vec![];
        let reading = within(format!("GET {path}"), CEILING, stream.read_to_end(&mut answer)).await;
        if let Err(error) = reading
            && (error.kind() != io::ErrorKind::UnexpectedEof || answer.is_empty())
        {
            return Err(error);
        }
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {answer}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.unwrap_or_else(|| panic!("no status: {head}")), body.to_owned()))
    }
}

fn config(trusted: &[&Authority], shown: Option<&Leaf>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for authority in trusted {
        roots.add(authority.certificate().clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match shown {
        Some(leaf) => {
            builder.with_client_auth_cert(vec![leaf.certificate().clone()], leaf.private_key()).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config
}
