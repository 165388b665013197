//! Tables, views and schemas: made, shown, kept over a restart, dropped.

use polarway_common::ErrorKind;
use polarway_tests::{Setup, files, tpch};

#[tokio::test(flavor = "multi_thread")]
async fn catalog_survives_a_restart() {
    let (mut cluster, data) = Setup::up().start_with_tpch().await;
    let session = cluster.session().await;
    let location = data.join("nation").display().to_string();
    session.ok("CREATE SCHEMA geo").await;
    session.ok(&format!("CREATE EXTERNAL TABLE geo.lands STORED AS PARQUET LOCATION '{location}/'")).await;
    session.ok("CREATE VIEW geo.few AS SELECT * FROM geo.lands WHERE n_nationkey < 5").await;
    session.ok("CREATE VIEW fewer (number, name) AS SELECT n_nationkey, n_name FROM geo.few WHERE n_nationkey < 3").await;
    session.ok("CREATE VIEW gone AS SELECT 1 AS x").await;
    session.ok("DROP VIEW gone").await;
    session.ok("DROP TABLE region").await;
    let shown = "SELECT table_schema, table_name, table_type FROM information_schema.tables
        WHERE table_schema NOT IN ('information_schema', 'system') ORDER BY 1, 2";
    let before = session.ok(shown).await.cells();
    assert_eq!(before.len(), tpch::TABLES.len() - 1 + 3);

    cluster.restart_front().await;
    let session = cluster.session().await;
    assert_eq!(session.ok(shown).await.cells(), before);
    assert_eq!(session.value("SELECT count(DISTINCT n_name) FROM geo.lands").await, "25");
    assert_eq!(session.value("SELECT sum(n_nationkey) FROM geo.few").await, "10");
    let rows = session.ok("SELECT name, number FROM fewer ORDER BY number").await.cells();
    assert_eq!(rows, [["ALGERIA", "0"], ["ARGENTINA", "1"], ["BRAZIL", "2"]]);
    for missing in ["gone", "region"] {
        let error = session.error(&format!("SELECT * FROM {missing}")).await;
        assert_eq!(error.kind, ErrorKind::TableNotFound, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn catalog_survives_sigkill() {
    let data = tpch::data("0.1");
    let mut cluster = Setup::up().allow(&data).start().await;
    let session = cluster.session().await;
    tpch::create_tables(&session, &data).await;
    // What was answered is kept, however the process ends.
    session.ok("CREATE VIEW last AS SELECT count(*) AS n FROM orders").await;
    cluster.front.kill();
    cluster.start_front_again();
    let session = cluster.session().await;
    assert_eq!(session.value("SELECT n FROM last").await, "150000");
}

#[tokio::test(flavor = "multi_thread")]
async fn catalog_is_shown() {
    let (cluster, _) = Setup::up().start_with_tpch().await;
    let session = cluster.session().await;
    session.ok("CREATE VIEW rich AS SELECT c_name, c_acctbal FROM customer WHERE c_acctbal > 9000").await;
    let names: Vec<String> = session
        .ok("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1")
        .await
        .cells()
        .concat();
    assert_eq!(
        names,
        ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "rich", "supplier"]
    );
    let shown = session.ok("SHOW TABLES").await.text();
    assert!(names.iter().all(|name| shown.contains(name.as_str())), "{shown}");

    let columns = session.ok("DESCRIBE region").await.cells();
    let columns: Vec<_> = columns.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
    assert_eq!(columns, [("r_regionkey", "Int64"), ("r_name", "Utf8"), ("r_comment", "Utf8")]);
    let columns = session.ok("DESCRIBE rich").await.cells();
    assert_eq!(columns[1][..2], ["c_acctbal".to_owned(), "Decimal128(15, 2)".to_owned()]);
    let sql = "SELECT column_name, data_type, is_nullable FROM information_schema.columns
        WHERE table_name = 'rich' ORDER BY ordinal_position";
    assert_eq!(session.ok(sql).await.rows(), 2);
    let views = session
        .ok("SELECT table_name, definition FROM information_schema.views WHERE table_name = 'rich'")
        .await;
    assert!(views.text().contains("c_acctbal > 9000"), "{}", views.text());
    let shown = session.ok("SHOW CREATE TABLE rich").await.text();
    assert!(shown.contains("c_acctbal > 9000"), "{shown}");
    let shown = session.ok("SHOW CREATE TABLE region").await.text();
    assert!(shown.contains("CREATE EXTERNAL TABLE region"), "{shown}");
    let shown = session.ok("SHOW COLUMNS FROM nation").await.text();
    assert!(shown.contains("n_regionkey"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn catalog_names_are_guarded() {
    let (cluster, data) = Setup::up().start_with_tpch().await;
    let session = cluster.session().await;
    let create = format!("STORED AS PARQUET LOCATION '{}/'", data.join("region").display());
    let kind = |sql: String| {
        let session = session.clone();
        async move { session.error(&sql).await.kind }
    };
    assert_eq!(kind(format!("CREATE EXTERNAL TABLE nation {create}")).await, ErrorKind::AlreadyExists);
    assert_eq!(kind("CREATE VIEW nation AS SELECT 1 AS x".into()).await, ErrorKind::AlreadyExists);
    assert_eq!(kind("CREATE SCHEMA public".into()).await, ErrorKind::AlreadyExists);
    assert_eq!(kind(format!("CREATE EXTERNAL TABLE nowhere.t {create}")).await, ErrorKind::NotFound);
    assert_eq!(kind("DROP TABLE nothing".into()).await, ErrorKind::TableNotFound);
    assert_eq!(kind("DROP VIEW nothing".into()).await, ErrorKind::TableNotFound);
    assert_eq!(kind("DROP SCHEMA nothing".into()).await, ErrorKind::NotFound);
    session.ok(&format!("CREATE EXTERNAL TABLE IF NOT EXISTS nation {create}")).await;
    assert_eq!(session.value("SELECT count(n_name) FROM nation").await, "25", "nothing was replaced");
    session.ok("DROP TABLE IF EXISTS nothing").await;
    session.ok("CREATE SCHEMA IF NOT EXISTS public").await;

    session.ok("CREATE SCHEMA s").await;
    session.ok(&format!("CREATE EXTERNAL TABLE s.t {create}")).await;
    session.ok("CREATE VIEW s.v AS SELECT * FROM s.t").await;
    assert_eq!(kind("DROP TABLE s.v".into()).await, ErrorKind::Plan);
    assert_eq!(kind("DROP VIEW s.t".into()).await, ErrorKind::Plan);
    session.error("DROP SCHEMA s").await;
    session.ok("DROP SCHEMA s CASCADE").await;
    assert_eq!(kind("SELECT * FROM s.t".into()).await, ErrorKind::TableNotFound);

    // OR REPLACE takes effect for everybody at once.
    let other = cluster.session().await;
    session.ok("CREATE VIEW v AS SELECT 1 AS x").await;
    assert_eq!(other.value("SELECT x FROM v").await, "1");
    session.ok("CREATE OR REPLACE VIEW v AS SELECT 2 AS x").await;
    assert_eq!(other.value("SELECT x FROM v").await, "2");
    session.ok(&format!("CREATE OR REPLACE EXTERNAL TABLE nation {create}")).await;
    assert_eq!(other.value("SELECT count(r_name) FROM nation").await, "5");
}

#[tokio::test(flavor = "multi_thread")]
async fn catalog_views_of_views_and_a_cycle() {
    let (cluster, _) = Setup::cluster(1).start_with_tpch().await;
    let session = cluster.session().await;
    session.ok("CREATE VIEW v0 AS SELECT n_nationkey AS k, n_name AS name FROM nation").await;
    for depth in 1..=10 {
        session.ok(&format!("CREATE VIEW v{depth} AS SELECT * FROM v{} WHERE k <> {depth}", depth - 1)).await;
    }
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        assert_eq!(session.value("SELECT sum(k) FROM v10").await, (300 - 55).to_string(), "{route}");
    }
    // Either the statement that closes the cycle is refused, or the query is: the server lives on.
    let closing = session.query("CREATE OR REPLACE VIEW v0 AS SELECT * FROM v10").await;
    let error = match closing {
        Err(error) => error,
        Ok(_) => session.error("SELECT sum(k) FROM v10").await,
    };
    assert_eq!(error.kind, ErrorKind::Plan, "{error}");
    assert!(error.message.contains("view"), "{error}");
    assert_eq!(session.value("SELECT count(n_name) FROM nation").await, "25");
    session.ok("CREATE OR REPLACE VIEW v0 AS SELECT 1 AS k, 'x' AS name").await;
    assert_eq!(session.value("SELECT count(*) FROM v0").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn catalog_declared_columns_and_wrong_ones() {
    let files = tempfile::tempdir().unwrap();
    files::parquet(&files.path().join("a.parquet"), "SELECT 1 AS id, 'x' AS name").await;
    let cluster = Setup::up().allow(files.path()).start().await;
    let session = cluster.session().await;
    let location = files.path().display();
    session
        .ok(&format!("CREATE EXTERNAL TABLE t (id BIGINT, name VARCHAR, later INT) STORED AS PARQUET LOCATION '{location}/'"))
        .await;
    assert_eq!(session.ok("SELECT id, name, later FROM t").await.cells(), [["1", "x", "NULL"]]);
    let error =
        session.error(&format!("CREATE EXTERNAL TABLE u STORED AS XLSX LOCATION '{location}/'")).await;
    assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
    let error = session
        .error(&format!("CREATE EXTERNAL TABLE u STORED AS PARQUET LOCATION '{location}/none/'"))
        .await;
    assert_eq!(error.kind, ErrorKind::FileNotFound, "{error}");
    let error = session
        .error(&format!(
            "CREATE EXTERNAL TABLE u STORED AS PARQUET LOCATION '{location}/' OPTIONS ('aws.secret_access_key' 'x')"
        ))
        .await;
    assert_eq!(error.kind, ErrorKind::InvalidSetting, "{error}");
    assert!(!error.message.contains("'x'"));
}

#[tokio::test(flavor = "multi_thread")]
async fn catalog_tables_named_like_formats() {
    let (cluster, data) = Setup::up().start_with_tpch().await;
    let session = cluster.session().await;
    for name in ["parquet", "csv", "json", "arrow"] {
        let location = data.join("region").display().to_string();
        session.ok(&format!("CREATE EXTERNAL TABLE {name} STORED AS PARQUET LOCATION '{location}/'")).await;
        assert_eq!(session.value(&format!("SELECT count(r_name) FROM {name}")).await, "5");
    }
    let error = session.error("SELECT * FROM ndjson").await;
    assert_eq!(error.kind, ErrorKind::TableNotFound, "{error}");
}
