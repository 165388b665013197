//! A task's report that is confirmed and never arrives.

use std::net::SocketAddr;

use polarway_tests::lossy::LossyDoor;
use polarway_tests::{Oracle, Setup, assert_same, tpch};

/// Executors register at the scheduler's own address and report to the address that it announces: another one of this
/// machine with the same port, where reports get lost.
const OWN: &str = "127.0.0.2:0";
const ANNOUNCED: [u8; 4] = [127, 0, 0, 1];

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_report_costs_an_attempt_and_no_row() {
    let data = tpch::data("0.1");
    let cluster = Setup::cluster(2)
        .front_at(OWN)
        .set("scheduler.advertise_host", "127.0.0.1")
        .set("scheduler.stall_timeout", "2s")
        .allow(&data)
        .start()
        .await;
    let announced = SocketAddr::from((ANNOUNCED, cluster.grpc().port()));
    let door = LossyDoor::open(announced, cluster.grpc()).await;
    let session = cluster.session().await;
    tpch::create_tables(&session, &data).await;
    session.set_route("staged").await;

    let sql = tpch::query(3);
    let answer = session.ok(&sql).await;
    let expected = Oracle::tpch(&data).await.answer(&sql).await;
    assert_same(&sql, &answer, &expected, tpch::order(3));
    assert!(door.reports() > 1, "reports took another way");
    assert_eq!(session.progress(&answer.query_id).await.attempt, 2, "the loss was not noticed");
    cluster.until_no_shuffle().await;
}
