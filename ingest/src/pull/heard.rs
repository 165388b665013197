//! When the last byte came, whatever it was part of.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use parking_lot::Mutex;
use polarway_common::Clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection, with TLS or without.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// The time of the last byte, shared with who asks for it.
#[derive(Debug, Clone)]
pub(super) struct LastByte(Arc<Mutex<Instant>>);

impl LastByte {
    pub fn get(&self) -> Instant {
        *self.0.lock()
    }
}

/// A connection that notes when it was heard. A large message may come for longer than a peer may be silent, and
/// would look like silence from above.
pub(super) struct Heard<W> {
    wire: W,
    clock: Arc<dyn Clock>,
    last: LastByte,
}

impl<W> Heard<W> {
    pub fn new(wire: W, clock: Arc<dyn Clock>) -> (Self, LastByte) {
        let last = LastByte(Arc::new(Mutex::new(clock.now())));
        (Self { wire, clock, last: last.clone() }, last)
    }
}

impl<W: Wire> AsyncRead for Heard<W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.wire).poll_read(cx, buf);
        if buf.filled().len() > before {
            *self.last.0.lock() = self.clock.now();
        }
        poll
    }
}

impl<W: Wire> AsyncWrite for Heard<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}
