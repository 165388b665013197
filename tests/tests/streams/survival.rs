//! What is left of a stream when its process dies.

use std::time::Duration;

use polarway_tests::{Cluster, Sender, Session, until};

use super::queries::{row, start};

/// Rows of one frame.
const FRAME: u64 = 10;

async fn connect(cluster: &Cluster) -> Sender {
    until("the stream takes senders", Duration::from_secs(60), || async {
        Sender::try_connect(cluster.front.ws(), "ticks?producer=p").await.ok()
    })
    .await
}

/// Frame `number`, counted from one.
fn frame(number: u64) -> String {
    let rows: Vec<String> = ((number - 1) * FRAME..number * FRAME).map(row).collect();
    format!("#{number}\n{}", rows.join("\n"))
}

async fn check(session: &Session, frames: u64) {
    let rows = (frames * FRAME).to_string();
    let answer = session.ok("SELECT count(*), count(DISTINCT id), coalesce(max(id) + 1, 0) FROM ticks").await;
    assert_eq!(answer.cells(), [[rows.clone(), rows.clone(), rows]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_has_each_acknowledged_row_once() {
    let (mut cluster, session) = start().await;
    drop(session);
    let mut sent = 0;
    let mut acknowledged = 0;
    for round in 0..8u64 {
        let mut sender = connect(&cluster).await;
        assert!(
            sender.last >= acknowledged && sender.last <= sent,
            "{} of {acknowledged}..{sent}",
            sender.last
        );
        // The sender goes on after what the stream has, whatever it was told itself.
        let mut number = sender.last;
        sender.acknowledged = sender.last;
        for _ in 0..30 + round * 17 {
            number += 1;
            sender.send(frame(number)).await;
            sent = sent.max(number);
        }
        sender.acknowledged(number - 20).await;
        acknowledged = sender.acknowledged;
        cluster.front.kill();
        cluster.start_front_again();
    }
    let mut sender = connect(&cluster).await;
    assert!(sender.last >= acknowledged, "{} of {acknowledged}", sender.last);
    let last = sender.last;
    check(&cluster.session().await, last).await;
    // What is sent again is not there twice.
    sender.acknowledged = 0;
    sender.send(frame(last)).await;
    sender.send(frame(last + 1)).await;
    sender.acknowledged(last + 1).await;
    check(&cluster.session().await, last + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_good_order_loses_nothing() {
    let (mut cluster, _session) = start().await;
    let mut sender = connect(&cluster).await;
    for number in 1..=77 {
        sender.send(frame(number)).await;
    }
    sender.acknowledged(77).await;
    cluster.restart_front().await;
    check(&cluster.session().await, 77).await;
    assert_eq!(connect(&cluster).await.last, 77);
}
