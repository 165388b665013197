//! Flight SQL as drivers speak it: the catalog commands that nothing else of ours sends, and tickets that travel.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int32Type, Schema};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{
    CommandGetCrossReference, CommandGetExportedKeys, CommandGetImportedKeys, CommandGetPrimaryKeys,
    CommandGetXdbcTypeInfo, XdbcDataType,
};
use arrow_flight::{FlightData, FlightInfo};
use futures::{TryStreamExt, stream};
use polarway_common::ErrorKind;
use polarway_tests::{Setup, compare, flight};
use tonic::transport::Channel;

type Sql = FlightSqlServiceClient<Channel>;

async fn connect(server: SocketAddr) -> Sql {
    FlightSqlServiceClient::new_from_inner(flight::connect(server).await)
}

fn names(schema: &Schema) -> Vec<&str> {
    schema.fields().iter().map(|field| field.name().as_str()).collect()
}

/// The whole answer; its columns are those that were announced.
async fn read(sql: &mut Sql, info: FlightInfo) -> RecordBatch {
    let announced = info.clone().try_decode_schema().unwrap();
    let mut stream = sql.do_get(flight::ticket(&info)).await.unwrap();
    let mut batches = vec![];
    while let Some(batch) = stream.try_next().await.unwrap() {
        batches.push(batch);
    }
    let sent = Arc::clone(stream.schema().unwrap());
    assert_eq!(names(&sent), names(&announced));
    concat_batches(&sent, &batches).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn flight_sql_keys_have_their_columns_and_no_rows() {
    let cluster = Setup::up().start().await;
    cluster.session().await.ok("CREATE VIEW numbers AS SELECT 1 AS one").await;
    let mut sql = connect(cluster.grpc()).await;
    let table = || "numbers".to_owned();
    let primary = CommandGetPrimaryKeys { catalog: None, db_schema: None, table: table() };
    let exported = CommandGetExportedKeys { catalog: None, db_schema: None, table: table() };
    let imported = CommandGetImportedKeys { catalog: None, db_schema: None, table: table() };
    let crossed = CommandGetCrossReference {
        pk_catalog: None,
        pk_db_schema: None,
        pk_table: table(),
        fk_catalog: None,
        fk_db_schema: None,
        fk_table: table(),
    };

    let info = sql.get_primary_keys(primary).await.unwrap();
    let keys = read(&mut sql, info).await;
    assert_eq!(keys.num_rows(), 0);
    let columns = ["catalog_name", "db_schema_name", "table_name", "column_name", "key_name", "key_sequence"];
    assert_eq!(BTreeSet::from_iter(names(keys.schema_ref())), BTreeSet::from(columns));

    let columns = [
        "pk_catalog_name",
        "pk_db_schema_name",
        "pk_table_name",
        "pk_column_name",
        "fk_catalog_name",
        "fk_db_schema_name",
        "fk_table_name",
        "fk_column_name",
        "key_sequence",
        "fk_key_name",
        "pk_key_name",
        "update_rule",
        "delete_rule",
    ];
    for info in [
        sql.get_exported_keys(exported).await.unwrap(),
        sql.get_imported_keys(imported).await.unwrap(),
        sql.get_cross_reference(crossed).await.unwrap(),
    ] {
        let keys = read(&mut sql, info).await;
        assert_eq!((keys.num_rows(), names(keys.schema_ref())), (0, columns.to_vec()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flight_sql_tells_the_types_that_columns_can_have() {
    let cluster = Setup::up().start().await;
    let mut sql = connect(cluster.grpc()).await;
    let info = sql.get_xdbc_type_info(CommandGetXdbcTypeInfo { data_type: None }).await.unwrap();
    let all = read(&mut sql, info).await;
    let known: BTreeSet<&str> = all["type_name"].as_string::<i32>().iter().flatten().collect();
    for name in ["BOOLEAN", "BIGINT", "DOUBLE", "DECIMAL", "VARCHAR", "DATE", "TIMESTAMP"] {
        assert!(known.contains(name), "no {name} among {known:?}");
    }
    let codes = all["data_type"].as_primitive::<Int32Type>().values();
    assert!(codes.is_sorted(), "{codes:?}");

    let bigint = CommandGetXdbcTypeInfo { data_type: Some(XdbcDataType::XdbcBigint as i32) };
    let info = sql.get_xdbc_type_info(bigint).await.unwrap();
    let one = read(&mut sql, info).await;
    assert_eq!(one.num_rows(), 1);
    assert_eq!(one["type_name"].as_string::<i32>().value(0), "BIGINT");
    assert_eq!(one["column_size"].as_primitive::<Int32Type>().value(0), 19);
}

async fn cells(messages: Vec<FlightData>) -> Vec<Vec<String>> {
    let received = stream::iter(messages.into_iter().map(Ok::<_, FlightError>));
    let batches: Vec<RecordBatch> =
        FlightRecordBatchStream::new_from_flight_data(received).try_collect().await.unwrap();
    compare::texts(&batches)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_served_by_every_scheduler_with_the_secret() {
    let setup = |secret: &str| Setup::up().set("scheduler.ticket_secret", secret);
    let (one, _) = setup("0123456789-of-the-cluster").start_with_tpch().await;
    let (other, _) = setup("0123456789-of-the-cluster").start_with_tpch().await;
    let (stranger, _) = setup("9876543210-of-some-other").start_with_tpch().await;
    let sql = "SELECT n_name, n_regionkey FROM nation WHERE n_nationkey < 5 ORDER BY n_nationkey";
    let expected = one.session().await.ok(sql).await.cells();
    assert_eq!(expected.len(), 5);

    let client = flight::connect(one.grpc()).await;
    for (index, route) in ["direct", "staged"].into_iter().enumerate() {
        let set = flight::info(&client, &format!("SET polarway.route = '{route}'")).await;
        let mut done = client.clone().do_get(flight::ticket(&set)).await.unwrap().into_inner();
        while done.message().await.unwrap().is_some() {}
        let ticket = flight::ticket(&flight::info(&client, sql).await).ticket;
        // The ticket carries what the session had set.
        let answer = flight::redeem(other.grpc(), ticket.clone()).await.unwrap();
        assert_eq!(cells(answer).await, expected, "{route}");
        assert_eq!(other.metric("polarway_queries_staged_total").await, index as f64, "{route}");
        let error = flight::redeem(stranger.grpc(), ticket).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidTicket, "{route}: {error}");
    }
}
