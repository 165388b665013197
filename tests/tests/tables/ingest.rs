//! Rows that clients send.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use futures::{StreamExt, stream};
use polarway_client::{IngestMode, IngestRows};
use polarway_common::{Error, ErrorKind};
use polarway_tests::etcd::Etcd;
use polarway_tests::lossy::SilentDoor;
use polarway_tests::wait::until;
use polarway_tests::{Session, Setup};

fn batch(from: i64, rows: i64) -> RecordBatch {
    let schema =
        Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("text", DataType::Utf8, true)]);
    let ids = Int64Array::from_iter_values(from..from + rows);
    let texts = StringArray::from_iter_values((from..from + rows).map(|id| format!("row {id}")));
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids), Arc::new(texts)]).unwrap()
}

fn one(name: &str, column: impl Array + 'static) -> RecordBatch {
    RecordBatch::try_from_iter([(name, Arc::new(column) as Arc<dyn Array>)]).unwrap()
}

fn batches(count: i64, rows: i64) -> IngestRows {
    let all = (0..count).map(move |number| Ok(batch(number * rows, rows)));
    IngestRows::new(batch(0, 0).schema(), stream::iter(all))
}

#[tokio::test(flavor = "multi_thread")]
async fn row_36_rows_are_sent_in_chunks_and_are_a_table_or_a_handle() {
    let cluster = Setup::up().start().await;
    let session = cluster.session().await;
    let client = &session.client;
    let count = client.ingest("sent", None, IngestMode::Create, batches(200, 5_000)).await.unwrap();
    assert_eq!(count, 1_000_000);
    assert_eq!(session.value("SELECT count(DISTINCT id) FROM sent").await, "1000000");
    assert_eq!(session.value("SELECT text FROM sent WHERE id = 777777").await, "row 777777");
    let failed =
        async |mode, rows: IngestRows| client.ingest("sent", None, mode, rows).await.unwrap_err().kind;
    assert_eq!(failed(IngestMode::Create, batches(1, 1)).await, ErrorKind::AlreadyExists);
    let other = one("other", Int64Array::from(vec![1]));
    assert_eq!(failed(IngestMode::Append, other.into()).await, ErrorKind::SchemaMismatch);
    let wrong = one("id", StringArray::from(vec!["seven"]));
    assert!(matches!(
        failed(IngestMode::Append, wrong.into()).await,
        ErrorKind::TypeMismatch | ErrorKind::SchemaMismatch
    ));
    let missing = client.ingest("none", None, IngestMode::Append, batches(1, 1)).await.unwrap_err();
    assert_eq!(missing.kind, ErrorKind::TableNotFound, "{missing}");
    // Columns are found by name, and may be missing.
    let fewer = one("id", Int32Array::from(vec![-1]));
    client.ingest("sent", None, IngestMode::Append, fewer).await.unwrap();
    assert_eq!(session.ok("SELECT id, text FROM sent WHERE id < 0").await.cells(), [["-1", "NULL"]]);
    // What fails on its way leaves nothing.
    let broken = stream::iter((0..50).map(|number| Ok(batch(number * 1000, 1000))))
        .chain(stream::iter([Err(Error::new(ErrorKind::Plan, "the source is broken"))]));
    let broken = IngestRows::new(batch(0, 0).schema(), broken);
    let error = client.ingest("sent", None, IngestMode::Append, broken).await.unwrap_err();
    assert_eq!(error.message, "the source is broken");
    assert_eq!(session.value("SELECT count(*) FROM sent").await, "1000001");
    client.ingest("sent", None, IngestMode::Replace, batches(1, 3)).await.unwrap();
    assert_eq!(session.value("SELECT count(*) FROM sent").await, "3");
    client.ingest("fresh", None, IngestMode::CreateAppend, batches(1, 3)).await.unwrap();
    client.ingest("fresh", None, IngestMode::CreateAppend, batches(1, 3)).await.unwrap();
    assert_eq!(session.value("SELECT count(*) FROM fresh").await, "6");
    let empty = client.ingest("empty", None, IngestMode::Create, batches(0, 0)).await.unwrap();
    assert_eq!((empty, session.value("SELECT count(*) FROM empty").await.as_str()), (0, "0"));

    let handle = client.upload(Duration::from_secs(60), batches(3, 100)).await.unwrap();
    assert_eq!(handle.columns[0], ("id".to_owned(), "Int64".to_owned()));
    let sql = format!("SELECT sum(id) FROM {}", handle.table());
    assert_eq!(session.value(&sql).await, "44850");
    let tables = session.ok("SHOW TABLES").await.text();
    assert!(!tables.contains(&handle.id), "{tables}");
    client.close_handle(&handle.id).await.unwrap();
    assert_eq!(session.error(&sql).await.kind, ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_37_rows_that_were_sent_are_seen_by_another_client_through_the_other_scheduler() {
    let etcd = Etcd::start().await;
    let setup = Setup::cluster(1).schedulers(2).set("metastore.etcd", etcd.url());
    let cluster = setup.start().await;
    let fronts = cluster.fronts();
    let (one, other) = (Session::connect(fronts[0]).await, Session::connect(fronts[1]).await);
    one.client.ingest("ticks", None, IngestMode::Create, batches(1, 10)).await.unwrap();
    assert_eq!(other.value("SELECT count(*) FROM ticks").await, "10");
    let senders = (0..6).map(|number| {
        let client = if number % 2 == 0 { one.client.clone() } else { other.client.clone() };
        async move {
            for _ in 0..5 {
                client.ingest("ticks", None, IngestMode::Append, batches(2, 50)).await.unwrap();
            }
        }
    });
    futures::future::join_all(senders).await;
    assert_eq!(one.value("SELECT count(*) FROM ticks").await, "3010");
    let handle = one.client.upload(Duration::from_secs(60), batches(1, 10)).await.unwrap();
    assert_eq!(other.value(&format!("SELECT count(*) FROM {}", handle.table())).await, "10");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_21_rows_whose_answer_is_lost_are_taken_once() {
    let etcd = Etcd::start().await;
    let setup = Setup::cluster(1).schedulers(2).set("metastore.etcd", etcd.url());
    let cluster = setup.start().await;
    let fronts = cluster.fronts();
    let session = cluster.session().await;
    session.ok("CREATE TABLE t (id BIGINT, text VARCHAR)").await;
    let door = SilentDoor::open(fronts[0]).await;
    // The answer to an INSERT is lost, and the statement comes again.
    for (number, servers) in [vec![door.address], vec![door.address, fronts[1]]].into_iter().enumerate() {
        let through = Session::with_any(&servers).await;
        door.lose(1);
        let told = through.ok("INSERT INTO t VALUES (1, 'x'), (2, 'y')").await.cells();
        assert_eq!(told[0][0], "2");
        assert_eq!(session.value("SELECT count(*) FROM t").await, ((number + 1) * 2).to_string());
    }
    // The same of rows that are sent: the other server knows what became of them.
    let through = Session::with_any(&[door.address, fronts[1]]).await;
    door.lose_puts(1);
    assert_eq!(through.client.ingest("t", None, IngestMode::Append, batches(1, 10)).await.unwrap(), 10);
    assert_eq!(session.value("SELECT count(*) FROM t").await, "14");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_leaves_nothing() {
    let cluster = Setup::up().start().await;
    let session = cluster.session().await;
    let endless = stream::iter((0..).map(|number| Ok(batch(number * 5_000, 5_000))));
    let (client, rows) = (session.client.clone(), IngestRows::new(batch(0, 0).schema(), endless));
    let sending = tokio::spawn(async move { client.ingest("t", None, IngestMode::Create, rows).await });
    let tables = cluster.dir().join("front/tables");
    until("a file is being written", Duration::from_secs(60), || async {
        std::fs::read_dir(&tables).is_ok_and(|mut found| found.next().is_some()).then_some(())
    })
    .await;
    sending.abort();
    until("its files are removed", Duration::from_secs(120), || async {
        polarway_tests::files::below(&tables).is_empty().then_some(())
    })
    .await;
    assert_eq!(session.error("SELECT * FROM t").await.kind, ErrorKind::TableNotFound);
}
