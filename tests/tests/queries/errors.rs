//! Each kind of failure as the client sees it, the same on every route.

use std::path::Path;
use std::time::Duration;

use polarway_client::CancelOutcome;
use polarway_common::{Error, ErrorKind};
use polarway_tests::forbidden::Door;
use polarway_tests::s3::S3Server;
use polarway_tests::{Cluster, Session, Setup, files, http, tpch, until};

/// Sessions of one cluster, one for each route.
async fn routes(cluster: &Cluster) -> [(&'static str, Session); 2] {
    let (direct, staged) = (cluster.session().await, cluster.session().await);
    direct.set_route("direct").await;
    staged.set_route("staged").await;
    [("direct", direct), ("staged", staged)]
}

/// Asserts kind, hint and a part of the message on both routes; gives the errors.
async fn fails_alike(cluster: &Cluster, sql: &str, kind: ErrorKind, part: &str) -> Vec<Error> {
    let mut errors = vec![];
    for (route, session) in routes(cluster).await {
        let error = session.error(sql).await;
        assert_eq!(error.kind, kind, "{route}: {sql}: {error}");
        assert!(error.message.contains(part), "{route}: {sql}: no `{part}` in: {error}");
        assert!(!error.message.contains("polarway-error"), "{route}: {sql}: {error}");
        assert!(error.hint.is_some(), "{route}: {sql}: {error}");
        errors.push(error);
    }
    assert_eq!(errors[0].hint, errors[1].hint, "{sql}");
    errors
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_a_statement_name_the_place() {
    let (cluster, _) = Setup::cluster(1).start_with_tpch().await;
    let session = cluster.session().await;
    let place = |error: &Error| error.place.map(|place| (place.line, place.column));

    let error = session.error("SELEC 1").await;
    assert_eq!((error.kind, place(&error)), (ErrorKind::Syntax, Some((1, 1))), "{error}");
    let error = session.error("SELECT n_name\nFROM nation\nWHERE n_name = = 'x'").await;
    assert_eq!((error.kind, place(&error).map(|place| place.0)), (ErrorKind::Syntax, Some(3)), "{error}");
    let error = session.error("SELECT 1; SELECT 2").await;
    assert_eq!(error.kind, ErrorKind::Syntax, "{error}");
    let error = session.error("").await;
    assert_eq!(error.kind, ErrorKind::Syntax, "{error}");

    let error = session.error("SELECT count(*)\nFROM lineitm").await;
    assert_eq!((error.kind, place(&error)), (ErrorKind::TableNotFound, Some((2, 6))), "{error}");
    assert!(error.hint.as_deref().unwrap_or_default().contains("`lineitem`"), "{error}");
    let error = session.error("SELECT * FROM something_else_entirely").await;
    assert_eq!(error.kind, ErrorKind::TableNotFound, "{error}");
    assert!(error.hint.is_some(), "{error}");

    let error = session.error("SELECT n_name,\n       n_nationkei\nFROM nation").await;
    assert_eq!(error.kind, ErrorKind::ColumnNotFound, "{error}");
    assert_eq!(place(&error), Some((2, 8)), "{error}");
    assert!(error.hint.as_deref().unwrap_or_default().contains("`n_nationkey`"), "{error}");
    let error = session.error("SELECT x.n_name FROM nation n").await;
    assert_eq!(error.kind, ErrorKind::ColumnNotFound, "{error}");

    let error = session.error("SELECT n_name,\n  frobnicate(n_name) FROM nation").await;
    assert_eq!((error.kind, place(&error)), (ErrorKind::NotFound, Some((2, 3))), "{error}");
    assert!(error.message.contains("`frobnicate`"), "{error}");
    let error = session.error("SELECT uper(n_name) FROM nation").await;
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    assert!(error.hint.as_deref().unwrap_or_default().contains("`upper`"), "{error}");
    let error = session.error("SELECT n_name FROM nation GROUP BY n_regionkey").await;
    assert_eq!(error.kind, ErrorKind::Plan, "{error}");
    let error = session.error("SELECT r_name FROM nation n, region r, region s").await;
    assert_eq!(error.kind, ErrorKind::Plan, "{error}");
    let error = session.error("SELECT n_name + 1 FROM nation WHERE n_name > DATE '2024-01-01' + TRUE").await;
    assert_eq!(error.kind, ErrorKind::TypeMismatch, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_statements_that_are_not_offered() {
    let (cluster, _) = Setup::up().start_with_tpch().await;
    let session = cluster.session().await;
    for sql in [
        "DELETE FROM nation",
        "UPDATE nation SET n_name = 'x'",
        "BEGIN",
        "PREPARE p AS SELECT 1",
        "ALTER TABLE nation ADD COLUMN x INT",
        "TRUNCATE TABLE nation",
        "CREATE DATABASE d",
        "EXPLAIN FORMAT TREE SELECT 1",
    ] {
        let error = session.error(sql).await;
        assert_eq!(error.kind, ErrorKind::Unsupported, "{sql}: {error}");
        assert!(error.hint.is_some(), "{sql}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_values() {
    let (cluster, _) = Setup::cluster(2).start_with_tpch().await;
    let cast = "SELECT CAST(n_name AS INT) FROM nation";
    fails_alike(&cluster, cast, ErrorKind::TypeMismatch, "ALGERIA").await;
    let division = "SELECT n_nationkey / (n_regionkey - n_regionkey) FROM nation";
    let errors = fails_alike(&cluster, division, ErrorKind::Execution, "division by zero").await;
    assert!(errors[0].hint.is_some());
    let in_a_later_stage = "SELECT k, CAST(max(name) AS INT)
        FROM (SELECT n_regionkey AS k, n_name AS name FROM nation JOIN region ON n_regionkey = r_regionkey) GROUP BY k";
    fails_alike(&cluster, in_a_later_stage, ErrorKind::TypeMismatch, "Cannot cast").await;
    let overflow = "SELECT sum(CAST(l_orderkey AS DECIMAL(38, 0)) * CAST(99999999999999999999999999999999 AS DECIMAL(38, 0)) * 100000) FROM lineitem";
    for (route, session) in routes(&cluster).await {
        let error = session.error(overflow).await;
        assert!(
            matches!(error.kind, ErrorKind::Execution | ErrorKind::TypeMismatch | ErrorKind::Plan),
            "{route}: {error}"
        );
    }
    let error =
        cluster.session().await.error("SELECT (SELECT n_name FROM nation WHERE n_regionkey = 1)").await;
    assert_ne!(error.kind, ErrorKind::Internal, "{error}");
}

fn cut(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_files() {
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str| files.path().join(name);
    let rows =
        "SELECT value AS id, 'text ' || md5(CAST(value AS VARCHAR)) AS text FROM generate_series(1, 50000)";
    for name in ["gone", "cut", "scratched", "retyped", "reshaped", "junk"] {
        std::fs::create_dir(file(name)).unwrap();
        for part in 0..3 {
            files::parquet(&file(name).join(format!("{part}.parquet")), rows).await;
        }
    }
    files::parquet(&file("single.parquet"), rows).await;
    std::fs::write(file("broken.csv"), "id,x\n1,2\n3,4\n7,8,9\n").unwrap();
    std::fs::write(file("typed.csv"), "id,x\n1,2\n5,six\n").unwrap();
    std::fs::write(file("broken.json"), "{\"id\": 1, \"x\": 2}\n{\"id\": 2}\n{\"id\": \n").unwrap();
    std::fs::write(file("typed.json"), "{\"id\": 1, \"x\": 2}\n{\"id\": 2, \"x\": \"six\"}\n").unwrap();
    let cluster = Setup::cluster(2).allow(files.path()).start().await;
    let session = cluster.session().await;
    for name in ["gone", "cut", "scratched", "retyped", "reshaped", "junk"] {
        let path = file(name);
        session
            .ok(&format!("CREATE EXTERNAL TABLE {name} STORED AS PARQUET LOCATION '{}/'", path.display()))
            .await;
        assert_eq!(session.value(&format!("SELECT count(text) FROM {name} WHERE id > 0")).await, "150000");
    }
    let single = file("single.parquet");
    session
        .ok(&format!("CREATE EXTERNAL TABLE single STORED AS PARQUET LOCATION '{}'", single.display()))
        .await;
    for (name, format, options) in [
        ("broken_csv", "CSV", "OPTIONS ('format.has_header' 'true')"),
        ("typed_csv", "CSV", "OPTIONS ('format.has_header' 'true')"),
        ("broken_json", "JSON", ""),
        ("typed_json", "JSON", ""),
    ] {
        let path = file(&name.replace('_', "."));
        session
            .ok(&format!(
                "CREATE EXTERNAL TABLE {name} (id BIGINT, x BIGINT) STORED AS {format} LOCATION '{}' {options}",
                path.display()
            ))
            .await;
    }

    std::fs::remove_file(&single).unwrap();
    fails_alike(&cluster, "SELECT sum(id) FROM single", ErrorKind::FileNotFound, "single.parquet").await;
    let missing = format!("SELECT * FROM '{}'", file("never.parquet").display());
    fails_alike(&cluster, &missing, ErrorKind::FileNotFound, "never.parquet").await;

    cut(&file("cut/1.parquet"));
    let errors = fails_alike(&cluster, "SELECT sum(id) FROM cut", ErrorKind::CorruptFile, "").await;
    assert!(errors[0].hint.is_some(), "{}", errors[0]);
    std::fs::write(file("junk/1.parquet"), "this is not Parquet at all").unwrap();
    fails_alike(&cluster, "SELECT sum(id) FROM junk", ErrorKind::CorruptFile, "").await;

    // The footer is right and the data is not: the error comes from the task that reads it.
    let scratched = file("scratched/1.parquet");
    let mut bytes = std::fs::read(&scratched).unwrap();
    bytes[1000..400_000].fill(0xA5);
    std::fs::write(&scratched, bytes).unwrap();
    for (route, session) in routes(&cluster).await {
        let error = session.error("SELECT count(DISTINCT text), sum(id) FROM scratched").await;
        assert_eq!(error.kind, ErrorKind::CorruptFile, "{route}: {error}");
    }

    // Values that cannot be cast are told from types that never can.
    let other = "SELECT 'word ' || value AS id, value AS text FROM generate_series(1, 10)";
    files::parquet(&file("retyped/1.parquet"), other).await;
    let sql = "SELECT sum(id), max(text) FROM retyped";
    fails_alike(&cluster, sql, ErrorKind::TypeMismatch, "Cannot cast string 'word ").await;
    let other = "SELECT named_struct('inner', value) AS id, 'text' AS text FROM generate_series(1, 10)";
    files::parquet(&file("reshaped/1.parquet"), other).await;
    let sql = "SELECT sum(id), max(text) FROM reshaped";
    fails_alike(&cluster, sql, ErrorKind::SchemaMismatch, "Cannot cast column 'id'").await;

    let expected = [
        ("broken_csv", ErrorKind::CorruptFile, "incorrect number of fields"),
        ("typed_csv", ErrorKind::TypeMismatch, "six"),
        ("broken_json", ErrorKind::CorruptFile, "Truncated record"),
        ("typed_json", ErrorKind::TypeMismatch, "six"),
    ];
    for (table, kind, part) in expected {
        fails_alike(&cluster, &format!("SELECT sum(id), sum(x) FROM {table}"), kind, part).await;
    }
    // Whatever went wrong, the cluster works on.
    std::fs::remove_dir_all(file("gone")).unwrap();
    std::fs::create_dir(file("gone")).unwrap();
    files::parquet(&file("gone/9.parquet"), rows).await;
    for (route, session) in routes(&cluster).await {
        assert_eq!(session.value("SELECT count(text) FROM gone WHERE id > 0").await, "50000", "{route}");
    }
    cluster.until_no_shuffle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_permission() {
    let s3 = S3Server::start().await;
    let door = Door::before(s3.address).await;
    let data = s3.bucket("lake").join("events");
    std::fs::create_dir(&data).unwrap();
    let rows = "SELECT value AS id, md5(CAST(value AS VARCHAR)) AS text FROM generate_series(1, 50000)";
    for part in 0..3 {
        files::parquet(&data.join(format!("{part}.parquet")), rows).await;
    }
    let setup = Setup::cluster(2).allow("s3://lake/events").allow("s3://lake/others");
    let cluster = door.configure(s3.configure(setup)).start().await;
    let session = cluster.session().await;
    session.ok("CREATE EXTERNAL TABLE events STORED AS PARQUET LOCATION 's3://lake/events/'").await;
    assert_eq!(session.value("SELECT count(text) FROM events WHERE id > 0").await, "150000");

    door.close();
    let asked = s3.take_requests();
    assert!(asked.iter().any(|request| request.operation == "GetObject"), "the door let through {asked:?}");
    for table in ["events", "'s3://lake/events/1.parquet'"] {
        let sql = format!("SELECT count(DISTINCT text) FROM {table}");
        let errors = fails_alike(&cluster, &sql, ErrorKind::PermissionDenied, "").await;
        assert!(errors[0].hint.as_deref().unwrap_or_default().contains("credentials"), "{}", errors[0]);
    }
    // Nothing below this place has been listed before.
    let sql = "CREATE EXTERNAL TABLE others STORED AS PARQUET LOCATION 's3://lake/others/'";
    let error = session.error(sql).await;
    assert_eq!(error.kind, ErrorKind::PermissionDenied, "{error}");
    assert!(s3.take_requests().is_empty());
}

/// Runs for hours if nobody stops it.
pub const ENDLESS: &str = "SELECT count(*) FROM lineitem a JOIN lineitem b ON a.l_linenumber = b.l_linenumber
    WHERE a.l_comment <> b.l_comment";

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_limits() {
    let (cluster, _) = Setup::cluster(2).start_with_tpch().await;
    for (route, session) in routes(&cluster).await {
        session.set("polarway.memory_limit", "2MiB").await;
        let error =
            session.error("SELECT length(array_to_string(array_agg(l_comment), ',')) FROM lineitem").await;
        assert_eq!(error.kind, ErrorKind::OutOfMemory, "{route}: {error}");
        assert!(error.hint.is_some(), "{route}: {error}");
        session.ok("RESET polarway.memory_limit").await;

        session.set("polarway.timeout", "1500ms").await;
        let error = session.error(ENDLESS).await;
        assert_eq!(error.kind, ErrorKind::DeadlineExceeded, "{route}: {error}");
        assert!(error.hint.is_some(), "{route}: {error}");
        session.ok("RESET polarway.timeout").await;

        let mut stream = session.client.execute(ENDLESS).await.unwrap();
        let handle = stream.handle().clone();
        let reading = tokio::spawn(async move { stream.next_batch().await });
        let http = cluster.http();
        until("the query runs", Duration::from_secs(60), || async {
            (http::query_state(http, handle.query_id()).await.as_deref() == Some("running")).then_some(())
        })
        .await;
        let outcome = session.client.cancel(&handle).await.unwrap();
        assert_ne!(outcome, CancelOutcome::NotRunning, "{route}");
        let error = reading.await.unwrap().expect_err("it was cancelled");
        assert_eq!(error.kind, ErrorKind::Cancelled, "{route}: {error}");
        assert_eq!(session.value("SELECT count(DISTINCT n_name) FROM nation").await, "25", "{route}");
    }
    cluster.until_no_shuffle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_settings() {
    let cluster = Setup::up().allow(tpch::data("0.1")).start().await;
    let session = cluster.session().await;
    for sql in [
        "SET polarway.timeout = 'soon'",
        "SET polarway.memory_limit = 'much'",
        "SET datafusion.execution.batch_size = 'many'",
        "SET datafusion.execution.no_such_thing = 1",
        "SET datafusion.runtime.memory_limit = '1G'",
        "SET nothing = 1",
        "RESET nothing",
    ] {
        let error = session.error(sql).await;
        assert_eq!(error.kind, ErrorKind::InvalidSetting, "{sql}: {error}");
    }
    session.ok("SET datafusion.execution.batch_size = 10").await;
    assert!(session.ok("SHOW datafusion.execution.batch_size").await.text().contains("10"));
    session.ok("SET TIME ZONE = 'Europe/Berlin'").await;
}
