//! Leased queries, through the Rust client.

use std::time::Duration;

use polarway_common::ErrorKind;
use polarway_tests::etcd::Etcd;
use polarway_tests::wait::within;
use polarway_tests::{Session, Setup, until};

const CEILING: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn row_42_a_handle_made_through_one_scheduler_is_read_through_the_other_when_that_is_killed() {
    let etcd = Etcd::start().await;
    let setup = Setup::cluster(1).schedulers(2).set("metastore.etcd", etcd.url());
    let (mut cluster, _) = setup.start_with_tpch().await;
    let one = Session::connect(cluster.front.grpc).await;
    let sql = "SELECT n_regionkey, count(*) AS n FROM nation GROUP BY n_regionkey";
    let handle = one.client.create_handle(sql, MINUTE).await.unwrap();
    let columns: Vec<(&str, &str)> =
        handle.columns.iter().map(|(name, of)| (name.as_str(), of.as_str())).collect();
    assert_eq!(columns, [("n_regionkey", "Int64"), ("n", "Int64")]);
    assert_eq!(handle.ttl, MINUTE);
    let on_handle =
        one.client.create_handle(&format!("SELECT n FROM {}", handle.table()), MINUTE).await.unwrap();
    cluster.front.kill();
    let other = Session::connect(cluster.others[0].grpc).await;
    for route in ["direct", "staged"] {
        other.set_route(route).await;
        assert_eq!(other.value(&format!("SELECT sum(n) FROM {}", handle.table())).await, "25");
        assert_eq!(other.value(&format!("SELECT sum(n) FROM {}", on_handle.table())).await, "25");
    }
    assert_eq!(other.client.renew_handle(&handle.id).await.unwrap(), MINUTE);
    other.client.close_handle(&handle.id).await.unwrap();
    other.client.close_handle(&handle.id).await.unwrap();
    let error = other.error(&format!("SELECT sum(n) FROM {}", handle.table())).await;
    assert_eq!(error.kind, ErrorKind::NotFound, "also though its plan was made before: {error}");
    let error = other.error(&format!("SELECT sum(n) FROM {}", on_handle.table())).await;
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_42_a_handle_that_is_not_renewed_goes_and_does_not_come_back() {
    let cluster = Setup::up().start().await;
    let session = cluster.session().await;
    let short = Duration::from_secs(1);
    let kept = session.client.create_handle("SELECT 1 AS x", short).await.unwrap();
    let left = session.client.create_handle("SELECT 2 AS x", short).await.unwrap();
    let read = |id: &str| format!("SELECT x FROM handle.{id}");
    until("the one that nobody renews has gone", CEILING, || async {
        session.client.renew_handle(&kept.id).await.unwrap();
        session.query(&read(&left.id)).await.err()
    })
    .await;
    let error = session.client.renew_handle(&left.id).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    assert_eq!(session.error(&read(&left.id)).await.kind, ErrorKind::NotFound);
    assert_eq!(session.value(&read(&kept.id)).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_handle_says_so() {
    let cluster = Setup::up().start().await;
    let session = cluster.session().await;
    for (sql, kind) in [
        ("SELECT * FROM nowhere", ErrorKind::TableNotFound),
        ("SELEC", ErrorKind::Syntax),
        ("CREATE VIEW v AS SELECT 1", ErrorKind::Unsupported),
        ("SELECT * FROM '/etc/passwd.csv'", ErrorKind::PathNotAllowed),
        ("SELECT $1 AS x", ErrorKind::Plan),
    ] {
        let work = session.client.create_handle(sql, MINUTE);
        let error = within(sql, CEILING, work).await.unwrap_err();
        assert_eq!(error.kind, kind, "{sql}: {error}");
    }
    assert_eq!(session.error("SELECT * FROM handle.h_1").await.kind, ErrorKind::NotFound);
    let schemas = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'handle'";
    assert_eq!(session.value(schemas).await, "0");
    let error = session.error("CREATE SCHEMA handle").await;
    assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
}
