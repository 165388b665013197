//! Schedulers that share their metadata through etcd.

use std::time::Duration;

use polarway_common::ErrorKind;
use polarway_tests::etcd::Etcd;
use polarway_tests::{Cluster, Sender, Session, Setup, binary, files, until};
use tempfile::TempDir;

const CEILING: Duration = Duration::from_secs(60);

async fn over(etcd: &Etcd, setup: Setup) -> (Cluster, Session) {
    let cluster = setup.set("metastore.etcd", etcd.url()).start().await;
    let session = cluster.session().await;
    (cluster, session)
}

async fn numbers() -> (TempDir, String) {
    let data = TempDir::new().unwrap();
    let path = data.path().join("numbers.parquet");
    files::parquet(&path, "SELECT value FROM generate_series(1, 1000)").await;
    let location = path.display();
    let create = format!("CREATE EXTERNAL TABLE numbers STORED AS PARQUET LOCATION '{location}'");
    (data, create)
}

async fn until_answers(session: &Session, sql: &str, expected: &str) {
    until(sql, CEILING, || async {
        let answer = session.query(sql).await.ok()?;
        (answer.value() == expected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schedulers_share_the_catalog() {
    let (data, create) = numbers().await;
    let etcd = Etcd::start().await;
    let (_one, one) = over(&etcd, Setup::cluster(1).allow(data.path())).await;
    let (_other, other) = over(&etcd, Setup::cluster(1).allow(data.path())).await;
    one.ok(&create).await;
    let sum = "SELECT sum(value) FROM numbers";
    until_answers(&other, sum, "500500").await;
    // A plan that was kept is not used for a table that is another one now.
    other.ok("DROP TABLE numbers").await;
    other.ok("CREATE VIEW numbers AS SELECT 7 AS value").await;
    until_answers(&one, sum, "7").await;
    // What was made through one is there for the other at once.
    for number in 0..20 {
        one.ok(&format!("CREATE VIEW v{number} AS SELECT {number} AS n")).await;
        assert_eq!(other.value(&format!("SELECT n FROM v{number}")).await, number.to_string());
    }
    // Both want the same name; one gets it.
    let both = tokio::join!(one.query("CREATE SCHEMA s"), other.query("CREATE SCHEMA s"));
    let refused = [both.0.err(), both.1.err()].into_iter().flatten().map(|error| error.kind);
    assert_eq!(refused.collect::<Vec<_>>(), [ErrorKind::AlreadyExists]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_etcd_known_tables_are_queried_and_changes_refused_as_retryable() {
    let (data, create) = numbers().await;
    let mut etcd = Etcd::start().await;
    let (_one, one) = over(&etcd, Setup::cluster(1).allow(data.path())).await;
    let (_other, other) = over(&etcd, Setup::cluster(1).allow(data.path())).await;
    one.ok(&create).await;
    let sum = "SELECT sum(value) FROM numbers";
    until_answers(&other, sum, "500500").await;
    etcd.kill();
    for route in ["direct", "staged"] {
        one.set_route(route).await;
        assert_eq!(one.value(sum).await, "500500", "{route}");
    }
    let error = one.error("CREATE VIEW two AS SELECT 2 AS n").await;
    assert_eq!(error.kind, ErrorKind::StoreUnavailable, "{error}");
    etcd.start_again().await;
    until("changes are taken again", CEILING, || async {
        match one.query("CREATE VIEW two AS SELECT 2 AS n").await {
            Ok(_) => Some(()),
            // An answer that was lost.
            Err(error) => (error.kind == ErrorKind::AlreadyExists).then_some(()),
        }
    })
    .await;
    until_answers(&other, "SELECT n FROM two", "2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_found_through_etcd() {
    let etcd = Etcd::start().await;
    let (one, session) = over(&etcd, Setup::cluster(1).ingest(1)).await;
    let (_other, other) = over(&etcd, Setup::cluster(1).allow(one.dir().join("sealed"))).await;
    session.ok("CREATE STREAM ticks (id BIGINT NOT NULL)").await;
    let mut sender = Sender::connect(one.ingest[0].ws(), "ticks?producer=p").await;
    sender.send((1..=100).map(|id| format!(r#"{{"id": {id}}}"#)).collect::<Vec<_>>().join("\n")).await;
    sender.acknowledged(1).await;
    for session in [&session, &other] {
        until_answers(session, "SELECT sum(id) FROM ticks", "5050").await;
    }
    // Made through one scheduler, dropped through the other.
    other.ok("DROP STREAM ticks").await;
    until("it is gone", CEILING, || async { session.query("SELECT * FROM ticks").await.err() }).await;
    assert!(Sender::try_connect(one.ingest[0].ws(), "ticks").await.is_err());
}

#[test]
fn one_process_that_is_its_whole_cluster_takes_no_etcd() {
    let data = TempDir::new().unwrap();
    let up = std::process::Command::new(binary::polarway())
        .args(["up", "--set", "metastore.etcd=http://127.0.0.1:1", "--data-dir"])
        .arg(data.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&up.stderr);
    assert!(!up.status.success() && said.contains("`metastore.etcd`"), "{}: {said}", up.status);
}
