//! Closing, losing and shutting down.

use std::time::Duration;

use polarway_ingest::socket::{Closed, Options};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::client::Client;
use super::server::{Server, until, within};

#[tokio::test]
async fn a_client_that_closes_gets_its_acks_before_the_answer() {
    let server = Server::start().await;
    server.memory.set(|gates| gates.durable = 0);
    let mut client = Client::connect(&server, "ticks").await;
    client.send("a").await;
    client.send("b").await;
    let close = CloseFrame { code: 1001.into(), reason: "bye".into() };
    within(client.socket.close(Some(close))).await.unwrap();
    server.memory.holds(2).await;
    server.memory.set(|gates| gates.durable = u64::MAX);
    assert_eq!(client.acked(2).await.1, 2);
    assert_eq!(client.closed().await, 1001);
    server.closed(Closed::Client, 1).await;
}

#[tokio::test]
async fn a_close_is_not_held_up_longer_than_the_grace() {
    let server = Server::with(Options { grace: Duration::from_millis(50), ..Options::default() }).await;
    server.memory.set(|gates| gates.durable = 0);
    let mut client = Client::connect(&server, "ticks").await;
    client.send("a").await;
    within(client.socket.close(None)).await.unwrap();
    assert_eq!(client.closed().await, 0, "a close frame without a code is answered by one");
}

#[tokio::test]
async fn abrupt_disconnects_leave_nothing_behind() {
    let server = Server::start().await;
    for round in 0..20 {
        let mut client = Client::connect(&server, "ticks").await;
        client.send("x").await;
        // Half a frame: a header that announces more than comes.
        client.socket.get_mut().write_all(b"\x81\xfe\x01\x00half").await.unwrap();
        if round % 2 == 0 {
            client.socket.get_mut().set_zero_linger().unwrap();
        }
        drop(client);
    }
    server.closed(Closed::Lost, 20).await;
    assert_eq!(server.count(|metrics| &metrics.connections_total), 20);
    server.shutdown().await;
}

#[tokio::test]
async fn a_panic_ends_only_its_connection() {
    let server = Server::start().await;
    let mut other = Client::connect(&server, "ticks").await;
    let mut client = Client::connect(&server, "ticks").await;
    client.send("panic").await;
    assert_eq!(client.refused().await, ("internal".into(), 1011));
    server.closed(Closed::Internal, 1).await;
    other.send("x").await;
    assert_eq!(other.acked(1).await, (1, 1, 0));
}

#[tokio::test]
async fn shutdown_acknowledges_what_was_read() {
    let server = Server::start().await;
    server.memory.set(|gates| gates.durable = 0);
    let mut client = Client::connect(&server, "ticks?producer=p").await;
    let mut quiet = Client::connect(&server, "ticks").await;
    client.send("a").await;
    client.send("b").await;
    server.memory.holds(2).await;
    server.stop.cancel();
    assert_eq!(quiet.refused().await, ("draining".into(), 1012));
    until_refused(&server).await;
    server.memory.set(|gates| gates.durable = u64::MAX);
    assert_eq!(client.acked(2).await.1, 2);
    assert_eq!(client.refused().await, ("draining".into(), 1012));
    server.closed(Closed::Draining, 2).await;
    server.ended().await;
}

/// Waits until nothing listens any more.
async fn until_refused(server: &Server) {
    within(async {
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn shutdown_waits_no_longer_than_the_grace() {
    let options = Options {
        grace: Duration::from_millis(50),
        close_timeout: Duration::from_millis(50),
        ..Options::default()
    };
    let server = Server::with(options).await;
    server.memory.set(|gates| gates.durable = 0);
    let mut undurable = Client::connect(&server, "ticks").await;
    undurable.send("a").await;
    server.memory.holds(1).await;
    server.memory.set(|gates| gates.room = false);
    let mut blocked = Client::connect(&server, "ticks").await;
    blocked.send("b").await;
    // A client that never answers the close frame.
    let _deaf = Client::connect(&server, "ticks").await;
    server.stop.cancel();
    assert_eq!(undurable.refused().await, ("draining".into(), 1012));
    assert_eq!(blocked.refused().await, ("draining".into(), 1012));
    let memory = server.memory.clone();
    server.ended().await;
    assert_eq!(memory.payloads(), ["a"]);
}

#[tokio::test]
async fn shutdown_during_a_pause_for_the_rate_is_at_once() {
    let options = Options { max_bytes_per_second: std::num::NonZeroU64::new(1), ..Options::default() };
    let server = Server::with(options).await;
    let mut client = Client::connect(&server, "ticks").await;
    client.send(&"x".repeat(1000)).await;
    assert_eq!(client.acked(1).await, (1, 1, 0));
    server.stop.cancel();
    assert_eq!(client.refused().await, ("draining".into(), 1012));
    server.ended().await;
}

#[tokio::test]
async fn dropping_the_listener_ends_all() {
    let server = Server::start().await;
    let mut client = Client::connect(&server, "ticks").await;
    client.send("x").await;
    client.acked(1).await;
    let (metrics, address) = (server.metrics.clone(), server.address);
    server.abort();
    until(|| metrics.connections.load(std::sync::atomic::Ordering::SeqCst) == 0).await;
    assert!(TcpStream::connect(address).await.is_err());
}
