//! File formats and layouts, from local directories and from S3.

use std::collections::BTreeSet;
use std::path::Path;

use polarway_common::ErrorKind;
use polarway_tests::s3::{S3Server, copy_tree};
use polarway_tests::{Cluster, Oracle, Order, Session, Setup, assert_same, files};

const EVENTS: &str = "SELECT value AS id, CASE WHEN value % 5 <> 0 THEN value * 3 END AS amount,
        CAST(value AS DOUBLE) / 7 AS ratio, 'name ' || value AS name, value % 2 = 0 AS even,
        DATE '2024-01-01' + CAST(value % 40 AS INT) AS day,
        to_timestamp(1700000000 + value * 61) AS at
    FROM generate_series(1, 1000)";

/// Writes the same rows in every format; gives the statements that make tables of them, with `ROOT` for the place.
async fn write_all_formats(root: &Path) -> Vec<(&'static str, String)> {
    let dir = |name: &str| root.join(name);
    let parts = |condition: &str| format!("SELECT * FROM ({EVENTS}) WHERE {condition}");
    for name in ["parquet", "csv", "csv_gz", "ndjson", "ipc", "plain", "globbed"] {
        std::fs::create_dir_all(dir(name)).unwrap();
    }
    let (low, high) = (parts("id <= 400"), parts("id > 400"));
    for (number, rows) in [&low, &high].into_iter().enumerate() {
        let file =
            |directory: &str, extension: &str| dir(directory).join(format!("part-{number}.{extension}"));
        files::write(&file("parquet", "parquet"), rows, "STORED AS PARQUET").await;
        files::write(&file("csv", "csv"), rows, "STORED AS CSV OPTIONS ('format.has_header' 'true')").await;
        files::write(
            &file("plain", "csv"),
            rows,
            "STORED AS CSV OPTIONS ('format.has_header' 'false', 'format.delimiter' '|')",
        )
        .await;
        let gzip = "STORED AS CSV OPTIONS ('format.has_header' 'true', 'format.compression' 'gzip')";
        files::write(&file("csv_gz", "csv.gz"), rows, gzip).await;
        files::write(&file("ndjson", "json"), rows, "STORED AS JSON").await;
        files::write(&file("ipc", "arrow"), rows, "STORED AS ARROW").await;
        files::write(&file("globbed", "parquet"), rows, "STORED AS PARQUET").await;
    }
    std::fs::write(dir("globbed").join("other.parquet"), "not for this table").unwrap();
    let columns =
        "id BIGINT, amount BIGINT, ratio DOUBLE, name VARCHAR, even BOOLEAN, day DATE, at TIMESTAMP";
    let table = |name: &str, columns: &str, format: &str, place: &str, rest: &str| {
        format!("CREATE EXTERNAL TABLE of_{name} {columns} STORED AS {format} LOCATION 'ROOT/{place}' {rest}")
    };
    vec![
        ("parquet", table("parquet", "", "PARQUET", "parquet/", "")),
        ("csv", table("csv", "", "CSV", "csv/", "OPTIONS ('format.has_header' 'true')")),
        (
            "plain",
            table(
                "plain",
                &format!("({columns})"),
                "CSV",
                "plain/",
                "OPTIONS ('format.has_header' 'false', 'format.delimiter' '|')",
            ),
        ),
        (
            "csv_gz",
            table(
                "csv_gz",
                "",
                "CSV",
                "csv_gz/",
                "OPTIONS ('format.has_header' 'true', 'format.compression' 'gzip')",
            ),
        ),
        ("ndjson", table("ndjson", "", "JSON", "ndjson/", "")),
        ("ipc", table("ipc", "", "ARROW", "ipc/", "")),
        ("globbed", table("globbed", "", "PARQUET", "globbed/part-*.parquet", "")),
    ]
}

