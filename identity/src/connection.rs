//! Accepted connections: TCP_NODELAY set, encrypted if the process has TLS, and numbered, so that a connection can stand for
//! a session.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::extract::connect_info;
use axum::serve::{IncomingStream, Listener};
use futures::Stream;
use parking_lot::Mutex;
use polarway_tls::{MaybeTls, Protocol, Tls, went_away};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// How many clients of a port may be in their handshakes. Further ones push out those that have taken longest: whoever opens
/// connections and says nothing must not keep others out.
const HANDSHAKES: usize = 256;
/// After a failed accept, mostly for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(10);
const LOGGED_EVERY: Duration = Duration::from_secs(1);

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
        let accepted = tls.accept(socket, protocol).await.inspect_err(|error| told(remote, error))?;
        let (stream, link) = match accepted {
            Err(plain) => return Ok(Self::plain(plain, remote)),
            Ok(accepted) => {
                let link = if accepted.by_process { Link::Process } else { Link::Encrypted };
                at_once(accepted.stream.get_ref().0);
                (MaybeTls::Tls(accepted.stream), link)
            }
        };
        Ok(Self { stream, info: ConnectionInfo::new(remote, link) })
    }

    fn plain(socket: TcpStream, remote: SocketAddr) -> Self {
        at_once(&socket);
        Self { stream: MaybeTls::Plain(socket), info: ConnectionInfo::plain(remote) }
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

fn at_once(socket: &TcpStream) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
}

/// Tells of a handshake that has failed; at `warn` of one a second, since anybody can make as many as he likes.
fn told(remote: SocketAddr, error: &io::Error) {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    if went_away(error) {
        tracing::debug!(%remote, %error, "a client has gone before the connection was encrypted");
        return;
    }
    let mut last = LAST.lock();
    if last.is_some_and(|last| last.elapsed() < LOGGED_EVERY) {
        tracing::debug!(%remote, %error, "a TLS handshake failed");
        return;
    }
    *last = Some(Instant::now());
    tracing::warn!(%remote, %error, "a TLS handshake failed");
}

/// The connections of a port. Handshakes do not wait for each other.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    tls: Tls,
    protocol: Protocol,
    handshakes: JoinSet<Option<Connection>>,
    /// The same, the oldest first, with some that are over.
    begun: VecDeque<(IpAddr, AbortHandle)>,
}

impl Acceptor {
    pub fn new(listener: TcpListener, tls: Tls, protocol: Protocol) -> Self {
        Self { listener, tls, protocol, handshakes: JoinSet::new(), begun: VecDeque::new() }
    }

    /// The next connection; one that fails while it is accepted is skipped.
    async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                Some(ended) = self.handshakes.join_next(), if !self.handshakes.is_empty() => match ended {
                    Ok(Some(connection)) => return connection,
                    Ok(None) => {}
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => tracing::error!(%error, "a handshake panicked"),
                },
                accepted = self.listener.accept() => match accepted {
                    Ok((socket, remote)) if !self.tls.is_on() => return Connection::plain(socket, remote),
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
        if self.begun.len() >= HANDSHAKES {
            self.begun.retain(|(_, handshake)| !handshake.is_finished());
            if self.begun.len() >= HANDSHAKES {
                self.push_out();
            }
        }
        let (tls, protocol) = (self.tls.clone(), self.protocol);
        let handshake = async move { Connection::accept(socket, remote, &tls, protocol).await.ok() };
        self.begun.push_back((remote.ip(), self.handshakes.spawn(handshake)));
    }

    /// Ends the oldest handshake of the address that has most: one that opens many does not push out others.
    fn push_out(&mut self) {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        self.begun.iter().for_each(|(ip, _)| *counts.entry(*ip).or_default() += 1);
        let most = counts.into_iter().max_by_key(|(_, count)| *count).map(|(ip, _)| ip);
        let oldest = self.begun.iter().position(|(ip, _)| Some(*ip) == most);
        if let Some((_, handshake)) = oldest.and_then(|at| self.begun.remove(at)) {
            handshake.abort();
        }
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
    async fn row_47_who_says_nothing_keeps_nobody_out() {
        let directory = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["polarway-process".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let file = |name: &str, text: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        let config = polarway_common::config::TlsConfig {
            certificate: file("certificate.pem", certificate.pem()),
            key: file("key.pem", key.serialize_pem()),
            ca: file("ca.pem", certificate.pem()),
            ..Default::default()
        };
        let tls = Tls::load(&config).await.unwrap();
        let (listener, address) =
            polarway_common::bind(&"127.0.0.1:0".parse().unwrap(), "listen").await.unwrap();
        let mut connections = pin!(incoming(listener, tls.clone()));
        let mut silent = vec![];
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
        let ours = async {
            for _ in 0..HANDSHAKES + 10 {
                silent.push(TcpStream::connect(address).await.unwrap());
            }
            endpoint.connect_with_connector(tls.connector()).await
        };
        let (accepted, channel) = tokio::join!(connections.next(), ours);
        assert_eq!(accepted.unwrap().unwrap().info().link, Link::Process);
        channel.unwrap();
    }

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
