//! Tables that statements make.

use polarway_common::ErrorKind;
use polarway_tests::etcd::Etcd;
use polarway_tests::{Cluster, Session, Setup};

async fn written(session: &Session, sql: &str) -> (u64, u64) {
    let told = session.ok(sql).await.cells();
    (told[0][0].parse().unwrap(), told[0][1].parse().unwrap())
}

async fn makes_and_fills(cluster: &Cluster) {
    let session = cluster.session().await;
    let (count, files) = written(
        &session,
        "CREATE TABLE big AS SELECT l_orderkey, l_shipdate, l_extendedprice, l_comment FROM lineitem WHERE l_quantity > 10",
    )
    .await;
    let wanted = session.value("SELECT count(*) FROM lineitem WHERE l_quantity > 10").await;
    assert_eq!(count.to_string(), wanted);
    assert!(files >= 1);
    assert_eq!(session.value("SELECT count(*) FROM big").await, wanted);
    let sums = |table: &str, filter: &str| {
        format!(
            "SELECT sum(l_extendedprice), min(l_shipdate), max(l_comment), count(DISTINCT l_orderkey) FROM {table} {filter}"
        )
    };
    let from_files = session.ok(&sums("lineitem", "WHERE l_quantity > 10")).await.cells();
    for route in ["direct", "staged"] {
        session.ok(&format!("SET polarway.route = '{route}'")).await;
        assert_eq!(session.ok(&sums("big", "")).await.cells(), from_files, "{route}");
        let (count, _) = written(&session, "INSERT INTO big SELECT l_orderkey, l_shipdate, l_extendedprice, l_comment FROM lineitem WHERE l_quantity <= 10").await;
        assert!(count > 0, "{route}");
        assert_eq!(
            session.ok(&sums("big", "")).await.cells(),
            session.ok(&sums("lineitem", "")).await.cells(),
            "{route}"
        );
        // All rows of the table take the place of those that it has.
        written(&session, "INSERT OVERWRITE big SELECT l_orderkey, l_shipdate, l_extendedprice, l_comment FROM lineitem WHERE l_quantity > 10").await;
        assert_eq!(session.ok(&sums("big", "")).await.cells(), from_files, "{route}");
    }
    session.ok("RESET polarway.route").await;

    session.ok("CREATE TABLE t (a BIGINT NOT NULL, b VARCHAR, c DECIMAL(12, 2))").await;
    assert_eq!(session.value("SELECT count(*) FROM t").await, "0");
    assert_eq!(written(&session, "INSERT INTO t VALUES (1, 'x', 1.5), (2, NULL, NULL)").await, (2, 1));
    assert_eq!(
        written(
            &session,
            "INSERT INTO t (b, a) SELECT n_name, n_nationkey FROM nation WHERE n_nationkey < 2"
        )
        .await,
        (2, 1)
    );
    let rows = session.ok("SELECT a, b, c FROM t ORDER BY a, b").await.cells();
    assert_eq!(
        rows,
        [["0", "ALGERIA", "NULL"], ["1", "ARGENTINA", "NULL"], ["1", "x", "1.50"], ["2", "NULL", "NULL"]]
    );
    // Rows read and written at once are those that there were.
    assert_eq!(written(&session, "INSERT INTO t SELECT * FROM t").await, (4, 1));
    assert_eq!(session.value("SELECT count(*) FROM t AS x JOIN t AS y ON x.a = y.a").await, "24");
    let shown = session.ok("SHOW CREATE TABLE t").await.text();
    assert!(shown.contains("DECIMAL(12, 2)"), "{shown}");

    let again = session.error("CREATE TABLE t AS SELECT 1 AS a").await;
    assert_eq!(again.kind, ErrorKind::AlreadyExists, "{again}");
    session.ok("CREATE TABLE IF NOT EXISTS t AS SELECT 1 AS a").await;
    assert_eq!(session.value("SELECT count(*) FROM t").await, "8");
    session.ok("CREATE OR REPLACE TABLE t AS SELECT 7 AS a").await;
    assert_eq!(session.value("SELECT a FROM t").await, "7");
    session.ok("INSERT INTO t VALUES (NULL)").await;
    session.ok("DROP TABLE t").await;
    assert_eq!(session.error("SELECT * FROM t").await.kind, ErrorKind::TableNotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_05_tables_are_made_and_filled_in_one_process() {
    let (mut cluster, _) = Setup::up().start_with_tpch().await;
    makes_and_fills(&cluster).await;
    let before = cluster.session().await.value("SELECT sum(l_extendedprice) FROM big").await;
    cluster.restart_front().await;
    assert_eq!(cluster.session().await.value("SELECT sum(l_extendedprice) FROM big").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_05_tables_are_made_and_filled_in_a_cluster_and_seen_at_once_through_the_other_scheduler() {
    let etcd = Etcd::start().await;
    let setup = Setup::cluster(2).schedulers(2).set("metastore.etcd", etcd.url());
    let (cluster, _) = setup.start_with_tpch().await;
    makes_and_fills(&cluster).await;
    let [one, other] = cluster.fronts()[..] else { panic!("two schedulers") };
    let (one, other) = (Session::connect(one).await, Session::connect(other).await);
    for number in 1..20 {
        let sql = match number {
            1 => "CREATE TABLE seen AS SELECT 1 AS number".to_owned(),
            number => format!("INSERT INTO seen VALUES ({number})"),
        };
        one.ok(&sql).await;
        assert_eq!(other.value("SELECT max(number) FROM seen").await, number.to_string());
    }
    other.ok("INSERT INTO seen VALUES (100)").await;
    assert_eq!(one.value("SELECT max(number) FROM seen").await, "100");
    one.ok("DROP TABLE seen").await;
    assert_eq!(other.error("INSERT INTO seen VALUES (1)").await.kind, ErrorKind::TableNotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_37_concurrent_appends_give_the_exact_row_count() {
    let etcd = Etcd::start().await;
    let setup = Setup::cluster(1).schedulers(2).set("metastore.etcd", etcd.url());
    let cluster = setup.start().await;
    let fronts = cluster.fronts();
    let session = cluster.session().await;
    session.ok("CREATE TABLE hits (writer BIGINT, number BIGINT)").await;
    let writers = (0..8).map(|writer| {
        let front = fronts[writer % fronts.len()];
        async move {
            let session = Session::connect(front).await;
            for number in 0..10 {
                session
                    .ok(&format!("INSERT INTO hits VALUES ({writer}, {number}), ({writer}, {number})"))
                    .await;
            }
        }
    });
    futures::future::join_all(writers).await;
    assert_eq!(session.value("SELECT count(*) FROM hits").await, "160");
    assert_eq!(session.value("SELECT count(*) FROM (SELECT DISTINCT writer, number FROM hits)").await, "80");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_says_why() {
    let (cluster, data) = Setup::up().start_with_tpch().await;
    let session = cluster.session().await;
    session.ok("CREATE TABLE t (a BIGINT NOT NULL, b VARCHAR)").await;
    session.ok("CREATE VIEW v AS SELECT * FROM t").await;
    let kind = async |sql: &str| session.error(sql).await.kind;
    assert_eq!(kind("INSERT INTO t VALUES (NULL, 'x')").await, ErrorKind::Plan);
    assert_eq!(kind("INSERT INTO v VALUES (1, 'x')").await, ErrorKind::Plan);
    assert_eq!(kind("INSERT INTO missing VALUES (1)").await, ErrorKind::TableNotFound);
    assert_eq!(kind("INSERT INTO t VALUES ('x', 'y')").await, ErrorKind::TypeMismatch);
    assert_eq!(kind("INSERT INTO nation SELECT * FROM nation").await, ErrorKind::PathNotAllowed);
    assert_eq!(kind("CREATE TABLE x (a BIGINT PRIMARY KEY)").await, ErrorKind::Unsupported);
    assert_eq!(kind("CREATE TABLE x AS SELECT 1 AS a, 2 AS a").await, ErrorKind::Plan);
    assert_eq!(kind("CREATE TABLE nowhere.x AS SELECT 1 AS a").await, ErrorKind::NotFound);
    assert_eq!(kind("CREATE TABLE system.x AS SELECT 1 AS a").await, ErrorKind::Unsupported);
    assert_eq!(kind("CREATE TABLE x AS SELECT 1/0 AS a").await, ErrorKind::Execution);
    assert_eq!(kind("DELETE FROM t").await, ErrorKind::Unsupported);
    let copy = format!("COPY nation TO '{}/out.parquet'", data.display());
    assert_eq!(kind(&copy).await, ErrorKind::PathNotAllowed);
    assert_eq!(session.value("SELECT count(*) FROM t").await, "0");
    assert_eq!(kind("SELECT * FROM x").await, ErrorKind::TableNotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_a_place_for_tables_says_so() {
    let cluster = Setup::cluster(1).without_tables().start().await;
    let session = cluster.session().await;
    let error = session.error("CREATE TABLE t AS SELECT 1 AS a").await;
    assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
    assert!(error.hint.unwrap().contains("storage.tables"));
}