async fn compare_formats(cluster: &Cluster, root: &str, local: &Path, tables: &[(&str, String)]) {
    let oracle = Oracle::default();
    let session = cluster.session().await;
    let mut faults = vec![];
    for (name, ddl) in tables {
        session.ok(&ddl.replace("ROOT", root)).await;
        let ddl = ddl.replace("ROOT", &local.display().to_string());
        oracle.fresh_answer(&ddl).await;
        for sql in [
            format!("SELECT * FROM of_{name} ORDER BY id"),
            format!(
                "SELECT count(*), count(amount), sum(amount), sum(ratio), min(name), max(day), min(at) FROM of_{name}"
            ),
            format!(
                "SELECT day, even, count(*) FROM of_{name} WHERE id BETWEEN 100 AND 900 GROUP BY day, even"
            ),
        ] {
            let order = if sql.contains("ORDER") { Order::Total } else { Order::None };
            let expected = oracle.answer(&sql).await;
            assert!(expected.rows() > 0);
            for route in ["direct", "staged"] {
                session.set_route(route).await;
                match session.query(&sql).await {
                    // Compressed text cannot be split; what cannot be done is said, not done wrong.
                    Err(error) if *name == "csv_gz" && route == "staged" => {
                        assert_eq!(error.kind, ErrorKind::Unsupported, "{sql}: {error}");
                    }
                    Ok(answer) => {
                        if let Some(difference) = polarway_tests::difference(&answer, &expected, order) {
                            faults.push(format!("{sql} ({route}): {difference}"));
                        }
                    }
                    Err(error) => faults.push(format!("{sql} ({route}): {:?}: {error}", error.kind)),
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_04_every_format_from_a_local_directory() {
    let files = tempfile::tempdir().unwrap();
    let tables = write_all_formats(files.path()).await;
    let cluster = Setup::cluster(2).allow(files.path()).start().await;
    compare_formats(&cluster, &files.path().display().to_string(), files.path(), &tables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_04_every_format_from_s3() {
    let s3 = S3Server::start().await;
    let bucket = s3.bucket("lake");
    let tables = write_all_formats(&bucket.join("events")).await;
    let cluster = s3.configure(Setup::cluster(2).allow("s3://lake/events")).start().await;
    compare_formats(&cluster, "s3://lake/events", &bucket.join("events"), &tables).await;
    let requests = s3.take_requests();
    assert!(requests.iter().any(|request| request.operation == "GetObject"));
    assert!(!requests.iter().any(|request| request.operation.starts_with("Put")));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_04_paths_and_urls_in_from() {
    let s3 = S3Server::start().await;
    let bucket = s3.bucket("lake");
    let files = tempfile::tempdir().unwrap();
    write_all_formats(files.path()).await;
    copy_tree(files.path(), &bucket.join("events"));
    let setup = Setup::cluster(1).allow(files.path()).allow("s3://lake/events");
    let cluster = s3.configure(setup).start().await;
    let session = cluster.session().await;
    for root in [files.path().display().to_string(), "s3://lake/events".to_owned()] {
        for (path, count) in [
            ("parquet/part-0.parquet", "400"),
            ("parquet/", "1000"),
            ("parquet/*.parquet", "1000"),
            ("globbed/part-[1].parquet", "600"),
            ("csv/part-1.csv", "600"),
            ("csv_gz/part-1.csv.gz", "600"),
            ("ndjson/part-0.json", "400"),
            ("ipc/part-0.arrow", "400"),
        ] {
            for route in ["direct", "staged"] {
                session.set_route(route).await;
                let sql = format!("SELECT count(id) FROM '{root}/{path}' WHERE id > 0");
                if path.ends_with("gz") && route == "staged" {
                    assert_eq!(session.error(&sql).await.kind, ErrorKind::Unsupported, "{sql}");
                    continue;
                }
                assert_eq!(session.value(&sql).await, count, "{sql} on {route}");
            }
        }
    }
}

/// Writes years and months in Hive's layout.
async fn write_partitions(root: &Path) {
    let rows = "SELECT value AS id, value * 2 AS twice,
            CAST(2022 + value % 3 AS VARCHAR) AS year, CAST(1 + value % 4 AS VARCHAR) AS month
        FROM generate_series(1, 1200)";
    std::fs::create_dir_all(root).unwrap();
    files::write(&root.join(""), rows, "STORED AS PARQUET PARTITIONED BY (year, month)").await;
    assert!(root.join("year=2023/month=2").is_dir());
}

/// The keys of the objects below the directory of `key`.
fn keys_below(directory: &Path, key: &str) -> Vec<String> {
    let mut keys = vec![];
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let key = format!("{key}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            keys.extend(keys_below(&entry.path(), &key));
        } else {
            keys.push(key);
        }
    }
    keys
}

/// Requests that one statement may make of one small file: its footer for the plan, its footer where it is read, and
/// its columns.
const GETS_PER_FILE: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn row_04_only_matching_partitions_are_read() {
    let s3 = S3Server::start().await;
    let root = s3.bucket("lake").join("sales");
    write_partitions(&root).await;
    let cluster = s3.configure(Setup::cluster(2).allow("s3://lake/sales")).start().await;
    let session = cluster.session().await;
    session.ok("CREATE EXTERNAL TABLE sales STORED AS PARQUET LOCATION 's3://lake/sales/'").await;
    session
        .ok("CREATE EXTERNAL TABLE typed (id BIGINT, twice BIGINT, year INT, month INT) STORED AS PARQUET
            PARTITIONED BY (year, month) LOCATION 's3://lake/sales/'")
        .await;
    let oracle = Oracle::default();
    let ddl = format!(
        "CREATE EXTERNAL TABLE typed (id BIGINT, twice BIGINT, year INT, month INT) STORED AS PARQUET
         PARTITIONED BY (year, month) LOCATION '{}/'",
        root.display()
    );
    oracle.fresh_answer(&ddl).await;
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        for (sql, allowed) in [
            (
                "SELECT sum(id), sum(twice) FROM typed WHERE year = 2023 AND month = 2",
                "sales/year=2023/month=2/",
            ),
            (
                "SELECT month, count(id), sum(id) FROM typed WHERE year = 2024 GROUP BY month",
                "sales/year=2024/",
            ),
            ("SELECT year, count(id), sum(id) FROM typed WHERE month IN (3) GROUP BY year", "/month=3/"),
        ] {
            s3.take_requests();
            let answer = session.ok(sql).await;
            assert_same(sql, &answer, &*oracle.answer(sql).await, Order::None);
            let gets: Vec<String> = s3
                .take_requests()
                .into_iter()
                .filter(|request| request.operation == "GetObject")
                .map(|request| request.key)
                .collect();
            let read: BTreeSet<String> = gets.iter().cloned().collect();
            let wanted: BTreeSet<String> =
                keys_below(&root, "sales").into_iter().filter(|key| key.contains(allowed)).collect();
            assert_eq!(read, wanted, "{sql} on {route}");
            let most = wanted.len() * GETS_PER_FILE;
            assert!(gets.len() <= most, "{sql} on {route}: {} GETs, over {most}: {gets:?}", gets.len());
        }
        assert_eq!(
            session.value("SELECT count(id) FROM sales WHERE year = '2022' AND month = '4'").await,
            "100"
        );
    }
    // A partition that does not exist is empty, not an error.
    assert_eq!(session.value("SELECT count(id) FROM typed WHERE year = 1999").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_04_hive_partitions_in_a_local_directory() {
    let files = tempfile::tempdir().unwrap();
    write_partitions(&files.path().join("sales")).await;
    let cluster = Setup::up().allow(files.path()).start().await;
    let session = cluster.session().await;
    let location = files.path().join("sales").display().to_string();
    session.ok(&format!("CREATE EXTERNAL TABLE sales STORED AS PARQUET LOCATION '{location}/'")).await;
    let plan =
        session.ok("EXPLAIN SELECT sum(id) FROM sales WHERE year = '2023' AND month = '2'").await.text();
    assert!(plan.contains("year=2023/month=2") && !plan.contains("year=2022"), "{plan}");
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        assert_eq!(session.value("SELECT count(DISTINCT year || month) FROM sales").await, "12");
        let years =
            session.ok("SELECT year, sum(twice) FROM sales GROUP BY year ORDER BY year").await.cells();
        assert_eq!(years.len(), 3);
        let path = format!("SELECT count(id) FROM '{location}/' WHERE month = '1'");
        assert_eq!(session.value(&path).await, "300", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_04_one_now_for_a_query_on_all_executors() {
    let (cluster, _) = Setup::cluster(3).start_with_tpch().await;
    let session = cluster.session().await;
    for route in ["staged", "direct"] {
        session.set_route(route).await;
        one_now(&session).await;
    }
}

async fn one_now(session: &Session) {
    let sql = "SELECT count(DISTINCT n), count(*), min(d) = max(d)
        FROM (SELECT now() AS n, current_date() AS d FROM lineitem
              UNION ALL SELECT now(), current_date() FROM orders)";
    assert_eq!(session.ok(sql).await.cells(), [["1", "750572", "true"]]);
    let sql = "SELECT count(*) FROM (SELECT l_orderkey, now() AS n FROM lineitem) a
        JOIN (SELECT o_orderkey, now() AS n FROM orders) b ON a.l_orderkey = b.o_orderkey AND a.n = b.n";
    assert_eq!(session.value(sql).await, "600572");
    // The next query has another.
    let first = session.value("SELECT max(now()) FROM orders WHERE o_orderkey < 100").await;
    let second = session.value("SELECT max(now()) FROM orders WHERE o_orderkey < 100").await;
    assert_ne!(first, second, "a plan with now() must not be used again");
}
