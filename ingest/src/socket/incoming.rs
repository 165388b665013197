//! The reading half of a connection's socket.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::halves::Reading;

/// When the last byte came, and whether anybody looks.
#[derive(Debug)]
pub(super) struct Heard {
    start: Instant,
    /// Microseconds since `start`.
    last: AtomicU64,
    reading: AtomicBool,
}

impl Heard {
    pub fn new(start: Instant) -> Self {
        Self { start, last: AtomicU64::new(0), reading: AtomicBool::new(true) }
    }

    pub fn last(&self) -> Instant {
        self.start + Duration::from_micros(self.last.load(Relaxed))
    }

    pub fn is_reading(&self) -> bool {
        self.reading.load(Relaxed)
    }

    /// Notes that the socket is not read from now on.
    pub fn pause(&self) {
        self.reading.store(false, Relaxed);
    }

    /// Notes that the socket is read again; the peer's silence counts from now.
    pub fn resume(&self, now: Instant) {
        self.touch(now);
        self.reading.store(true, Relaxed);
    }

    fn touch(&self, now: Instant) {
        let micros = now.saturating_duration_since(self.start).as_micros();
        self.last.store(u64::try_from(micros).unwrap_or(u64::MAX), Relaxed);
    }
}

/// What tungstenite reads from. It would also answer pings and close frames by itself, at moments of its own; those
/// answers are thrown away here, because everything that is sent goes through `outgoing`: a close frame must be
/// answered after the last acknowledgement, and tungstenite sends nothing after its own answer.
#[derive(Debug)]
pub(super) struct Incoming {
    socket: Reading,
    heard: Arc<Heard>,
    /// Bytes that came before the upgrade and are read first. Tungstenite would take them at its start, but then
    /// its buffer begins with their size and stays small: a system call for every frame or two.
    early: Bytes,
}

impl Incoming {
    pub fn new(early: Vec<u8>, socket: Reading, heard: Arc<Heard>) -> Self {
        Self { socket, heard, early: early.into() }
    }
}

impl AsyncRead for Incoming {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let bytes = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early.split_to(bytes));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.socket).poll_read(context, buffer));
        if buffer.filled().len() > before {
            self.heard.touch(now());
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Incoming {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The runtime's clock, which tests can stop.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
