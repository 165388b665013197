//! Sinks that are slow or fail.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::support::{Server, Setup, numbers, upgrade};
use polarway_ingest::pull::{Ended, GapKind};

async fn counting(rows: usize) -> Server {
    Server::start(move |_, stream, heard| async move {
        let mut peer = upgrade(stream, &heard).await;
        for n in 0..rows {
            peer.send(format!(r#"{{"n":{n}}}"#)).await;
        }
        peer.stay().await;
    })
    .await
}

#[tokio::test]
async fn a_busy_feed_is_written_in_groups_and_every_row_once() {
    const ROWS: usize = 20_000;
    let server = counting(ROWS).await;
    let mut setup = Setup::new(&server, numbers());
    setup.options.batch_rows = 3000;
    let feed = setup.run(&[("sequence", "/n")]);
    *feed.sink.delay.lock() = Duration::from_millis(20);
    feed.sink.until("all rows", |sink| sink.rows() == ROWS).await;
    let wanted: Vec<_> = (0..i64::try_from(ROWS).unwrap()).map(Some).collect();
    assert_eq!(feed.sink.integers("n"), wanted);
    assert!(feed.sink.gaps().is_empty());
    {
        let batches = feed.sink.batches.lock();
        assert!(batches.len() < ROWS / 50, "{} batches", batches.len());
        assert!(batches.iter().all(|batch| batch.rows.num_rows() <= 3000));
        let numbers: Vec<_> = batches.iter().map(|batch| batch.number).collect();
        assert_eq!(numbers, (1..=u64::try_from(batches.len()).unwrap()).collect::<Vec<_>>());
    }
    assert_eq!(feed.stop().await, Ended::Stored);
}

#[tokio::test]
async fn a_sink_that_fails_gets_the_same_batch_again() {
    let server = counting(10).await;
    let feed = Setup::new(&server, numbers()).run(&[]);
    *feed.sink.failures.lock() = 3;
    feed.sink.until("all rows", |sink| sink.rows() == 10).await;
    assert_eq!(feed.sink.integers("n"), (0..10).map(Some).collect::<Vec<_>>());
    assert_eq!(feed.sink.attempts.lock()[..4], [1, 1, 1, 1]);
    assert_eq!((feed.status.sink_errors.load(Relaxed), feed.status.dials.load(Relaxed)), (3, 1));
    assert_eq!(feed.stop().await, Ended::Stored);
}

#[tokio::test]
async fn a_peer_is_not_dead_because_the_sink_is_slow() {
    let server = counting(1).await;
    let feed = Setup::new(&server, numbers()).run(&[
        ("ping_interval", "50ms"),
        ("dead_after", "300ms"),
        ("silent_after", "600ms"),
    ]);
    *feed.sink.delay.lock() = Duration::from_secs(1);
    feed.sink.until("the row", |sink| sink.rows() == 1).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(feed.status.dials.load(Relaxed), 1);
    *feed.sink.delay.lock() = Duration::ZERO;
    assert_eq!(feed.stop().await, Ended::Stored);
    assert_eq!(server.heard.lock().requests.len(), 1);
}

#[tokio::test]
async fn a_sink_that_never_takes_a_batch_does_not_hold_up_the_end() {
    let server = counting(10).await;
    let feed = Setup::new(&server, numbers()).run(&[]);
    *feed.sink.failures.lock() = usize::MAX;
    feed.sink.until("some attempts", |sink| sink.attempts.lock().len() >= 2).await;
    assert!(matches!(feed.stop().await, Ended::NotStored { rows: 1.. }));
}

#[tokio::test]
async fn an_outage_at_the_end_is_stored() {
    let server = Server::start(|_, stream, heard| async move {
        let mut peer = upgrade(stream, &heard).await;
        peer.send(r#"{"n":1}"#).await;
        peer.close().await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut setup = Setup::new(&server, numbers());
    setup.options.connect_timeout = Duration::from_secs(60);
    let feed = setup.run(&[]);
    feed.sink.until("a second dial", |_| feed.status.dials.load(Relaxed) == 2).await;
    let sink = feed.sink.clone();
    assert_eq!(feed.stop().await, Ended::Stored);
    assert_eq!(sink.kinds(), [GapKind::Disconnected]);
    assert!(sink.gaps()[0].detail.ends_with("the feed was stopped before a message came"));
}
