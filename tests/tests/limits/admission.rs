//! More clients than a server takes.

use std::time::Duration;

use futures::future::join_all;
use polarway_client::QueryStream;
use polarway_common::{Error, ErrorKind};
use polarway_proto::status::error_from_status;
use polarway_tests::usage::{self, MIB};
use polarway_tests::{Answer, Cluster, Session, Setup, flight, http, until};
use tokio::task::JoinHandle;
use tonic::Code;

/// What a server takes, and how many come.
#[derive(Clone, Copy)]
struct Crowd {
    running: usize,
    queued: usize,
    clients: usize,
}

/// The acceptance list's.
const LARGE_CROWD: Crowd = Crowd { running: 32, queued: 100, clients: 500 };
const SMALL_CROWD: Crowd = Crowd { running: 2, queued: 20, clients: 200 };
/// Connections that the clients share, as a pool does.
const CONNECTIONS: usize = 100;

/// What a server with a large crowd before its door may grow to. Each query that runs may hold some megabytes of its
/// result for a client that does not read; those that wait or are refused hold next to nothing.
const CAP: u64 = 768 * MIB;

const SHORT: &str = "SELECT sum(n_nationkey) FROM nation";
/// About 100 MB, of which little fits between the server and a client that does not read.
const LARGE: &str =
    "SELECT l.l_comment FROM lineitem l CROSS JOIN (VALUES (1), (2), (3), (4), (5), (6)) AS v";

fn setup(crowd: Crowd) -> Setup {
    Setup::up()
        .set("admission.max_running", crowd.running)
        .set("admission.max_queued", crowd.queued)
        .set("admission.retry_after", "750ms")
}

/// Takes every place by results that are not read on.
async fn take_all_places(cluster: &Cluster, crowd: Crowd) -> Vec<QueryStream> {
    let mut held = vec![];
    for _ in 0..crowd.running {
        let mut stream = cluster.session().await.client.execute(LARGE).await.unwrap();
        stream.next_batch().await.unwrap().unwrap();
        held.push(stream);
    }
    assert_eq!(cluster.metric("polarway_admission_running").await, crowd.running as f64);
    held
}

