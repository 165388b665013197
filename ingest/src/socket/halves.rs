//! A connection as two halves, one to read and one to write.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use polarway_identity::connection::Connection;
use polarway_tls::MaybeTls;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::server::TlsStream;

type Encrypted = Box<TlsStream<TcpStream>>;

#[derive(Debug)]
pub(super) enum Reading {
    /// Without the lock that halves of other connections share.
    Plain(OwnedReadHalf),
    Encrypted(ReadHalf<Encrypted>),
}

#[derive(Debug)]
pub(super) enum Writing {
    Plain(OwnedWriteHalf),
    Encrypted(WriteHalf<Encrypted>),
}

pub(super) fn halves(connection: Connection) -> (Reading, Writing) {
    match connection.into_stream() {
        MaybeTls::Plain(stream) => {
            let (read, write) = stream.into_split();
            (Reading::Plain(read), Writing::Plain(write))
        }
        MaybeTls::Tls(stream) => {
            let (read, write) = tokio::io::split(stream);
            (Reading::Encrypted(read), Writing::Encrypted(write))
        }
    }
}

impl AsyncRead for Reading {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(half) => Pin::new(half).poll_read(context, buffer),
            Self::Encrypted(half) => Pin::new(half).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Writing {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(half) => Pin::new(half).poll_write(context, bytes),
            Self::Encrypted(half) => Pin::new(half).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(half) => Pin::new(half).poll_flush(context),
            Self::Encrypted(half) => Pin::new(half).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(half) => Pin::new(half).poll_shutdown(context),
            Self::Encrypted(half) => Pin::new(half).poll_shutdown(context),
        }
    }
}
