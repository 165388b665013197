//! Clients: one that speaks WebSocket, and one that sends bytes.

use std::net::SocketAddr;

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::server::{Server, within};

pub struct Client {
    pub socket: WebSocketStream<TcpStream>,
    pub hello: Value,
}

impl Client {
    /// Connects to `/v1/streams/{target}` and takes the hello.
    pub async fn connect(server: &Server, target: &str) -> Self {
        Self::over(TcpStream::connect(server.address).await.unwrap(), target, None).await
    }

    /// As [`Client::connect`], with a token.
    pub async fn with_token(server: &Server, target: &str, token: &str) -> Self {
        Self::over(TcpStream::connect(server.address).await.unwrap(), target, Some(token)).await
    }

    /// As [`Client::connect`], with a small receive buffer.
    pub async fn with_small_buffer(server: &Server, target: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self::over(socket.connect(server.address).await.unwrap(), target, None).await
    }

    async fn over(stream: TcpStream, target: &str, token: Option<&str>) -> Self {
        stream.set_nodelay(true).unwrap();
        let mut request = format!("ws://localhost/v1/streams/{target}").into_client_request().unwrap();
        if let Some(token) = token {
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let (socket, _) = within(client_async(request, stream)).await.unwrap();
        let mut client = Self { socket, hello: Value::Null };
        client.hello = client.message().await;
        client
    }

    pub async fn send(&mut self, text: &str) {
        within(self.socket.send(Message::text(text))).await.unwrap();
    }

    /// The next message that is no ping or pong.
    pub async fn next(&mut self) -> Message {
        loop {
            match within(self.socket.next()).await.expect("the connection has ended").unwrap() {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    pub async fn message(&mut self) -> Value {
        let message = self.next().await;
        serde_json::from_str(message.to_text().unwrap()).unwrap_or_else(|_| panic!("no JSON: {message:?}"))
    }

    /// Takes acknowledgements up to frame `number`; their count, and the sums of `rows` and `bad`.
    pub async fn acked(&mut self, number: u64) -> (u64, u64, u64) {
        let (mut acks, mut rows, mut bad, mut last) = (0, 0, 0, 0);
        while last < number {
            let ack = self.message().await;
            let next = ack["ack"].as_u64().unwrap_or_else(|| panic!("no acknowledgement: {ack}"));
            assert!(last < next && next <= number, "{last} {ack} {number}");
            last = next;
            acks += 1;
            rows += ack["rows"].as_u64().unwrap();
            bad += ack["bad"].as_u64().unwrap();
        }
        (acks, rows, bad)
    }

    /// Takes the close frame and the end of the connection; the close frame's code.
    pub async fn closed(&mut self) -> u16 {
        let message = self.next().await;
        let Message::Close(frame) = message else { panic!("no close frame: {message:?}") };
        let end = within(self.socket.next()).await;
        assert!(end.is_none(), "{end:?}");
        frame.map_or(0, |frame| frame.code.into())
    }

    /// Takes an error and the close frame: the error's kind, and the code.
    pub async fn refused(&mut self) -> (String, u16) {
        let told = self.message().await;
        for key in ["message", "hint"] {
            assert!(!told["error"][key].as_str().unwrap().is_empty(), "{told}");
        }
        (told["error"]["kind"].as_str().unwrap().to_owned(), self.closed().await)
    }
}

/// Sends bytes, and takes all that comes until the server closes.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    rest(&mut stream).await
}

pub async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