async fn send_all(cluster: &Cluster, crowd: Crowd) -> Vec<JoinHandle<Result<Answer, Error>>> {
    let connections = crowd.clients.min(CONNECTIONS);
    let pool = join_all((0..connections).map(|_| Session::connect(cluster.grpc()))).await;
    let clients = (0..crowd.clients).map(|number| pool[number % pool.len()].clone());
    clients.map(|session| tokio::spawn(async move { session.query(SHORT).await })).collect()
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

/// Prints and judges what the server has grown to at most.
fn assert_below_cap(cluster: &Cluster, what: &str) {
    let peak = usage::peak_rss(cluster.front.pid());
    println!("{what}: peak {} MiB of at most {} MiB", peak / MIB, CAP / MIB);
    assert!(peak < CAP, "{what}: {} MiB", peak / MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_08_surplus_waits_and_the_rest_is_refused_with_a_delay() {
    let crowd = LARGE_CROWD;
    let (cluster, _) = setup(crowd).set("admission.queue_timeout", "5min").start_with_tpch().await;
    let before = cluster.metric("polarway_admission_admitted_total").await;
    let held = take_all_places(&cluster, crowd).await;
    let sent = send_all(&cluster, crowd).await;
    let expected = (crowd.clients - crowd.queued) as f64;
    until("all but the queue are refused", Duration::from_secs(60), || async {
        (cluster.metric("polarway_admission_refused_total").await == expected).then_some(())
    })
    .await;
    assert_eq!(cluster.metric("polarway_admission_waiting").await, crowd.queued as f64);

    // What reads no files is not kept waiting, and what a driver sees is gRPC's own code.
    assert_eq!(cluster.session().await.value("SELECT 1").await, "1");
    let client = flight::connect(cluster.grpc()).await;
    let info = flight::info(&client, SHORT).await;
    let status = client.clone().do_get(flight::ticket(&info)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(error_from_status(&status).retry_after.is_some());

    drop(held);
    let (accepted, refused) = outcomes(sent).await;
    assert_eq!((accepted, refused), (crowd.queued, crowd.clients - crowd.queued));
    let admitted = cluster.metric("polarway_admission_admitted_total").await - before;
    assert_eq!(admitted as usize, crowd.running + accepted);
    assert_eq!(cluster.metric("polarway_admission_refused_total").await as usize, refused + 1);
    assert_below_cap(&cluster, "all places held");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_08_who_waits_too_long_is_refused() {
    let crowd = SMALL_CROWD;
    let (cluster, _) = setup(crowd).set("admission.queue_timeout", "1s").start_with_tpch().await;
    let held = take_all_places(&cluster, crowd).await;
    let (accepted, refused) = outcomes(send_all(&cluster, crowd).await).await;
    assert_eq!((accepted, refused), (0, crowd.clients));
    drop(held);
    // The places come back, and so do the answers.
    until("an answer", Duration::from_secs(60), || async { cluster.session().await.query(SHORT).await.ok() })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_08_clients_that_give_up_leave_the_queue() {
    let crowd = SMALL_CROWD;
    let (cluster, _) = setup(crowd).set("admission.queue_timeout", "5min").start_with_tpch().await;
    let held = take_all_places(&cluster, crowd).await;
    let session = cluster.session().await;
    let waiting: Vec<_> = (0..crowd.queued)
        .map(|_| {
            let session = session.clone();
            tokio::spawn(async move { session.query(SHORT).await })
        })
        .collect();
    until("the queue is full", Duration::from_secs(60), || async {
        (cluster.metric("polarway_admission_waiting").await == crowd.queued as f64).then_some(())
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
async fn row_08_five_hundred_clients_on_each_route() {
    let crowd = LARGE_CROWD;
    for route in ["direct", "staged"] {
        let setup = setup(crowd).set("query.route", route).set("admission.queue_timeout", "5min");
        let (cluster, _) = setup.start_with_tpch().await;
        let (accepted, refused) = outcomes(send_all(&cluster, crowd).await).await;
        println!("{route}: {accepted} accepted, {refused} refused");
        assert_eq!(accepted + refused, crowd.clients);
        assert!(accepted >= crowd.running + crowd.queued);
        assert_eq!(cluster.metric("polarway_admission_refused_total").await as usize, refused);
        assert_below_cap(&cluster, route);
        cluster.until_no_shuffle().await;
    }
}

/// One place, held by a result that is not read on.
async fn one_place_taken() -> (Cluster, Vec<QueryStream>) {
    let crowd = Crowd { running: 1, queued: 5, clients: 1 };
    let (cluster, _) = setup(crowd).set("admission.queue_timeout", "5min").start_with_tpch().await;
    let held = take_all_places(&cluster, crowd).await;
    (cluster, held)
}

async fn until_waiting(cluster: &Cluster, count: usize) {
    until(format!("{count} queries wait"), Duration::from_secs(60), || async {
        (cluster.metric("polarway_admission_waiting").await == count as f64).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_08_time_in_the_queue_is_not_the_querys() {
    let (cluster, held) = one_place_taken().await;
    let session = cluster.session().await;
    // Enough for the query itself on a loaded machine, and less than it waits.
    let limit = Duration::from_secs(3);
    session.set("polarway.timeout", "3s").await;
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.query(SHORT).await }
    });
    until_waiting(&cluster, 1).await;
    let queued = http::queries(cluster.http()).await;
    let states: Vec<_> = queued.iter().filter(|query| query["sql"] == SHORT).collect();
    assert!(matches!(states[..], [query] if query["state"] == "queued"), "{queued:?}");
    tokio::time::sleep(limit + Duration::from_millis(500)).await;
    assert!(!waiting.is_finished(), "it ended while it waited: {:?}", waiting.await);
    drop(held);
    assert_eq!(waiting.await.unwrap().unwrap().value(), "300");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_08_what_computes_without_files_waits_too() {
    let (cluster, held) = one_place_taken().await;
    let session = cluster.session().await;
    let computing = "SELECT count(*) FROM generate_series(1, 1000) a CROSS JOIN generate_series(1, 1000) b";
    let waiting = ["", "EXPLAIN ANALYZE "].map(|prefix| {
        let (session, sql) = (session.clone(), format!("{prefix}{computing}"));
        tokio::spawn(async move { session.query(&sql).await })
    });
    until_waiting(&cluster, waiting.len()).await;
    assert_eq!(session.value("SELECT 1").await, "1");
    drop(held);
    for (waiting, expected) in waiting.into_iter().zip(["1000000", "output_rows="]) {
        let text = waiting.await.unwrap().unwrap().text();
        assert!(text.contains(expected), "{text}");
    }
}
