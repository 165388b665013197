//! Files that statements write for others.

use std::path::Path;

use polarway_common::ErrorKind;
use polarway_tests::s3::S3Server;
use polarway_tests::{Session, Setup, files};
use tempfile::TempDir;

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = files::below(directory)
        .into_iter()
        .map(|path| path.strip_prefix(directory).unwrap().display().to_string())
        .collect();
    names.sort();
    names
}

async fn round_trips(session: &Session, out: &str) {
    let query = "SELECT o_orderkey, o_totalprice, o_comment, o_orderstatus, o_orderdate FROM orders";
    let sums = "count(*), sum(o_totalprice), max(o_comment), min(o_orderdate), count(DISTINCT o_orderkey)";
    let wanted = session.ok(&format!("SELECT {sums} FROM orders")).await.cells();
    for route in ["direct", "staged"] {
        session.ok(&format!("SET polarway.route = '{route}'")).await;
        for (format, options) in [
            ("PARQUET", ""),
            ("PARQUET", "OPTIONS ('format.compression' 'zstd(3)')"),
            ("CSV", "OPTIONS ('format.has_header' 'true')"),
            ("CSV", "OPTIONS ('format.has_header' 'true', 'format.compression' 'gzip')"),
            ("JSON", ""),
        ] {
            let place = format!("{out}/{route}-{format}-{}/", options.len());
            let told = session
                .ok(&format!("COPY ({query}) TO '{place}' STORED AS {format} {options}"))
                .await
                .cells();
            assert_eq!(told[0][0], wanted[0][0], "{place}");
            let kept = if options.contains("gzip") { options } else { "" };
            let columns = "(o_orderkey BIGINT, o_totalprice DECIMAL(15, 2), o_comment VARCHAR, o_orderstatus VARCHAR, o_orderdate DATE)";
            let header = if format == "CSV" && kept.is_empty() {
                "OPTIONS ('format.has_header' 'true')"
            } else {
                kept
            };
            session.ok(&format!("CREATE OR REPLACE EXTERNAL TABLE back {columns} STORED AS {format} LOCATION '{place}' {header}")).await;
            // One process reads compressed text.
            session.ok("SET polarway.route = 'auto'").await;
            assert_eq!(session.ok(&format!("SELECT {sums} FROM back")).await.cells(), wanted, "{place}");
            session.ok(&format!("SET polarway.route = '{route}'")).await;
        }
        // One directory for each value, whatever the value.
        let place = format!("{out}/{route}-hive/");
        let status = "CASE WHEN o_orderstatus = 'F' THEN 'a/b =c%' ELSE o_orderstatus END AS status";
        let told = session
            .ok(&format!("COPY (SELECT o_orderkey, o_totalprice, {status}, date_part('year', o_orderdate) AS year FROM orders) TO '{place}' STORED AS PARQUET PARTITIONED BY (year, status)"))
            .await
            .cells();
        assert_eq!(told[0][0], wanted[0][0]);
        session.ok(&format!("CREATE OR REPLACE EXTERNAL TABLE hive (o_orderkey BIGINT, o_totalprice DECIMAL(15, 2), year INT, status VARCHAR) STORED AS PARQUET PARTITIONED BY (year, status) LOCATION '{place}'")).await;
        let found = session
            .ok("SELECT year, status, count(*), sum(o_totalprice) FROM hive GROUP BY 1, 2 ORDER BY 1, 2")
            .await
            .cells();
        let there = session
            .ok(&format!("SELECT CAST(date_part('year', o_orderdate) AS INT), {status}, count(*), sum(o_totalprice) FROM orders GROUP BY 1, 2 ORDER BY 1, 2"))
            .await
            .cells();
        assert_eq!(found, there, "{route}");
        assert_eq!(told[0][1].parse::<usize>().unwrap(), there.len(), "one file for each directory");
        // Appends to a table over files, in its layout.
        session.ok("INSERT INTO hive VALUES (1, 2.5, 1999, 'new')").await;
        assert_eq!(
            session.value("SELECT o_totalprice FROM hive WHERE status = 'new' AND year = 1999").await,
            "2.50"
        );
        // One file, in order, in place of the one before.
        for _ in 0..2 {
            let told = session
                .ok(&format!("COPY ({query} ORDER BY o_orderkey DESC) TO '{out}/{route}.parquet'"))
                .await
                .cells();
            assert_eq!((told[0][0].as_str(), told[0][1].as_str()), (wanted[0][0].as_str(), "1"));
        }
        assert_eq!(
            session.value(&format!("SELECT count(*) FROM '{out}/{route}.parquet'")).await,
            wanted[0][0]
        );
        let empty = format!("{out}/{route}-empty/");
        assert_eq!(
            session
                .ok(&format!("COPY ({query} WHERE o_orderkey < 0) TO '{empty}' STORED AS PARQUET"))
                .await
                .cells()[0][0],
            "0"
        );
    }
    session.ok("RESET polarway.route").await;
    let error = session.error(&format!("COPY (SELECT 1 AS a, CAST(NULL AS VARCHAR) AS b) TO '{out}/x/' STORED AS PARQUET PARTITIONED BY (b)")).await;
    assert_eq!(error.kind, ErrorKind::Plan, "{error}");
    assert!(error.message.contains("`b`"), "{error}");
    let option =
        format!("COPY (SELECT 1 AS a) TO '{out}/x/' STORED AS PARQUET OPTIONS ('format.nonsense' '1')");
    assert_eq!(session.error(&option).await.kind, ErrorKind::InvalidSetting);
    let arrow = format!("COPY (SELECT 1 AS a) TO '{out}/x/' STORED AS ARROW");
    assert_eq!(session.error(&arrow).await.kind, ErrorKind::Unsupported);
    let failing =
        format!("COPY (SELECT 1 / (o_orderkey - 1) AS a FROM orders) TO '{out}/failed/' STORED AS PARQUET");
    assert_eq!(session.error(&failing).await.kind, ErrorKind::Execution);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_05_files_are_written_to_a_directory() {
    let out = TempDir::new().unwrap();
    let setup = Setup::up().allow(out.path()).writable(out.path().display());
    let (cluster, _) = setup.start_with_tpch().await;
    round_trips(&cluster.session().await, &out.path().display().to_string()).await;
    let found = names(out.path());
    assert!(!found.iter().any(|name| name.contains(".polarway") || name.contains('#')), "{found:?}");
    assert!(!found.iter().any(|name| name.starts_with("failed") || name.starts_with("x/")), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_39_files_are_written_to_s3_by_a_cluster() {
    let s3 = S3Server::start().await;
    let bucket = s3.bucket("lake");
    let out = "s3://lake/out";
    let setup = Setup::cluster(2).allow(out).writable(out).set("storage.tables", "s3://lake/tables");
    let (cluster, _) = s3.configure(setup).start_with_tpch().await;
    let session = cluster.session().await;
    round_trips(&session, out).await;
    // Tables of our own, in the store too.
    session.ok("CREATE TABLE t AS SELECT * FROM nation").await;
    session.ok("INSERT INTO t SELECT * FROM nation").await;
    assert_eq!(session.value("SELECT count(*) FROM t").await, "50");
    let found = names(&bucket);
    let seen = |part: &str| found.iter().any(|name| name.contains(part));
    assert!(seen("tables/t_") && seen("out/staged-hive/year=1995/status=a%2Fb"), "{found:?}");
    assert!(!seen("out/failed/") && !seen("out/x/"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_39_four_writers_never_collide_and_readers_see_whole_writes() {
    let out = TempDir::new().unwrap();
    let setup = Setup::cluster(2).allow(out.path()).writable(out.path().display());
    let (cluster, _) = setup.start_with_tpch().await;
    let place = format!("{}/logs/", out.path().display());
    let copy = format!(
        "COPY (SELECT l_orderkey, l_shipdate, l_returnflag AS flag FROM lineitem) TO '{place}' STORED AS PARQUET PARTITIONED BY (flag)"
    );
    let writers = (0..4).map(|_| async {
        let session = cluster.session().await;
        for _ in 0..3 {
            session.ok(&copy).await;
        }
    });
    futures::future::join_all(writers).await;
    let session = cluster.session().await;
    session.ok(&format!("CREATE EXTERNAL TABLE logs (l_orderkey BIGINT, l_shipdate DATE, flag VARCHAR) STORED AS PARQUET PARTITIONED BY (flag) LOCATION '{place}'")).await;
    let once =
        session.ok("SELECT l_returnflag, 12 * count(*) FROM lineitem GROUP BY 1 ORDER BY 1").await.cells();
    assert_eq!(session.ok("SELECT flag, count(*) FROM logs GROUP BY 1 ORDER BY 1").await.cells(), once);
    let found = names(out.path());
    assert!(!found.iter().any(|name| name.contains(".polarway")), "{found:?}");
}
