//! A WebSocket client that sends rows into a stream.

use std::net::SocketAddr;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::wait::within;

const CEILING: Duration = Duration::from_secs(120);

/// One connection.
pub struct Sender {
    socket: WebSocketStream<TcpStream>,
    /// The last number that the stream had of this producer when the connection was made.
    pub last: u64,
    pub acknowledged: u64,
    pub rows: u64,
    pub bad: u64,
}

impl Sender {
    /// `stream` with its query, for example `ticks?producer=p`.
    pub async fn connect(server: SocketAddr, stream: &str) -> Self {
        Self::try_connect(server, stream).await.unwrap()
    }

    pub async fn try_connect(server: SocketAddr, stream: &str) -> Result<Self, Error> {
        let work = async {
            let tcp = TcpStream::connect(server).await?;
            let (socket, _) = client_async(format!("ws://{server}/v1/streams/{stream}"), tcp).await?;
            let mut sender = Self { socket, last: 0, acknowledged: 0, rows: 0, bad: 0 };
            let hello = sender.message().await?;
            sender.last = hello["last"].as_u64().unwrap();
            Ok(sender)
        };
        within("connecting a sender", CEILING, work).await
    }

    pub async fn try_send(&mut self, text: impl Into<String>) -> Result<(), Error> {
        self.socket.send(Message::text(text.into())).await
    }

    pub async fn send(&mut self, text: impl Into<String>) {
        within("sending", CEILING, self.try_send(text)).await.unwrap();
    }

    async fn message(&mut self) -> Result<Value, Error> {
        loop {
            match self.socket.next().await.ok_or(Error::ConnectionClosed)?? {
                Message::Text(text) => return Ok(serde_json::from_str(&text).unwrap()),
                Message::Close(_) => return Err(Error::ConnectionClosed),
                _ => {}
            }
        }
    }

    /// Waits until frames up to this number are acknowledged.
    pub async fn try_acknowledged(&mut self, number: u64) -> Result<(), Error> {
        while self.acknowledged < number {
            let message = within("an acknowledgement", CEILING, self.message()).await?;
            let Some(acknowledged) = message["ack"].as_u64() else { panic!("{message}") };
            self.acknowledged = acknowledged;
            self.rows += message["rows"].as_u64().unwrap();
            self.bad += message["bad"].as_u64().unwrap();
        }
        Ok(())
    }

    pub async fn acknowledged(&mut self, number: u64) {
        self.try_acknowledged(number).await.unwrap();
    }
}
