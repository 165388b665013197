//! Rows by gRPC: a Flight DoPut into a stream.

use std::net::SocketAddr;
use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor};
use futures::{StreamExt, TryStreamExt};
use polarway_common::{Error, ErrorKind};
use polarway_proto::status::error_from_status;
use polarway_tests::{Session, Setup};
use serde_json::Value;
use tonic::Request;
use tonic::transport::Endpoint;

const TABLE: &str = "CREATE STREAM readings (id BIGINT NOT NULL, value DOUBLE)";

fn batch(from: i64, rows: i64) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("value", DataType::Float64, true),
    ]);
    let ids = Int64Array::from_iter_values(from..from + rows);
    let values = Float64Array::from_iter((from..from + rows).map(|id| (id % 10 != 0).then_some(id as f64)));
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids), Arc::new(values)]).unwrap()
}

/// Puts batches, each with its number if it has one, and gives the messages that came back.
async fn put(
    server: SocketAddr,
    stream: &[&str],
    producer: Option<&str>,
    batches: Vec<(Option<u64>, RecordBatch)>,
) -> Result<Vec<Value>, Error> {
    let descriptor = FlightDescriptor::new_path(stream.iter().map(|part| (*part).to_owned()).collect());
    let numbers: Vec<Option<u64>> = batches.iter().map(|(number, _)| *number).collect();
    let rows = futures::stream::iter(batches.into_iter().map(|(_, batch)| Ok(batch)));
    let mut frames: Vec<FlightData> = FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(descriptor))
        .build(rows)
        .try_collect()
        .await
        .unwrap();
    for (frame, number) in frames.iter_mut().skip(1).zip(numbers) {
        if let Some(number) = number {
            frame.app_metadata = number.to_string().into();
        }
    }
    let mut request = Request::new(futures::stream::iter(frames));
    if let Some(producer) = producer {
        request.metadata_mut().insert("polarway-producer", producer.parse().unwrap());
    }
    let channel = Endpoint::from_shared(format!("http://{server}")).unwrap().connect().await.unwrap();
    let mut client = FlightServiceClient::new(channel);
    let answers = client.do_put(request).await.map_err(|status| error_from_status(&status))?.into_inner();
    answers
        .map(|answer| match answer {
            Ok(answer) => Ok(serde_json::from_slice(&answer.app_metadata).unwrap()),
            Err(status) => Err(error_from_status(&status)),
        })
        .try_collect()
        .await
}

async fn totals(session: &Session) -> Vec<Vec<String>> {
    session.ok("SELECT count(*), count(DISTINCT id), count(value) FROM readings").await.cells()
}

async fn conforms(server: SocketAddr, session: &Session) {
    session.ok(TABLE).await;
    let batches = (0..4).map(|part| (Some(part + 1), batch(part as i64 * 500, 500))).collect();
    let answers = put(server, &["readings"], Some("p"), batches).await.unwrap();
    assert_eq!(answers[0]["last"], 0);
    let last = answers.last().unwrap();
    assert_eq!((last["ack"].as_u64(), last["durability"].as_str()), (Some(4), Some("wal")));
    assert_eq!(answers[1..].iter().map(|ack| ack["rows"].as_u64().unwrap()).sum::<u64>(), 2000);
    assert_eq!(totals(session).await, [["2000", "2000", "1800"]]);

    // Sent again, and one more.
    let batches = vec![(Some(4), batch(1500, 500)), (Some(5), batch(2000, 10))];
    let answers = put(server, &["public", "readings"], Some("p"), batches).await.unwrap();
    assert_eq!(answers[0]["last"], 4);
    assert_eq!(totals(session).await, [["2010", "2010", "1809"]]);

    // What came before a number that cannot be is there when the error is.
    let batches = vec![(Some(6), batch(2010, 10)), (Some(6), batch(2020, 10))];
    let error = put(server, &["readings"], Some("p"), batches).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidSetting, "{error}");
    assert_eq!(totals(session).await, [["2020", "2020", "1818"]]);
    let again = vec![(Some(6), batch(2010, 10))];
    let answers = put(server, &["readings"], Some("p"), again).await.unwrap();
    assert_eq!(answers[0]["last"], 6);

    let wrong = batch(0, 3).project(&[1]).unwrap();
    let answers = put(server, &["readings"], Some("q"), vec![(None, wrong)]).await.unwrap();
    assert_eq!(answers.last().unwrap()["bad"], 1);
    let letter = session.ok("SELECT producer, column_name FROM readings_dead_letters").await.cells();
    assert_eq!(letter, [["q", "id"]]);

    let error = put(server, &["nothing"], None, vec![(None, batch(0, 1))]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TableNotFound, "{error}");
    let error = put(server, &["readings"], None, vec![(Some(1), batch(0, 1))]).await.unwrap_err();
    assert!(error.message.contains("needs the parameter `producer`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_22_batches_are_put_through_the_door() {
    let cluster = Setup::up().set("ingest.listen", "127.0.0.1:0").start().await;
    conforms(cluster.grpc(), &cluster.session().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_22_batches_reach_the_process_that_takes_them() {
    let cluster = Setup::cluster(1).ingest(1).start().await;
    let session = cluster.session().await;
    conforms(cluster.grpc(), &session).await;
    session.ok("DROP STREAM readings").await;
    conforms(cluster.ingest[0].grpc, &session).await;
}
