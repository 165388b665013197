//! Memory does not grow with the rows that have come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use polarway_tests::arrow_frame::{frame, integers};
use polarway_tests::feed::Feed;
use polarway_tests::store_fault::StoreFault;
use polarway_tests::usage::{self, MIB};
use polarway_tests::{Sender, Setup, until};

use super::numbered::{self, counts, parquet_files, table};

const CEILING: Duration = Duration::from_secs(120);
/// Rows of one frame.
const FRAME: u64 = 10_000;
/// What a process may take beside the rows that it holds: for reading, decoding, sealing and querying.
const BESIDE: u64 = 300 * MIB;

/// Frame `number`, counted from one, with rows of producer 1.
fn arrow(number: u64) -> Vec<u8> {
    let ids = (number - 1) * FRAME + 1..=number * FRAME;
    frame(vec![("p", integers(ids.clone().map(|_| 1))), ("id", integers(ids))])
}

#[tokio::test(flavor = "multi_thread")]
async fn row_29_memory_is_flat_once_rows_are_sealed() {
    const HOT: u64 = 32 * MIB;
    const MILLIONS: u64 = 10;
    let cluster =
        Setup::up().set("ingest.listen", "127.0.0.1:0").set("ingest.hot_limit", "32MiB").start().await;
    let session = cluster.session().await;
    session.ok(&table("seal_bytes = '8MiB', seal_age = '1s'")).await;
    let pid = cluster.front.pid();
    let start = usage::rss(pid) / MIB;
    usage::reset_peak(pid);
    let mut sender = Sender::connect(cluster.front.ws(), "numbered?ack=object_store").await;
    let mut sizes = vec![];
    let mut number = 0;
    for million in 1..=MILLIONS {
        let frames = million * 1_000_000 / FRAME;
        while number < frames {
            number += 1;
            sender.send_bytes(arrow(number)).await;
        }
        // Acknowledged as sealed.
        sender.acknowledged(number).await;
        sizes.push(usage::rss(pid) / MIB);
    }
    let peak = usage::peak_rss(pid) / MIB;
    println!("{start} MiB at first, {sizes:?} MiB after each million, at most {peak} MiB");
    assert_eq!(sender.rows, MILLIONS * 1_000_000);
    assert!(peak <= start + (HOT + BESIDE) / MIB, "{peak} MiB, {start} at first");
    // Seven million rows more would be 112 MiB at least.
    let (early, late) = (sizes[..3].iter().max(), sizes[3..].iter().max());
    assert!(late.unwrap() <= &(early.unwrap() + 96), "it grows: {sizes:?}");
    assert_eq!(counts(&session).await, [(1, MILLIONS * 1_000_000)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_29_the_socket_waits_while_nothing_can_be_sealed() {
    const HOT: u64 = 4 * MIB;
    const FRAMES: u64 = 600;
    let cluster =
        Setup::up().set("ingest.listen", "127.0.0.1:0").set("ingest.hot_limit", "4MiB").start().await;
    let session = cluster.session().await;
    session.ok(&table("seal_age = '1s'")).await;
    let pid = cluster.front.pid();
    let start = usage::rss(pid);
    usage::reset_peak(pid);
    let fault = StoreFault::of(&cluster.dir().join("front/streams"));
    let (sent, server) = (Arc::new(AtomicU64::new(0)), cluster.front.ws());
    let counter = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        let mut sender = Sender::connect(server, "numbered").await;
        for number in 1..=FRAMES {
            sender.send_bytes(arrow(number)).await;
            counter.store(number, Ordering::SeqCst);
        }
        sender.acknowledged(FRAMES).await;
        sender.rows
    });
    until("the sender stands still", CEILING, || async {
        let before = sent.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(3)).await;
        (before > 0 && sent.load(Ordering::SeqCst) == before).then_some(())
    })
    .await;
    let bytes = sent.load(Ordering::SeqCst) * FRAME * 16;
    let held: u64 = session.value("SELECT count(*) FROM numbered").await.parse().unwrap();
    let peak = usage::peak_rss(pid);
    println!("{held} rows held, {} MiB sent, {} MiB at most", bytes / MIB, peak / MIB);
    assert!(!sending.is_finished());
    // One group of frames may come when there is a little room left.
    assert!(held * 16 <= HOT + 2 * MIB, "{held} rows");
    // The rest is in the buffers of both ends of the socket.
    assert!(bytes <= HOT + 32 * MIB, "{} MiB", bytes / MIB);
    assert!(peak <= start + HOT + BESIDE, "{} MiB", peak / MIB);

    fault.mend();
    assert_eq!(sending.await.unwrap(), FRAMES * FRAME);
    assert_eq!(counts(&session).await, [(1, FRAMES * FRAME)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_29_a_store_that_fails_is_tried_until_it_works() {
    let cluster = Setup::up().set("ingest.listen", "127.0.0.1:0").start().await;
    let session = cluster.session().await;
    session.ok(&table("seal_rows = 100")).await;
    let mut wal = Sender::connect(cluster.front.ws(), "numbered").await;
    let mut store = Sender::connect(cluster.front.ws(), "numbered?ack=object_store").await;
    for number in 1..=10 {
        wal.send(numbered::frame(1, number, 50)).await;
        store.send(numbered::frame(2, number, 50)).await;
    }
    wal.acknowledged(10).await;
    store.acknowledged(10).await;
    let streams = cluster.dir().join("front/streams");
    let before = parquet_files(&streams).len();
    assert!(before > 0);

    let fault = StoreFault::of(&streams);
    let seen = |text: &str| cluster.front.log().matches(text).count();
    for number in 11..=20 {
        wal.send(numbered::frame(1, number, 50)).await;
        wal.acknowledged(number).await;
    }
    store.send(numbered::frame(2, 11, 50)).await;
    until("sealing fails twice", CEILING, || async { (seen("not sealed") > 1).then_some(()) }).await;
    let ack = tokio::time::timeout(Duration::from_millis(100), store.try_acknowledged(11)).await;
    assert!(ack.is_err(), "{ack:?}");
    wal.send(numbered::frame(1, 21, 50)).await;
    wal.acknowledged(21).await;

    fault.mend();
    store.acknowledged(11).await;
    assert_eq!(counts(&session).await, [(1, 1050), (2, 550)].into());
    assert!(parquet_files(&streams).len() > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_29_one_sender_that_waits_keeps_no_other_stream_waiting() {
    let cluster =
        Setup::up().set("ingest.listen", "127.0.0.1:0").set("ingest.hot_limit", "1MiB").start().await;
    let session = cluster.session().await;
    session.ok(&table("seal_age = '1s'")).await;
    session.ok(&table("seal_age = '1h'").replace("numbered", "other")).await;
    let fault = StoreFault::of(&cluster.dir().join("front/streams"));
    let feed = Feed::start(cluster.front.ws(), "numbered?producer=p".into(), 400, |number| {
        numbered::frame(1, number, 500)
    });
    until("the sender stands still", CEILING, || async {
        let before = feed.sent();
        tokio::time::sleep(Duration::from_secs(2)).await;
        (before > 0 && feed.sent() == before).then_some(())
    })
    .await;
    assert!(!feed.is_finished());
    let mut other = Sender::connect(cluster.front.ws(), "other").await;
    for number in 1..=20 {
        other.send(numbered::frame(1, number, 1)).await;
        other.acknowledged(number).await;
    }
    assert_eq!(session.value("SELECT count(*) FROM other").await, "20");
    fault.mend();
    assert_eq!(feed.finish().await, 400);
    assert_eq!(counts(&session).await, [(1, 200_000)].into());
}
