//! The client against a Flight server over TCP.

// The exemption for tests does not reach the helpers beside them.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;
mod tls;
mod tokens;

use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use polarway_client::{CancelOutcome, Client, ClientOptions, Endpoint, QueryState, QueryStream};
use polarway_common::{Error, ErrorKind, Place};
use support::FakeServer;

fn endpoint(server: &FakeServer) -> Endpoint {
    server.address.to_string().parse().unwrap()
}

async fn connect(server: &FakeServer) -> Client {
    Client::connect(ClientOptions::to(endpoint(server))).await.unwrap()
}

fn values(batch: &RecordBatch) -> Vec<i64> {
    batch.column(0).as_primitive::<Int64Type>().values().to_vec()
}

async fn collect(mut stream: QueryStream) -> Result<Vec<i64>, Error> {
    let mut all = vec![];
    while let Some(batch) = stream.next_batch().await? {
        all.extend(values(&batch));
    }
    Ok(all)
}

/// An address at which nobody listens.
async fn nobody() -> Endpoint {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string().parse().unwrap()
}

#[tokio::test]
async fn a_result_arrives_whole_and_in_order() {
    let server = FakeServer::start().await;
    let stream = connect(&server).await.execute("numbers 95").await.unwrap();
    assert_eq!((stream.query_id(), stream.route()), ("q-numbers", "direct"));
    assert_eq!(stream.schema().field(0).name(), "n");
    assert_eq!(collect(stream).await.unwrap(), (0..95).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_empty_result_is_no_error() {
    let server = FakeServer::start().await;
    let stream = connect(&server).await.execute("numbers 0").await.unwrap();
    assert_eq!(collect(stream).await.unwrap(), [0i64; 0]);
}

#[tokio::test]
async fn every_call_carries_the_session() {
    let server = FakeServer::start().await;
    let options = ClientOptions::to(endpoint(&server));
    let expected = format!("arrow_flight_session_id={}", options.session);
    let client = Client::connect(options).await.unwrap();
    collect(client.execute("numbers 1").await.unwrap()).await.unwrap();
    client.progress("q-numbers").await.unwrap();
    let cookies = server.seen.cookies.lock().unwrap().clone();
    assert_eq!(cookies, vec![expected; 3]);
}

#[tokio::test]
async fn all_parts_are_read_and_an_ordered_result_keeps_their_order() {
    let server = FakeServer::start().await;
    let client = connect(&server).await;
    let ordered = collect(client.execute("parts ordered").await.unwrap()).await.unwrap();
    assert_eq!(ordered, (0..30).collect::<Vec<_>>());
    let mut unordered = collect(client.execute("parts").await.unwrap()).await.unwrap();
    unordered.sort_unstable();
    assert_eq!(unordered, (0..30).collect::<Vec<_>>());
    assert_eq!(server.seen.reads.load(Ordering::SeqCst), 6);
}

#[tokio::test]
async fn a_part_is_read_from_the_server_that_has_it() {
    let (origin, other) = (FakeServer::start().await, FakeServer::start().await);
    let sql = format!("elsewhere grpc+tcp://{}", other.address);
    let result = collect(connect(&origin).await.execute(&sql).await.unwrap()).await.unwrap();
    assert_eq!(result.len(), 10);
    assert_eq!(origin.seen.reads.load(Ordering::SeqCst), 0);
    assert_eq!(other.seen.reads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_part_whose_server_is_unreachable_is_read_from_the_origin() {
    let origin = FakeServer::start().await;
    let client = connect(&origin).await;
    let sql = format!("elsewhere grpc+tcp://{}", nobody().await);
    for _ in 0..2 {
        assert_eq!(collect(client.execute(&sql).await.unwrap()).await.unwrap().len(), 10);
    }
    assert_eq!(origin.seen.reads.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn errors_keep_kind_place_and_hint() {
    let server = FakeServer::start().await;
    let Err(error) = connect(&server).await.execute("fail").await else { panic!("planned") };
    let expected = Error::new(ErrorKind::ColumnNotFound, "no column `x`")
        .with_hint("did you mean `y`?")
        .with_place(Place { line: 1, column: 8 });
    assert_eq!(error, expected);
}

#[tokio::test]
async fn an_error_in_the_middle_follows_the_rows_before_it() {
    let server = FakeServer::start().await;
    let mut stream = connect(&server).await.execute("late").await.unwrap();
    assert_eq!(stream.next_batch().await.unwrap().unwrap().num_rows(), 10);
    let error = stream.next_batch().await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Execution, "division by zero"));
    assert!(stream.next_batch().await.unwrap().is_none());
}

#[tokio::test]
async fn an_unread_result_stops_its_producer_and_a_dropped_one_ends_it() {
    let server = FakeServer::start().await;
    let mut stream = connect(&server).await.execute("endless").await.unwrap();
    stream.next_batch().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let produced = server.seen.produced.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.seen.produced.load(Ordering::SeqCst), produced, "nobody reads, so nothing is produced");
    assert!(!server.seen.abandoned.load(Ordering::SeqCst));
    drop(stream);
    wait_for(|| server.seen.abandoned.load(Ordering::SeqCst)).await;
}

#[tokio::test]
async fn a_result_that_is_dropped_before_its_first_row_ends_too() {
    let server = FakeServer::start().await;
    let mut stream = connect(&server).await.execute("silent").await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(200), stream.next_batch()).await.is_err());
    drop(stream);
    wait_for(|| server.seen.abandoned.load(Ordering::SeqCst)).await;
}

#[tokio::test]
async fn a_query_is_cancelled_by_its_handle() {
    let server = FakeServer::start().await;
    let client = connect(&server).await;
    let stream = client.execute("endless").await.unwrap();
    let handle = stream.handle().clone();
    assert_eq!(client.cancel(&handle).await.unwrap(), CancelOutcome::Cancelled);
    let cancelled = server.seen.cancelled.lock().unwrap().clone();
    assert!(cancelled[0].contains("q-endless"));
}

#[tokio::test]
async fn progress_is_told_while_the_server_knows_it() {
    let server = FakeServer::start().await;
    let client = connect(&server).await;
    assert_eq!(client.progress("q-numbers").await.unwrap().unwrap().state, QueryState::Finished);
    assert_eq!(client.progress("q-forgotten").await.unwrap(), None);
}

#[tokio::test]
async fn the_next_server_is_used_when_one_is_down_or_draining() {
    let (first, second) = (FakeServer::start().await, FakeServer::start().await);
    let mut options = ClientOptions::to(nobody().await);
    options.endpoints.push(endpoint(&first));
    options.endpoints.push(endpoint(&second));
    let client = Client::connect(options).await.unwrap();
    assert_eq!(*client.server(), endpoint(&first));
    drop(first);
    // The connection is noticed to be gone when it is used.
    assert_eq!(collect(client.execute("numbers 3").await.unwrap()).await.unwrap(), [0, 1, 2]);
    assert_eq!(*client.server(), endpoint(&second));
    let Err(error) = client.execute("draining").await else { panic!("planned") };
    assert!(error.is_retryable());
}

#[tokio::test]
async fn a_server_that_went_away_is_named() {
    let server = FakeServer::start().await;
    let client = connect(&server).await;
    let address = server.address;
    drop(server);
    let Err(error) = client.execute("numbers 1").await else { panic!("planned") };
    assert!(error.is_retryable(), "{error:?}");
    assert!(error.message.contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn a_server_that_goes_away_in_the_middle_is_an_error_and_no_short_result() {
    let server = FakeServer::start().await;
    let mut stream = connect(&server).await.execute("endless").await.unwrap();
    stream.next_batch().await.unwrap().unwrap();
    drop(server);
    let error = loop {
        match stream.next_batch().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("taken for the end of the result"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, ErrorKind::ExecutorLost, "{error}");
}

#[tokio::test]
async fn a_foreign_server_is_recognised() {
    let server = FakeServer::start().await;
    let Err(error) = connect(&server).await.execute("foreign").await else { panic!("accepted") };
    assert!(error.message.contains("no query id"), "{error}");
}

async fn wait_for(condition: impl Fn() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), waited).await.unwrap();
}
