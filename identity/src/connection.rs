//! Accepted connections: TCP_NODELAY set, and numbered, so that a connection can stand for a session.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::Connected;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// What requests of a connection carry.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionInfo {
    /// Never used twice in one process, unlike addresses and ports.
    pub id: u64,
    /// The other end.
    pub remote: SocketAddr,
}

/// A numbered TCP stream.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    info: ConnectionInfo,
}

impl Connected for Connection {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        self.info
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The listener's connections; one that fails while it is accepted is skipped.
pub fn incoming(listener: TcpListener) -> impl Stream<Item = std::io::Result<Connection>> {
    futures::stream::unfold(listener, |listener| async move {
        loop {
            match listener.accept().await {
                Ok((stream, remote)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY could not be set");
                    }
                    let info = ConnectionInfo { id: NEXT.fetch_add(1, Ordering::Relaxed), remote };
                    return Some((Ok(Connection { stream, info }), listener));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            }
        }
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
        let mut connections = pin!(incoming(listener));
        let client = TcpStream::connect(address).await.unwrap();
        assert!(!client.nodelay().unwrap(), "sockets begin without");
        let first = connections.next().await.unwrap().unwrap();
        let _other_client = TcpStream::connect(address).await.unwrap();
        let second = connections.next().await.unwrap().unwrap();
        assert!(first.stream.nodelay().unwrap() && second.stream.nodelay().unwrap());
        assert_ne!(first.connect_info().id, second.connect_info().id);
    }
}
