//! A row can be queried as soon as it has arrived.

use std::time::Duration;

use polarway_tests::{Sender, Setup, until};

use super::numbered::{frame, table};

#[tokio::test(flavor = "multi_thread")]
async fn row_25_a_row_is_in_the_first_query_after_its_acknowledgement() {
    let cluster = Setup::up().set("ingest.listen", "127.0.0.1:0").start().await;
    let session = cluster.session().await;
    session.ok(&table("seal_rows = 70")).await;
    let mut sender = Sender::connect(cluster.front.ws(), "numbered").await;
    for id in 1..=200u64 {
        // The staged route is the slower one.
        session.set_route(if id % 10 == 0 { "staged" } else { "direct" }).await;
        sender.send(frame(1, id, 1)).await;
        sender.acknowledged(id).await;
        let answer = session.ok("SELECT count(*), max(id) FROM numbered").await;
        assert_eq!(answer.cells(), [[id.to_string(), id.to_string()]]);
        let answer = session.ok(&format!("SELECT p, id FROM numbered WHERE id = {id}")).await;
        assert_eq!(answer.cells(), [["1".to_owned(), id.to_string()]]);
    }
}

/// Nothing is sealed, so nothing is acknowledged.
async fn seen_before_it_is_acknowledged(rows: u64) {
    let cluster = Setup::up().set("ingest.listen", "127.0.0.1:0").start().await;
    let session = cluster.session().await;
    session.ok(&table("seal_age = '1h'")).await;
    let mut sender = Sender::connect(cluster.front.ws(), "numbered?ack=object_store").await;
    for id in 1..=rows {
        sender.send(frame(1, id, 1)).await;
        until(format!("row {id} is seen"), Duration::from_secs(30), || async {
            let count = session.value("SELECT count(*) FROM numbered").await;
            (count == id.to_string()).then_some(())
        })
        .await;
    }
    let ack = tokio::time::timeout(Duration::from_millis(100), sender.try_acknowledged(1)).await;
    assert!(ack.is_err(), "{ack:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_25_a_row_is_seen_before_it_is_acknowledged() {
    seen_before_it_is_acknowledged(50).await;
}

/// However many wait for their file.
#[tokio::test(flavor = "multi_thread")]
async fn row_25_so_are_two_hundred() {
    seen_before_it_is_acknowledged(200).await;
}
