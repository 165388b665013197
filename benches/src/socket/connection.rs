//! One connection to a stream, up to the acknowledgements that come back.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::frame::{self, Messages};
use crate::failure::{Context, Failure, Result};

/// How long a server may say nothing while something is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long one look for bytes takes at most.
const LOOK: Duration = Duration::from_millis(50);
const BUFFER: usize = 64 * 1024;

/// What a server says of the frames it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Ack {
    /// All frames up to this number have come so far.
    pub ack: u64,
    /// Rows of those newly acknowledged.
    pub rows: u64,
    pub bad: u64,
}

/// The first message on a connection.
#[derive(Debug, Deserialize)]
struct Hello {
    last: u64,
}

/// A connection that has been greeted.
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
    messages: Messages,
    buffer: Vec<u8>,
    /// Number of the last frame that the server had before this connection.
    last: u64,
}

impl Connection {
    /// Connects to `target`, a stream with its parameters, such as `ticks?producer=a&ack=wal`.
    ///
    /// # Errors
    /// The server refuses, or says nothing.
    pub fn open(address: SocketAddr, target: &str) -> Result<Self> {
        let mut connection = Self::upgrade(address, target)?;
        let begin = Instant::now();
        loop {
            if let Some((frame::TEXT, hello)) = connection.messages.take() {
                let Hello { last } = serde_json::from_slice(hello).context(|| "reading the greeting")?;
                connection.last = last;
                return Ok(connection);
            }
            connection.fill()?;
            if begin.elapsed() > PATIENCE {
                return Err(Failure::new("the server did not greet"));
            }
        }
    }

    fn upgrade(address: SocketAddr, target: &str) -> Result<Self> {
        let mut socket = TcpStream::connect(address).context(|| format!("connecting to {address}"))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.write_all(request(address, target).as_bytes())?;
        let (mut head, mut buffer) = (Vec::new(), vec![0; BUFFER]);
        let end = loop {
            if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            match socket.read(&mut buffer).context(|| "reading the answer to the handshake")? {
                0 => return Err(Failure::new("the server has ended the connection in the handshake")),
                size => head.extend_from_slice(buffer.get(..size).unwrap_or_default()),
            }
        };
        let rest = head.split_off(end);
        let head = String::from_utf8_lossy(&head);
        let status = head.lines().next().unwrap_or_default();
        if status.split_ascii_whitespace().nth(1) != Some("101") {
            return Err(Failure::new(format!("the handshake was answered {status}")));
        }
        socket.set_read_timeout(Some(LOOK))?;
        let mut messages = Messages::default();
        messages.extend(&rest);
        Ok(Self { socket, messages, buffer, last: 0 })
    }

    /// Number of the last frame that the server had before this connection.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The socket to write frames to; it is the same one.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn writer(&self) -> Result<TcpStream> {
        self.socket.try_clone().context(|| "duplicating a socket")
    }

    /// Hands the acknowledgements that are there to `take`; looks for bytes once, and not for long.
    ///
    /// # Errors
    /// The server has closed, or has said why it will.
    pub fn hear(&mut self, mut take: impl FnMut(Ack)) -> Result<()> {
        self.fill()?;
        while let Some((kind, payload)) = self.messages.take() {
            match kind {
                frame::TEXT => {
                    let ack = serde_json::from_slice(payload);
                    take(ack.map_err(|_| Failure::new(String::from_utf8_lossy(payload)))?);
                }
                frame::CLOSE => return Err(Failure::new("the server has closed the connection")),
                // A ping needs no answer from one who sends all the time.
                _ => {}
            }
        }
        Ok(())
    }

    /// Waits until frames up to `number` are acknowledged.
    ///
    /// # Errors
    /// As [`Connection::hear`], or nothing is heard for a minute.
    pub fn acknowledged(&mut self, number: u64) -> Result<()> {
        let (begin, mut reached) = (Instant::now(), 0);
        while reached < number {
            self.hear(|ack| reached = ack.ack)?;
            if begin.elapsed() > PATIENCE {
                return Err(Failure::new(format!("frame {number} is not acknowledged; {reached} is")));
            }
        }
        Ok(())
    }

    fn fill(&mut self) -> Result<()> {
        match self.socket.read(&mut self.buffer) {
            Ok(0) => Err(Failure::new("the server has ended the connection")),
            Ok(size) => {
                self.messages.extend(self.buffer.get(..size).unwrap_or_default());
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
            Err(error) => Err(error).context(|| "reading acknowledgements"),
        }
    }
}

/// The HTTP request that asks for `target`. The key need not be a secret, nor ever another.
pub fn request(address: SocketAddr, target: &str) -> String {
    format!(
        "GET /v1/streams/{target} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: cG9sYXJ3YXktYmVuY2gtMQ==\r\n\r\n"
    )
}
