//! Sizes, rates, and peers that are slow or silent.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use polarway_ingest::socket::{Closed, Options};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::client::{Client, rest};
use super::server::{Server, within};

#[tokio::test]
async fn a_frame_too_large_hurts_only_its_connection() {
    let server = Server::with(Options { max_frame_bytes: 1000, ..Options::default() }).await;
    let mut fine = Client::connect(&server, "ticks").await;
    fine.send(&"x".repeat(1000)).await;
    assert_eq!(fine.acked(1).await, (1, 1, 0));
    let mut large = Client::connect(&server, "ticks").await;
    large.send("small").await;
    // More than the socket's buffers hold: what is not read must not cost the client its error.
    let huge = Message::text("x".repeat(1 << 20));
    let (_, ()) = tokio::join!(large.socket.send(huge), server.closed(Closed::TooLarge, 1));
    assert_eq!(large.acked(1).await, (1, 1, 0));
    assert_eq!(large.refused().await, ("frame_too_large".into(), 1009));
    fine.send("y").await;
    assert_eq!(fine.acked(2).await, (1, 1, 0));
}

#[tokio::test]
async fn over_its_rate_a_client_waits_and_loses_nothing() {
    let rate = NonZeroU64::new(100_000);
    let server = Server::with(Options { max_bytes_per_second: rate, ..Options::default() }).await;
    let mut client = Client::connect(&server, "ticks").await;
    let start = Instant::now();
    for _ in 0..12 {
        client.send(&"x".repeat(10_000)).await;
    }
    assert_eq!(client.acked(12).await.1, 12);
    client.send("after").await;
    client.acked(13).await;
    // 100 kB at once and 20 kB at the rate.
    assert!(start.elapsed() >= Duration::from_millis(190), "{:?}", start.elapsed());
    assert!(server.count(|metrics| &metrics.paced_micros) >= 150_000);
}

#[tokio::test]
async fn a_client_that_does_not_read_its_acks_is_given_up() {
    let options = Options {
        write_timeout: Duration::from_millis(200),
        max_group_frames: 1,
        groups_in_flight: 1,
        ..Options::default()
    };
    let server = Server::with_small_buffers(options).await;
    let mut client = Client::with_small_buffer(&server, "ticks?ack=received").await;
    let flood = async {
        while client.socket.send(Message::text("x")).await.is_ok() {}
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = flood => {}
        () = server.closed(Closed::Slow, 1) => {}
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_silent_peer_is_given_up() {
    let options = Options {
        ping_interval: Duration::from_millis(20),
        idle_timeout: Duration::from_millis(70),
        ..Options::default()
    };
    let server = Server::with(options).await;
    let mut client = Client::connect(&server, "ticks").await;
    // Read below the WebSocket, so that pings are not answered.
    let told = rest(client.socket.get_mut()).await;
    assert!(told.contains("\u{fffd}\0"), "a ping: {told:?}");
    assert!(told.contains(r#"{"error":{"kind":"idle""#), "{told:?}");
    drop(client);
    server.closed(Closed::Idle, 1).await;
}

#[tokio::test]
async fn a_peer_that_answers_pings_stays() {
    let options = Options {
        ping_interval: Duration::from_millis(100),
        idle_timeout: Duration::from_secs(3),
        ..Options::default()
    };
    let server = Server::with(options).await;
    let mut client = Client::connect(&server, "ticks").await;
    for _ in 0..35 {
        assert!(matches!(within(client.socket.next()).await, Some(Ok(Message::Ping(_)))));
    }
    client.send("x").await;
    assert_eq!(client.acked(1).await, (1, 1, 0));
}

#[tokio::test]
async fn without_room_the_socket_is_not_read_and_the_peer_is_not_blamed() {
    const SIZE: usize = 64 << 10;
    let options = Options {
        ping_interval: Duration::from_millis(20),
        idle_timeout: Duration::from_millis(100),
        ..Options::default()
    };
    let server = Server::with(options).await;
    server.memory.set(|gates| gates.room = false);
    let mut client = Client::connect(&server, "ticks").await;
    let frame = Message::binary(vec![b'x'; SIZE]);
    let mut sent = 0;
    loop {
        // The frame is on its way also if the send does not end.
        sent += 1;
        if timeout(Duration::from_millis(400), client.socket.send(frame.clone())).await.is_err() {
            break;
        }
        // What the kernel and one group hold; the frames themselves would go on without end.
        assert!(sent * SIZE < 64 << 20, "the server goes on reading");
    }
    assert_eq!(server.count(|metrics| &metrics.frames), 0);
    assert_eq!(server.count(|metrics| &metrics.connections), 1, "it was silent longer than the idle timeout");
    server.memory.set(|gates| gates.room = true);
    let (flushed, ()) = tokio::join!(within(client.socket.flush()), server.memory.holds(sent));
    flushed.unwrap();
    assert_eq!(client.acked(sent as u64).await.1, sent as u64);
    let groups = server.memory.stored.lock().groups.clone();
    assert!(groups.iter().all(|frames| frames * SIZE <= (1 << 20) + SIZE), "{groups:?}");
    assert!(server.count(|metrics| &metrics.blocked_micros) >= 300_000);
}

#[tokio::test]
async fn a_long_wait_for_durability_does_not_stop_the_sender() {
    let options = Options { groups_in_flight: 4, max_group_frames: 1, ..Options::default() };
    let server = Server::with(options).await;
    server.memory.set(|gates| gates.durable = 0);
    let mut client = Client::connect(&server, "ticks").await;
    for _ in 0..50 {
        client.send("x").await;
    }
    // One group is with the acknowledger, four are in the queue, the last of them with all others.
    server.memory.holds(50).await;
    server.memory.set(|gates| gates.durable = u64::MAX);
    assert_eq!(client.acked(50).await.1, 50);
}
