//! More clients than a server takes.

use std::time::Duration;

use futures::future::join_all;
use polarway_common::{Error, ErrorKind};
use polarway_proto::status::error_from_status;
use polarway_tests::usage::{self, MIB};
use polarway_tests::{Answer, Cluster, Session, Setup, flight, until};
use tokio::task::JoinHandle;
use tonic::Code;

const RUNNING: usize = 2;
const QUEUED: usize = 20;
const CLIENTS: usize = 200;
const SHORT: &str = "SELECT sum(n_nationkey) FROM nation";
const LARGE: &str = "SELECT l.* FROM lineitem l CROSS JOIN (VALUES (1), (2), (3), (4), (5), (6)) AS v";

fn setup() -> Setup {
    Setup::up()
        .set("admission.max_running", RUNNING)
        .set("admission.max_queued", QUEUED)
        .set("admission.retry_after", "750ms")
}

/// Takes every place by results that are not read on.
async fn take_all_places(cluster: &Cluster) -> Vec<polarway_client::QueryStream> {
    let mut held = vec![];
    for _ in 0..RUNNING {
        let mut stream = cluster.session().await.client.execute(LARGE).await.unwrap();
        stream.next_batch().await.unwrap().unwrap();
        held.push(stream);
    }
    assert_eq!(cluster.metric("polarway_admission_running").await, RUNNING as f64);
    held
}

async fn send_all(cluster: &Cluster) -> Vec<JoinHandle<Result<Answer, Error>>> {
    let sessions = join_all((0..CLIENTS).map(|_| Session::connect(cluster.grpc()))).await;
    sessions.into_iter().map(|session| tokio::spawn(async move { session.query(SHORT).await })).collect()
}

/// How many were answered and how many refused; anything else fails.
async fn outcomes(sent: Vec<JoinHandle<Result<Answer, Error>>>) -> (usize, usize) {
    let (mut accepted, mut refused) = (0, 0);
    for outcome in join_all(sent).await {
        match outcome.unwrap() {
            Ok(answer) => {
                assert_eq!(answer.value(), "300");
                accepted += 1;
            }
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Overloaded, "{error}");
                assert_eq!(error.retry_after, Some(Duration::from_millis(750)), "{error:?}");
                assert!(error.is_retryable() && error.hint.is_some());
                refused += 1;
            }
        }
    }
    (accepted, refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn row_08_surplus_waits_and_the_rest_is_refused_with_a_delay() {
    let (cluster, _) = setup().set("admission.queue_timeout", "5min").start_with_tpch().await;
    let before = cluster.metric("polarway_admission_admitted_total").await;
    let held = take_all_places(&cluster).await;
    let sent = send_all(&cluster).await;
    let expected = (CLIENTS - QUEUED) as f64;
    until("all but the queue are refused", Duration::from_secs(60), || async {
        (cluster.metric("polarway_admission_refused_total").await == expected).then_some(())
    })
    .await;
    assert_eq!(cluster.metric("polarway_admission_waiting").await, QUEUED as f64);

    // What reads no files is not kept waiting, and what a driver sees is gRPC's own code.
    assert_eq!(cluster.session().await.value("SELECT 1").await, "1");
    let client = flight::connect(cluster.grpc()).await;
    let info = flight::info(&client, SHORT).await;
    let status = client.clone().do_get(flight::ticket(&info)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(error_from_status(&status).retry_after.is_some());

    drop(held);
    let (accepted, refused) = outcomes(sent).await;
    assert_eq!((accepted, refused), (QUEUED, CLIENTS - QUEUED));
    let admitted = cluster.metric("polarway_admission_admitted_total").await - before;
    assert_eq!(admitted as usize, RUNNING + accepted);
    assert_eq!(cluster.metric("polarway_admission_refused_total").await as usize, refused + 1);
    let peak = usage::peak_rss(cluster.front.pid());
    assert!(peak < 600 * MIB, "{} MiB", peak / MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_08_who_waits_too_long_is_refused() {
    let (cluster, _) = setup().set("admission.queue_timeout", "1s").start_with_tpch().await;
    let held = take_all_places(&cluster).await;
    let (accepted, refused) = outcomes(send_all(&cluster).await).await;
    assert_eq!((accepted, refused), (0, CLIENTS));
    drop(held);
    // The places come back, and so do the answers.
    until("an answer", Duration::from_secs(60), || async { cluster.session().await.query(SHORT).await.ok() })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_08_clients_that_give_up_leave_the_queue() {
    let (cluster, _) = setup().set("admission.queue_timeout", "5min").start_with_tpch().await;
    let held = take_all_places(&cluster).await;
    let session = cluster.session().await;
    let waiting: Vec<_> = (0..QUEUED)
        .map(|_| {
            let session = session.clone();
            tokio::spawn(async move { session.query(SHORT).await })
        })
        .collect();
    until("the queue is full", Duration::from_secs(60), || async {
        (cluster.metric("polarway_admission_waiting").await == QUEUED as f64).then_some(())
    })
    .await;
    waiting.iter().for_each(JoinHandle::abort);
    until("the queue is empty", Duration::from_secs(60), || async {
        (cluster.metric("polarway_admission_waiting").await == 0.0).then_some(())
    })
    .await;
    drop(held);
    assert_eq!(session.value(SHORT).await, "300");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_08_many_clients_without_holders() {
    for route in ["direct", "staged"] {
        let (cluster, _) =
            setup().set("query.route", route).set("admission.queue_timeout", "5min").start_with_tpch().await;
        let (accepted, refused) = outcomes(send_all(&cluster).await).await;
        println!("{route}: {accepted} accepted, {refused} refused");
        assert_eq!(accepted + refused, CLIENTS);
        assert!(accepted >= RUNNING + QUEUED);
        assert_eq!(cluster.metric("polarway_admission_refused_total").await as usize, refused);
        let peak = usage::peak_rss(cluster.front.pid());
        assert!(peak < 600 * MIB, "{route}: {} MiB", peak / MIB);
    }
}
