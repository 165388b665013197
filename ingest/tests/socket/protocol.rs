//! Numbers, acknowledgements, errors.

use std::collections::BTreeSet;

use futures::{SinkExt, future::join_all};
use polarway_ingest::socket::{Closed, FaultKind, Options};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::client::Client;
use super::server::{Server, within};

#[tokio::test]
async fn numbers_are_explicit_or_implicit() {
    let server = Server::start().await;
    let mut client = Client::connect(&server, "ticks?producer=p").await;
    for frame in ["a", "#7\nb", "c", "#20\n"] {
        client.send(frame).await;
    }
    assert_eq!(client.acked(20).await.1, 4);
    assert_eq!(server.memory.numbers(), [1, 7, 8, 20]);
    assert_eq!(server.memory.payloads(), ["a", "b", "c", ""]);
    let mut anonymous = Client::connect(&server, "ticks").await;
    within(anonymous.socket.send(Message::binary(vec![0xff; 8]))).await.unwrap();
    anonymous.send("d").await;
    assert_eq!(anonymous.acked(2).await.1, 2);
    assert_eq!(server.memory.numbers()[4..], [1, 2]);
}

#[tokio::test]
async fn a_producer_resumes_without_doubling() {
    let server = Server::start().await;
    let mut client = Client::connect(&server, "ticks?producer=p").await;
    for number in 1..=10 {
        client.send(&format!("#{number}\nrow {number}")).await;
    }
    server.memory.holds(10).await;
    // The acknowledgements are lost with the connection.
    drop(client);
    let mut client = Client::connect(&server, "ticks?producer=p").await;
    assert_eq!(client.hello["last"], 10);
    for number in 6..=12 {
        client.send(&format!("#{number}\nrow {number}")).await;
    }
    assert_eq!(client.acked(12).await.1, 2, "rows that were there are not counted again");
    client.send("row 13").await;
    assert_eq!(client.acked(13).await.1, 1);
    assert_eq!(server.memory.numbers(), (1..=13).collect::<Vec<_>>());
    let other = Client::connect(&server, "ticks?producer=q").await;
    assert_eq!(other.hello["last"], 0);
}

#[tokio::test]
async fn known_frames_alone_are_acknowledged_too() {
    let server = Server::start().await;
    server.memory.stored.lock().last.insert("p".into(), 16);
    let mut client = Client::connect(&server, "ticks?producer=p").await;
    client.send("#3\nx").await;
    assert_eq!(
        client.message().await,
        json!({"ack": 3, "durability": "wal", "rows": 0, "bad": 0, "token": "memory:1"})
    );
    assert!(server.memory.numbers().is_empty());
}

#[tokio::test]
async fn acknowledgements_wait_for_durability_and_come_together() {
    let server = Server::start().await;
    server.memory.set(|gates| gates.durable = 0);
    let mut client = Client::connect(&server, "ticks?ack=object_store").await;
    let mut hasty = Client::connect(&server, "ticks?ack=received").await;
    hasty.send("x").await;
    assert_eq!(hasty.message().await, json!({"ack": 1, "durability": "received", "rows": 1, "bad": 0}));
    for number in 1..=50 {
        client.send(if number % 10 == 0 { "bad" } else { "good" }).await;
        server.memory.holds(1 + number).await;
    }
    assert_eq!(server.count(|metrics| &metrics.acks), 1, "only the hasty one has an acknowledgement");
    server.memory.set(|gates| gates.durable = 21);
    assert_eq!(client.acked(20).await, (1, 18, 2));
    server.memory.set(|gates| gates.durable = u64::MAX);
    let rest = client.message().await;
    assert_eq!(
        rest,
        json!({"ack": 50, "durability": "object_store", "rows": 27, "bad": 3, "token": "memory:1"})
    );
    assert_eq!(server.count(|metrics| &metrics.frames), 51);
    assert_eq!(server.count(|metrics| &metrics.rows), 46);
    assert_eq!(server.count(|metrics| &metrics.bad_rows), 5);
}

#[tokio::test]
async fn frames_that_are_there_are_written_together() {
    let server = Server::with(Options { max_group_frames: 10, ..Options::default() }).await;
    server.memory.set(|gates| gates.room = false);
    let mut client = Client::connect(&server, "ticks").await;
    for _ in 0..100 {
        client.socket.feed(Message::text("x")).await.unwrap();
    }
    within(client.socket.flush()).await.unwrap();
    server.memory.set(|gates| gates.room = true);
    assert_eq!(client.acked(100).await.1, 100);
    let groups = server.memory.stored.lock().groups.clone();
    assert!(groups.len() < 50 && groups.iter().all(|frames| *frames <= 10), "{groups:?}");
}

