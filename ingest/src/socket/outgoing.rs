//! Everything that a connection sends, from one queue.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::fault::Fault;
use super::halves::Writing;
use super::message::{Ack, json};
use super::metrics::Closed;

/// How many messages wait at most; they are small, and acknowledgements batch while the queue is full.
pub(super) const QUEUE: usize = 16;

/// RFC 6455, 5.5: a control frame has at most 125 bytes, of which the code takes two.
const MAX_REASON: usize = 123;

/// A message to the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    Text(String),
    Ping,
    Pong(Bytes),
    /// The last one.
    Close(Option<CloseFrame>),
}

impl From<Ack> for Outgoing {
    fn from(ack: Ack) -> Self {
        Self::Text(json(&ack))
    }
}

impl Outgoing {
    /// The close frame after a fault.
    pub fn closing(fault: &Fault) -> Self {
        let message = &fault.message;
        let reason = Utf8Bytes::from(&message[..message.floor_char_boundary(MAX_REASON)]);
        Self::Close(Some(CloseFrame { code: fault.kind.close_code().into(), reason }))
    }

    fn into_frame(self) -> Frame {
        match self {
            Outgoing::Text(text) => Frame::message(text, OpCode::Data(Data::Text), true),
            Outgoing::Ping => Frame::ping(Bytes::new()),
            Outgoing::Pong(payload) => Frame::pong(payload),
            Outgoing::Close(frame) => Frame::close(frame),
        }
    }
}

/// Sends what is queued until the queue is closed, then ends our direction of the connection.
///
/// # Errors
/// [`Closed::Slow`] if a write takes longer than `patience`, [`Closed::Lost`] if the peer has gone.
pub(super) async fn send(
    mut socket: Writing,
    mut queue: Receiver<Outgoing>,
    patience: Duration,
) -> Result<(), Closed> {
    let mut messages = Vec::with_capacity(QUEUE);
    let mut buffer = Vec::new();
    while queue.recv_many(&mut messages, QUEUE).await > 0 {
        buffer.clear();
        for message in messages.drain(..) {
            message.into_frame().format(&mut buffer).map_err(|_| Closed::Internal)?;
        }
        // What is encrypted may be kept back until it is flushed.
        let written = async {
            socket.write_all(&buffer).await?;
            socket.flush().await
        };
        timeout(patience, written).await.map_err(|_| Closed::Slow)?.map_err(|_| Closed::Lost)?;
    }
    // The end of what is encrypted has to be written, too.
    timeout(patience, socket.shutdown()).await.map_err(|_| Closed::Slow)?.map_err(|_| Closed::Lost)
}

#[cfg(test)]
mod tests {
    use super::super::fault::FaultKind;
    use super::*;

    #[test]
    fn a_reason_fits_into_its_frame_and_stays_text() {
        let fault = Fault::new(FaultKind::LogFull, "é".repeat(100));
        let Outgoing::Close(Some(frame)) = Outgoing::closing(&fault) else { panic!("no close frame") };
        assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1013, "é".repeat(61).as_str()));
    }
}
