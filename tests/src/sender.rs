//! A WebSocket client that sends rows into a stream.

use std::net::SocketAddr;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::dial::{Dial, HTTP1};
use crate::wait::within;

const CEILING: Duration = Duration::from_secs(120);

/// What a connection goes over: TCP as it is, or TLS.
trait Wire: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Wire for T {}

/// One connection.
pub struct Sender {
    socket: WebSocketStream<Box<dyn Wire>>,
    /// The stream's name, as the server has told it.
    pub stream: String,
    /// The last number that the stream had of this producer when the connection was made.
    pub last: u64,
    pub acknowledged: u64,
    pub rows: u64,
    pub bad: u64,
    /// Of the last acknowledgement that had one.
    pub token: Option<String>,
    /// What the server said before it closed the connection: `{"kind": …, "message": …, "hint": …}`.
    pub error: Option<Value>,
    /// With which code it did.
    pub code: Option<u16>,
}

impl Sender {
    /// `stream` with its query, for example `ticks?producer=p`.
    pub async fn connect(server: SocketAddr, stream: &str) -> Self {
        Self::try_connect(server, stream).await.unwrap()
    }

    pub async fn try_connect(server: SocketAddr, stream: &str) -> Result<Self, Error> {
        Self::connect_with(server, stream, None).await
    }

    /// As whoever has `token`.
    pub async fn connect_with(server: SocketAddr, stream: &str, token: Option<&str>) -> Result<Self, Error> {
        let work = async {
            let wire = Box::new(TcpStream::connect(server).await?);
            Self::shake(&format!("ws://{server}/v1/streams/{stream}"), wire, token).await
        };
        within("connecting a sender", CEILING, work).await
    }

    /// The same over TLS.
    pub async fn connect_over(
        dial: &Dial,
        server: SocketAddr,
        stream: &str,
        token: Option<&str>,
    ) -> Result<Self, Error> {
        let work = async {
            let wire = Box::new(dial.open(server, &[HTTP1]).await?);
            Self::shake(&format!("wss://{server}/v1/streams/{stream}"), wire, token).await
        };
        within("connecting a sender", CEILING, work).await
    }

    async fn shake(url: &str, wire: Box<dyn Wire>, token: Option<&str>) -> Result<Self, Error> {
        let mut request = url.into_client_request()?;
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert("authorization", value);
        }
        let (socket, _) = client_async(request, wire).await?;
        let mut sender = Self {
            socket,
            stream: String::new(),
            last: 0,
            acknowledged: 0,
            rows: 0,
            bad: 0,
            token: None,
            error: None,
            code: None,
        };
        let hello = sender.message().await?;
        sender.last = hello["last"].as_u64().unwrap();
        sender.stream = hello["stream"].as_str().unwrap().to_owned();
        Ok(sender)
    }

    pub async fn try_send(&mut self, text: impl Into<String>) -> Result<(), Error> {
        self.socket.send(Message::text(text.into())).await
    }

    pub async fn send(&mut self, text: impl Into<String>) {
        within("sending", CEILING, self.try_send(text)).await.unwrap();
    }

    pub async fn try_send_bytes(&mut self, bytes: Vec<u8>) -> Result<(), Error> {
        self.socket.send(Message::binary(bytes)).await
    }

    /// One binary frame.
    pub async fn send_bytes(&mut self, bytes: Vec<u8>) {
        within("sending", CEILING, self.try_send_bytes(bytes)).await.unwrap();
    }

    /// Bytes below the WebSocket protocol: what no proper client sends.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).await.unwrap();
    }

    async fn message(&mut self) -> Result<Value, Error> {
        loop {
            match self.socket.next().await.ok_or(Error::ConnectionClosed)?? {
                Message::Text(text) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    if message.get("error").is_none() {
                        return Ok(message);
                    }
                    self.error = Some(message["error"].clone());
                }
                Message::Close(frame) => {
                    self.code = frame.map(|frame| frame.code.into());
                    return Err(Error::ConnectionClosed);
                }
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
            if let Some(token) = message["token"].as_str() {
                self.token = Some(token.to_owned());
            }
        }
        Ok(())
    }

    pub async fn acknowledged(&mut self, number: u64) {
        let done = self.try_acknowledged(number).await;
        done.unwrap_or_else(|error| panic!("{error}, {:?}: {:?}", self.code, self.error));
    }

    /// Reads until the server ends the connection; gives the kind of its error and the close code.
    pub async fn closed(&mut self) -> (String, u16) {
        while self.try_acknowledged(u64::MAX).await.is_ok() {}
        let kind = self.error.as_ref().and_then(|error| error["kind"].as_str()).unwrap_or("none");
        (kind.to_owned(), self.code.unwrap_or(0))
    }
}