#[tokio::test]
async fn a_feed_may_take_a_group_in_parts() {
    let server = Server::start().await;
    let mut client = Client::connect(&server, "ticks").await;
    for frame in ["a", "partly", "b", "partly", "partly", "c"] {
        client.socket.feed(Message::text(frame)).await.unwrap();
    }
    within(client.socket.flush()).await.unwrap();
    assert_eq!(client.acked(6).await.1, 6);
    assert_eq!(server.memory.numbers(), [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn a_client_that_breaks_the_protocol_is_told() {
    let server = Server::start().await;
    for (target, frames) in [
        ("ticks", vec!["a", "#2\nb"]),
        ("ticks?producer=a", vec!["a", "#1\nb"]),
        ("ticks?producer=b", vec!["a", "#two\nb"]),
        ("ticks?producer=c", vec!["a", "#0\nb"]),
    ] {
        let mut client = Client::connect(&server, target).await;
        for frame in frames {
            client.send(frame).await;
        }
        assert_eq!(client.acked(1).await, (1, 1, 0), "what came before is stored");
        assert_eq!(client.refused().await, ("protocol".into(), 1002));
    }
    server.closed(Closed::Protocol, 4).await;
    assert_eq!(server.memory.payloads(), ["a"; 4]);
}

#[tokio::test]
async fn each_fault_of_the_feed_has_its_code() {
    let server = Server::start().await;
    for kind in FaultKind::ALL {
        let mut client = Client::connect(&server, "ticks").await;
        client.send(&format!("fault {}", kind.name())).await;
        assert_eq!(client.refused().await, (kind.name().to_owned(), kind.close_code()));
    }
    server.shutdown().await;
}

#[tokio::test]
async fn a_fault_of_the_log_is_told() {
    let server = Server::start().await;
    server.memory.set(|gates| gates.durable = 0);
    let mut client = Client::connect(&server, "ticks").await;
    client.send("a").await;
    server.memory.holds(1).await;
    server.memory.set(|gates| gates.broken = true);
    assert_eq!(client.refused().await, ("internal".into(), 1011));
}

#[tokio::test]
async fn text_that_is_none_is_told() {
    use tokio_tungstenite::tungstenite::protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    };
    let server = Server::start().await;
    let mut client = Client::connect(&server, "ticks").await;
    let frame = Frame::message(vec![0xff, 0xfe], OpCode::Data(Data::Text), true);
    within(client.socket.send(Message::Frame(frame))).await.unwrap();
    assert_eq!(client.refused().await, ("invalid_text".into(), 1007));
}

#[tokio::test]
async fn fragments_are_put_together() {
    use tokio_tungstenite::tungstenite::protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    };
    let server = Server::start().await;
    let mut client = Client::connect(&server, "ticks?producer=p").await;
    for (part, code, last) in
        [("#1", Data::Text, false), ("2\nab", Data::Continue, false), ("c", Data::Continue, true)]
    {
        let frame = Frame::message(part.as_bytes().to_vec(), OpCode::Data(code), last);
        within(client.socket.send(Message::Frame(frame))).await.unwrap();
    }
    client.acked(12).await;
    assert_eq!(server.memory.payloads(), ["abc"]);
}

#[tokio::test]
async fn pings_are_answered() {
    use futures::StreamExt;
    let server = Server::start().await;
    let mut client = Client::connect(&server, "ticks").await;
    within(client.socket.send(Message::Ping(b"are you there".to_vec().into()))).await.unwrap();
    let answer = within(client.socket.next()).await.unwrap().unwrap();
    assert_eq!(answer, Message::Pong(b"are you there".to_vec().into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_clients_at_once() {
    const FRAMES: u64 = 200;
    let server = Server::start().await;
    let clients = (0..50).map(async |id| {
        let mut client = Client::connect(&server, &format!("ticks?producer=p{id}")).await;
        for number in 1..=FRAMES {
            client.socket.feed(Message::text(format!("{id} {number}"))).await.unwrap();
        }
        within(client.socket.flush()).await.unwrap();
        assert_eq!(client.acked(FRAMES).await.1, FRAMES);
        within(client.socket.close(None)).await.unwrap();
    });
    within(join_all(clients)).await;
    server.closed(Closed::Client, 50).await;
    let payloads = server.memory.payloads();
    assert_eq!(payloads.len() as u64, 50 * FRAMES);
    assert_eq!(payloads.iter().collect::<BTreeSet<_>>().len() as u64, 50 * FRAMES);
    server.shutdown().await;
}
