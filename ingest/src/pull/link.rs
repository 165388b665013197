//! A connection to a feed.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{FutureExt, SinkExt, StreamExt};
use polarway_common::config::Secret;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::heard::{Heard, LastByte, Wire};
use super::prepare::Redactor;
use super::session::Hangup;

type Socket = WebSocketStream<Heard<Box<dyn Wire>>>;

/// What was read.
#[derive(Debug)]
pub(super) enum Read {
    Message(Bytes),
    /// A ping or a pong.
    Control,
    /// Nothing follows.
    End(String),
}

pub(super) struct Link {
    socket: Socket,
    heard: LastByte,
    subscription: Vec<Secret>,
    redactor: Redactor,
}

impl Link {
    pub fn new(socket: Socket, heard: LastByte, subscription: Vec<Secret>, redactor: Redactor) -> Self {
        Self { socket, heard, subscription, redactor }
    }

    /// When the last byte came.
    pub fn heard(&self) -> Instant {
        self.heard.get()
    }

    /// A text of the server without the secrets it was sent.
    pub fn redacted(&self, text: String) -> String {
        self.redactor.redacted(text)
    }

    /// Waits for the next message. May be dropped and called again.
    pub async fn next(&mut self) -> Read {
        read(self.socket.next().await)
    }

    /// The next message if it is there.
    pub fn ready(&mut self) -> Option<Read> {
        self.socket.next().now_or_never().map(read)
    }

    pub async fn subscribe(&mut self, timeout: Duration) -> Result<(), String> {
        for message in std::mem::take(&mut self.subscription) {
            self.send(Message::text(message.expose()), timeout).await?;
        }
        Ok(())
    }

    pub async fn send(&mut self, message: Message, timeout: Duration) -> Result<(), String> {
        match tokio::time::timeout(timeout, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("cannot send: {error}")),
            Err(_) => Err(format!("cannot send: the peer does not read for {timeout:?}")),
        }
    }

    pub async fn close(mut self, how: Hangup, timeout: Duration) {
        if how == Hangup::Gracefully {
            let goodbye = async {
                self.socket.close(None).await?;
                while self.socket.next().await.transpose()?.is_some() {}
                Ok::<_, WsError>(())
            };
            // Whatever the peer makes of it, the connection ends here.
            let _ = tokio::time::timeout(timeout, goodbye).await;
        }
    }
}

fn read(read: Option<Result<Message, WsError>>) -> Read {
    match read {
        Some(Ok(Message::Text(text))) => Read::Message(text.into()),
        // Some servers send their JSON so.
        Some(Ok(Message::Binary(bytes))) => Read::Message(bytes),
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Read::Control,
        Some(Ok(Message::Close(None))) => Read::End("the server closed the connection".to_owned()),
        Some(Ok(Message::Close(Some(frame)))) => Read::End(
            format!("the server closed the connection: {} {}", frame.code, frame.reason).trim().to_owned(),
        ),
        Some(Err(WsError::Capacity(CapacityError::MessageTooLong { size, max_size }))) => {
            Read::End(format!("a message has {size} bytes or more, {max_size} are allowed"))
        }
        Some(Err(error)) => Read::End(format!("the connection broke: {error}")),
        None => Read::End("the connection ended".to_owned()),
    }
}
