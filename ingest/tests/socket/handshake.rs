//! What happens before the upgrade.

use std::time::Duration;

use polarway_ingest::socket::{Closed, Options};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::client::{Client, raw, rest};
use super::server::{Server, until};

pub const UPGRADE: &str = "Host: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Status, headers and JSON body of an answer.
pub fn parts(answer: &str) -> (u16, String, Value) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let (status, headers) = head.split_once("\r\n").unwrap();
    let status = status.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
    (status, headers.to_ascii_lowercase(), serde_json::from_str(body).unwrap())
}

async fn upgrade(server: &Server, method: &str, target: &str) -> (u16, String, Value) {
    parts(&raw(server.address, format!("{method} {target} HTTP/1.1\r\n{UPGRADE}").as_bytes()).await)
}

#[tokio::test]
async fn the_hello_says_where_the_producer_stands() {
    let server = Server::start().await;
    let mut client = Client::connect(&server, "ticks").await;
    assert_eq!(client.hello, json!({"stream": "public.ticks", "producer": null, "last": 0}));
    client.send("{}").await;
    assert_eq!(
        client.message().await,
        json!({"ack": 1, "durability": "wal", "rows": 1, "bad": 0, "token": "memory:1"})
    );
    server.memory.stored.lock().last.insert("p+1".into(), 16);
    let client = Client::connect(&server, "public%2Eticks?producer=p%2B1&ack=received").await;
    assert_eq!(client.hello, json!({"stream": "public.ticks", "producer": "p+1", "last": 16}));
}

#[tokio::test]
async fn each_refusal_has_its_status() {
    let server = Server::start().await;
    let (status, _, body) = upgrade(&server, "GET", "/").await;
    assert_eq!((status, &body["error"]["kind"]), (404, &json!("unknown_path")));
    let (status, _, body) = upgrade(&server, "GET", "/v1/streams/none").await;
    assert_eq!((status, &body["error"]["kind"]), (404, &json!("unknown_stream")));
    let (status, headers, _) = upgrade(&server, "DELETE", "/v1/streams/ticks").await;
    assert!(status == 405 && headers.contains("allow: get"), "{headers}");
    let (status, _, body) = upgrade(&server, "GET", "/v1/streams/ticks?ack=never").await;
    assert_eq!((status, &body["error"]["parameter"]), (400, &json!("ack")));
    let (status, _, body) = upgrade(&server, "GET", "/v1/streams/ticks?producer=%20").await;
    assert_eq!((status, &body["error"]["parameter"]), (400, &json!("producer")));
    let (status, headers, _) =
        parts(&raw(server.address, b"GET /v1/streams/ticks HTTP/1.1\r\nHost: h\r\n\r\n").await);
    assert!(status == 426 && headers.contains("upgrade: websocket"), "{headers}");
    assert_eq!(upgrade(&server, "GET", "/v1/streams/secret").await.0, 403);
    assert_eq!(upgrade(&server, "GET", "/v1/streams/broken").await.0, 500);
    let (status, headers, _) = upgrade(&server, "GET", "/v1/streams/busy").await;
    assert!(status == 503 && headers.contains("retry-after: 7"), "{headers}");
    let refused = server.count(|metrics| &metrics.refused);
    assert!(refused >= 8, "{refused}");
    server.shutdown().await;
}

#[tokio::test]
async fn garbage_and_large_heads_are_answered_at_once() {
    let server = Server::start().await;
    assert_eq!(parts(&raw(server.address, b"\x16\x03\x01\x02\x00").await).0, 400);
    assert_eq!(parts(&raw(server.address, b"hello\r\n\r\n").await).0, 400);
    let large = format!("GET /v1/streams/ticks HTTP/1.1\r\nX: {}\r\n", "x".repeat(20_000));
    assert_eq!(parts(&raw(server.address, large.as_bytes()).await).0, 431);
    drop(TcpStream::connect(server.address).await.unwrap());
    until(|| server.count(|metrics| &metrics.refused) == 4).await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_slow_handshake_is_ended() {
    let options = Options { handshake_timeout: Duration::from_millis(50), ..Options::default() };
    let server = Server::with(options).await;
    assert_eq!(parts(&raw(server.address, b"GET /v1/stre").await).0, 408);
    assert_eq!(upgrade(&server, "GET", "/v1/streams/slow").await.0, 408);
}

#[tokio::test]
async fn one_connection_too_many_is_asked_to_come_back() {
    let options = Options { max_connections: 1, retry_after: Duration::from_secs(3), ..Options::default() };
    let server = Server::with(options).await;
    let client = Client::connect(&server, "ticks").await;
    let (status, headers, body) = upgrade(&server, "GET", "/v1/streams/ticks").await;
    assert_eq!((status, &body["error"]["kind"]), (503, &json!("too_many_connections")));
    assert!(headers.contains("retry-after: 3"), "{headers}");
    drop(client);
    server.closed(Closed::Lost, 1).await;
    // The place is free a moment after the connection is counted as ended.
    until(|| server.count(|metrics| &metrics.connections) == 0).await;
    loop {
        let request = format!("GET /v1/streams/none HTTP/1.1\r\n{UPGRADE}");
        if parts(&raw(server.address, request.as_bytes()).await).0 == 404 {
            break;
        }
    }
}

#[tokio::test]
async fn a_handshake_during_shutdown_is_answered_503() {
    let server = Server::start().await;
    let mut early = TcpStream::connect(server.address).await.unwrap();
    early.write_all(b"GET /v1/streams/ticks").await.unwrap();
    // A later connection that is served shows that the first one was accepted.
    Client::connect(&server, "ticks").await;
    server.stop.cancel();
    let (status, headers, body) = parts(&rest(&mut early).await);
    assert_eq!((status, &body["error"]["kind"]), (503, &json!("draining")));
    assert!(headers.contains("retry-after: 5"), "{headers}");
    server.ended().await;
}

#[tokio::test]
async fn frames_sent_with_the_request_are_not_lost() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET /v1/streams/ticks HTTP/1.1\r\n{UPGRADE}");
    // A masked text frame `{}` with the mask 0.
    let frame = b"\x81\x82\0\0\0\0{}";
    stream.write_all(&[request.as_bytes(), frame].concat()).await.unwrap();
    server.memory.holds(1).await;
    assert_eq!(server.memory.payloads(), ["{}"]);
}

#[tokio::test]
async fn a_panic_while_opening_ends_only_that_connection() {
    let server = Server::start().await;
    let mut client = Client::connect(&server, "ticks").await;
    let request = format!("GET /v1/streams/panic HTTP/1.1\r\n{UPGRADE}");
    assert_eq!(raw(server.address, request.as_bytes()).await, "");
    client.send("{}").await;
    assert_eq!(client.acked(1).await, (1, 1, 0));
    server.shutdown().await;
}
