//! Processes that are killed under load: what was acknowledged is there once, and senders that resume bring the rest.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use polarway_tests::feed::Feed;
use polarway_tests::{Cluster, Session, Setup, ports, until};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::numbered::{counts, frame, table};

const CEILING: Duration = Duration::from_secs(300);

/// A server whose senders find it again after it was killed.
async fn start(options: &str) -> (Cluster, SocketAddr) {
    let address = ports::free();
    let cluster = Setup::up().set("ingest.listen", address).start().await;
    cluster.session().await.ok(&table(options)).await;
    assert_eq!(cluster.front.ws(), address);
    (cluster, address)
}

/// A producer `p` with so many frames of so many rows.
fn feed(server: SocketAddr, p: u64, ack: &str, frames: u64, rows: u64) -> Feed {
    Feed::start(server, format!("numbered?producer=feed-{p}&ack={ack}"), frames, move |n| frame(p, n, rows))
}

fn acknowledged(feeds: &[Feed]) -> Vec<u64> {
    feeds.iter().map(Feed::acknowledged).collect()
}

/// Each producer's rows are its first ones, without gaps and doubles, whole frames, and at least these.
async fn check(session: &Session, acknowledged: &[u64], rows: u64) {
    let counts = counts(session).await;
    for (p, frames) in (0..).zip(acknowledged) {
        let count = counts.get(&p).copied().unwrap_or(0);
        assert!(count >= frames * rows, "producer {p}: {count} rows, acknowledged {frames} frames of {rows}");
        assert_eq!(count % rows, 0, "producer {p}: part of a frame");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_24_a_hundred_thousand_rows_outlive_two_kills() {
    const ROWS: u64 = 50;
    const FRAMES: u64 = 500;
    let (mut cluster, server) = start("seal_rows = 4000, seal_age = '500ms'").await;
    let acks = ["wal", "wal", "object_store", "wal"];
    let feeds: Vec<Feed> = (0..).zip(acks).map(|(p, ack)| feed(server, p, ack, FRAMES, ROWS)).collect();
    for kill in 1..=2 {
        until("rows are acknowledged", CEILING, || async {
            (acknowledged(&feeds).iter().sum::<u64>() >= kill * 4 * FRAMES / 3).then_some(())
        })
        .await;
        assert!(feeds.iter().any(|feed| feed.acknowledged() < feed.sent()), "it is under load");
        let before = acknowledged(&feeds);
        cluster.front.kill();
        cluster.start_front_again();
        check(&cluster.session().await, &before, ROWS).await;
    }
    for feed in feeds {
        assert_eq!(feed.finish().await, FRAMES);
    }
    let expected: BTreeMap<u64, u64> = (0..4).map(|p| (p, FRAMES * ROWS)).collect();
    assert_eq!(counts(&cluster.session().await).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_24_fifty_kills_lose_and_double_nothing() {
    const ROWS: u64 = 10;
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (mut cluster, server) = start("seal_rows = 500, seal_age = '200ms'").await;
    let acks = ["wal", "object_store", "wal"];
    let feeds: Vec<Feed> = (0..).zip(acks).map(|(p, ack)| feed(server, p, ack, u64::MAX, ROWS)).collect();
    for _ in 0..50 {
        let (before, more) = (acknowledged(&feeds), random.random_range(1..60));
        // So many rows that it is under load, and not so many that the table becomes a large one.
        feeds.iter().for_each(|feed| feed.limit(feed.acknowledged() + 120));
        until("rows are acknowledged", CEILING, || async {
            feeds.iter().for_each(|feed| assert!(!feed.is_finished(), "a producer has ended"));
            let grown = acknowledged(&feeds).iter().zip(&before).map(|(now, then)| now - then).sum::<u64>();
            (grown >= more).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_micros(random.random_range(0..40_000))).await;
        let before = acknowledged(&feeds);
        cluster.front.kill();
        cluster.start_front_again();
        check(&cluster.session().await, &before, ROWS).await;
    }
    let mut expected = BTreeMap::new();
    for (p, feed) in (0..).zip(feeds) {
        feed.limit(u64::MAX);
        expected.insert(p, feed.stop().await * ROWS);
    }
    assert_eq!(counts(&cluster.session().await).await, expected);
}

/// What a producer is told to have arrived, by an acknowledgement or by `last`, has arrived with its refused rows.
#[tokio::test(flavor = "multi_thread")]
async fn row_24_refused_rows_outlive_kills_too() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (mut cluster, server) = start("seal_rows = 300").await;
    let stream = "numbered?producer=feed-0".to_owned();
    let feed = Feed::start(server, stream, u64::MAX, |n| format!("{{\"id\": \"bad\"}}\n{}", frame(0, n, 1)));
    for _ in 0..25 {
        let (before, more) = (feed.acknowledged(), random.random_range(1..100));
        until("rows are acknowledged", CEILING, || async {
            assert!(!feed.is_finished(), "the producer has ended");
            (feed.acknowledged() >= before + more).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_micros(random.random_range(0..20_000))).await;
        cluster.front.kill();
        cluster.start_front_again();
    }
    let frames = feed.stop().await;
    let session = cluster.session().await;
    assert_eq!(counts(&session).await, [(0, frames)].into());
    let letters = "SELECT count(*), count(DISTINCT frame), max(frame) FROM numbered_dead_letters";
    assert_eq!(
        session.ok(letters).await.cells(),
        [[frames.to_string(), frames.to_string(), frames.to_string()]]
    );
}
