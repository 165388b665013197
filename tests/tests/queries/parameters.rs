//! Statements with placeholders, whose values come apart from the text.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::DataType;
use polarway_common::{ErrorKind, Place};
use polarway_tests::etcd::Etcd;
use polarway_tests::{Session, Setup};

fn row(values: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(values.into_iter().map(|(name, value)| (name, value, true)))
        .unwrap()
}

fn numbers(values: &[i64]) -> RecordBatch {
    let columns = values.iter().map(|value| ("", Arc::new(Int64Array::from(vec![*value])) as ArrayRef));
    row(columns.collect())
}

async fn value(session: &Session, sql: &str, values: &RecordBatch) -> String {
    session.query_with(sql, values).await.unwrap_or_else(|error| panic!("{sql}: {error}")).value()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_38_values_come_back_as_they_were_on_each_route() {
    let (cluster, _) = Setup::cluster(1).start_with_tpch().await;
    let session = cluster.session().await;
    let values = row(vec![
        ("text", Arc::new(StringArray::from(vec!["it's \\ \"?\" $1 é"]))),
        ("bytes", Arc::new(BinaryArray::from(vec![&b"\x00\xff'"[..]]))),
        ("float", Arc::new(Float64Array::from(vec![0.1 + 0.2]))),
        (
            "decimal",
            Arc::new(Decimal128Array::from(vec![Some(-12345)]).with_precision_and_scale(10, 3).unwrap()),
        ),
        ("time", Arc::new(TimestampMicrosecondArray::from(vec![1_700_000_000_000_001]).with_timezone("UTC"))),
        ("nothing", new_null_array(&DataType::Int32, 1)),
    ]);
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        let sql =
            "SELECT $text AS text, $bytes AS bytes, $float AS float, $decimal AS decimal, $time AS time,
                   $nothing AS nothing FROM nation WHERE n_nationkey = 3";
        let answer = session.query_with(sql, &values).await.unwrap();
        assert_eq!(answer.route, route);
        let found = concat_batches(&answer.batches[0].schema(), &answer.batches).unwrap();
        for (expected, found) in values.columns().iter().zip(found.columns()) {
            assert_eq!(expected.data_type(), found.data_type());
            assert_eq!(expected, found);
        }
        let few = "SELECT count(*) FROM nation WHERE n_regionkey = ? AND n_nationkey < ?";
        assert_eq!(value(&session, few, &numbers(&[1, 10])).await, "3");
        assert_eq!(value(&session, few, &numbers(&[1, 3])).await, "2", "and not the plan of other values");
        let twice = "SELECT sum(n_nationkey + $1) - sum(n_nationkey) FROM nation WHERE n_regionkey < $1";
        assert_eq!(value(&session, twice, &numbers(&[2])).await, "20");
        let limited = session.query_with("SELECT * FROM nation LIMIT ?", &numbers(&[7])).await.unwrap();
        assert_eq!(limited.rows(), 7);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_38_a_text_is_never_sql() {
    let cluster = Setup::up().start().await;
    let session = cluster.session().await;
    for (dialect, sql) in [("generic", "SELECT $text"), ("mysql", "SELECT ?"), ("postgresql", "SELECT $1")] {
        session.set("datafusion.sql_parser.dialect", dialect).await;
        for text in ["' OR 1 = 1 --", "\\' OR 1 = 1 --", "\\", "''", "$$", "/*", "\n"] {
            let values = row(vec![("text", Arc::new(StringArray::from(vec![text])))]);
            assert_eq!(value(&session, sql, &values).await, text, "{dialect}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_told_with_its_place() {
    let cluster = Setup::up().start().await;
    let session = cluster.session().await;
    let error = session.query_with("SELECT 1,\n ?, ?", &numbers(&[1])).await.unwrap_err();
    assert_eq!((error.kind, error.place), (ErrorKind::Plan, Some(Place { line: 2, column: 5 })), "{error}");
    let error = session.query_with("SELECT ?", &numbers(&[1, 2])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Plan, "{error}");
    let two = concat_batches(&numbers(&[1]).schema(), &[numbers(&[1]), numbers(&[2])]).unwrap();
    let error = session.query_with("SELECT ?", &two).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
    let error = session.query_with("SELECT ? FROM nowhere", &numbers(&[1])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TableNotFound, "{error}");
    let error = session.query_with("SELECT FROM WHERE ?", &numbers(&[1])).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Syntax, "{error}");
    // Without values, and in a statement that was not prepared.
    for sql in ["SELECT $1", "SELECT ?", "SELECT $name", "EXPLAIN SELECT ?", "CREATE VIEW v AS SELECT ? AS x"]
    {
        let error = session.error(sql).await;
        assert_eq!(error.kind, ErrorKind::Plan, "{sql}: {error}");
        assert!(error.message.contains("has no value"), "{sql}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_take_values_and_any_scheduler_takes_what_another_prepared() {
    let etcd = Etcd::start().await;
    let cluster = Setup::cluster(1).schedulers(2).set("metastore.etcd", etcd.url()).start().await;
    let session = Session::with_any(&cluster.fronts()).await;
    session.query_with("CREATE VIEW limits AS SELECT ? AS low", &numbers(&[17])).await.unwrap();
    for front in cluster.fronts() {
        let one = Session::connect(front).await;
        assert_eq!(value(&one, "SELECT low + ? FROM limits", &numbers(&[-1])).await, "16");
    }
}
