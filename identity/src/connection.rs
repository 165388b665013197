//! Accepted connections: TCP_NODELAY set, encrypted if the process has TLS, and numbered, so that a connection can stand for
//! a session.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info;
use axum::serve::{IncomingStream, Listener};
use futures::Stream;
use polarway_tls::{MaybeTls, Protocol, Tls, went_away};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// How many clients of a port may be in their handshakes. Further ones wait to be accepted.
const HANDSHAKES: usize = 256;
/// After a failed accept, mostly for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(10);

static NEXT: AtomicU64 = AtomicU64::new(1);

/// What a connection alone tells of the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Nothing: without TLS nobody can show anything.
    Plain,
    /// It has shown no certificate of a process.
    Encrypted,
    /// It is a process of the cluster, by its certificate.
    Process,
}

/// What requests of a connection carry.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionInfo {
    /// Never used twice in one process, unlike addresses and ports.
    pub id: u64,
    /// The other end.
    pub remote: SocketAddr,
    pub link: Link,
}

impl ConnectionInfo {
    /// That of a connection without TLS.
    pub fn plain(remote: SocketAddr) -> Self {
        Self::new(remote, Link::Plain)
    }

    fn new(remote: SocketAddr, link: Link) -> Self {
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), remote, link }
    }
}

/// A numbered connection.
#[derive(Debug)]
pub struct Connection {
    stream: MaybeTls<TlsStream<TcpStream>>,
    info: ConnectionInfo,
}

impl Connection {
    /// What follows when a client has connected: the handshake, if `tls` is on.
    ///
    /// # Errors
    /// Those of the handshake; they are logged.
    pub async fn accept(
        socket: TcpStream,
        remote: SocketAddr,
        tls: &Tls,
        protocol: Protocol,
    ) -> io::Result<Self> {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let accepted = tls.accept(socket, protocol).await.inspect_err(|error| match went_away(error) {
            true => tracing::debug!(%remote, %error, "a client has gone before the connection was encrypted"),
            false => tracing::warn!(%remote, %error, "a TLS handshake failed"),
        })?;
        let (stream, link) = match accepted {
            Err(plain) => (MaybeTls::Plain(plain), Link::Plain),
            Ok(accepted) => {
                let link = if accepted.by_process { Link::Process } else { Link::Encrypted };
                (MaybeTls::Tls(accepted.stream), link)
            }
        };
        Ok(Self { stream, info: ConnectionInfo::new(remote, link) })
    }

    pub fn info(&self) -> ConnectionInfo {
        self.info
    }

    /// The connection itself.
    pub fn into_stream(self) -> MaybeTls<TlsStream<TcpStream>> {
        self.stream
    }
}

impl Connected for Connection {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        self.info
    }
}

impl connect_info::Connected<IncomingStream<'_, Acceptor>> for ConnectionInfo {
    fn connect_info(stream: IncomingStream<'_, Acceptor>) -> Self {
        stream.io().info
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The connections of a port. Handshakes do not wait for each other.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    tls: Tls,
    protocol: Protocol,
    handshakes: JoinSet<Option<Connection>>,
}

impl Acceptor {
    pub fn new(listener: TcpListener, tls: Tls, protocol: Protocol) -> Self {
        Self { listener, tls, protocol, handshakes: JoinSet::new() }
    }

    /// The next connection; one that fails while it is accepted is skipped.
    async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                Some(ended) = self.handshakes.join_next(), if !self.handshakes.is_empty() => match ended {
                    Ok(Some(connection)) => return connection,
                    Ok(None) => {}
                    Err(error) => tracing::error!(%error, "a handshake panicked"),
                },
                accepted = self.listener.accept(), if self.handshakes.len() < HANDSHAKES => match accepted {
                    Ok((socket, remote)) => self.begin(socket, remote),
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    fn begin(&mut self, socket: TcpStream, remote: SocketAddr) {
        let (tls, protocol) = (self.tls.clone(), self.protocol);
        self.handshakes.spawn(async move { Connection::accept(socket, remote, &tls, protocol).await.ok() });
    }
}

impl Listener for Acceptor {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let connection = self.next().await;
        let remote = connection.info.remote;
        (connection, remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The connections of a gRPC port.
pub fn incoming(listener: TcpListener, tls: Tls) -> impl Stream<Item = io::Result<Connection>> {
    let acceptor = Acceptor::new(listener, tls, Protocol::Grpc);
    futures::stream::unfold(acceptor, |mut acceptor| async move {
        let connection = acceptor.next().await;
        Some((Ok(connection), acceptor))
    })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn connections_send_at_once_and_have_numbers_of_their_own() {
        let (listener, address) =
            polarway_common::bind(&"127.0.0.1:0".parse().unwrap(), "listen").await.unwrap();
        let mut connections = pin!(incoming(listener, Tls::default()));
        let client = TcpStream::connect(address).await.unwrap();
        assert!(!client.nodelay().unwrap(), "sockets begin without");
        let first = connections.next().await.unwrap().unwrap();
        let _other_client = TcpStream::connect(address).await.unwrap();
        let second = connections.next().await.unwrap().unwrap();
        assert_ne!(first.info().id, second.info().id);
        assert_eq!(first.info().link, Link::Plain);
        for connection in [first, second] {
            let MaybeTls::Plain(stream) = connection.into_stream() else { panic!("it is encrypted") };
            assert!(stream.nodelay().unwrap());
        }
    }
}
