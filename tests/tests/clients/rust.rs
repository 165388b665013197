//! Frames and batches of the Rust client, against real servers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use polarway_client::{Client, Expr, Frame, JoinKind, On, Traverse, Written, col, lit, null, raw};
use polarway_common::{Error, ErrorKind};
use polarway_tests::compare::texts;
use polarway_tests::etcd::Etcd;
use polarway_tests::wait::within;
use polarway_tests::{Cluster, Session, Setup, files};
use tempfile::TempDir;

use crate::{batch_processing, quickstart, tables};

const CEILING: Duration = Duration::from_secs(300);
const MINUTE: Duration = Duration::from_secs(60);
const MISSING: [usize; 2] = [7, 19];
const CORRUPT: [usize; 2] = [0, 16];
/// Ends names, texts, statements and lines, in every order that matters.
const NASTY: [&str; 7] =
    ["it's", "\"", "'\"'; DROP TABLE x; --", "\\'", "/* ' */ -- \"", "ü\n\t$1 ? `é`", "a\"\"b''c.d"];

async fn run(cluster: &Cluster, data: &Path) {
    let session = Session::with_any(&cluster.fronts()).await;
    within("many files", CEILING, Box::pin(many_files(&session.client, data))).await;
    within("verbs", CEILING, Box::pin(verbs(&session, data))).await;
    within("names and values", CEILING, Box::pin(names_and_values(&session.client))).await;
    within("written files", CEILING, Box::pin(written_files(&session.client, data))).await;
    let last = Session::connect(cluster.fronts()[cluster.others.len()]).await;
    within("handles", CEILING, Box::pin(handles(&session.client, &last.client))).await;
    within("errors", CEILING, Box::pin(errors(&session.client, data))).await;
    within("examples", CEILING, Box::pin(examples(&session.client, data))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_45_the_rust_client_against_one_process() {
    let data = TempDir::new().unwrap();
    let setup = Setup::up().allow(data.path()).writable(data.path().display());
    let cluster = setup.start().await;
    run(&cluster, data.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_45_the_rust_client_against_two_schedulers() {
    let etcd = Etcd::start().await;
    let data = TempDir::new().unwrap();
    let setup = Setup::cluster(2).schedulers(2).set("metastore.etcd", etcd.url());
    let cluster = setup.allow(data.path()).writable(data.path().display()).start().await;
    run(&cluster, data.path()).await;
}

/// Twenty files of four formats, of which two are missing and two corrupt.
async fn twenty(data: &Path) -> Vec<String> {
    let directory = data.join("twenty");
    std::fs::create_dir(&directory).unwrap();
    let mut paths = vec![];
    for number in 0..20 {
        let (ending, clause) = [
            ("parquet", "STORED AS PARQUET"),
            ("csv", "STORED AS CSV OPTIONS ('format.has_header' 'true')"),
            ("json", "STORED AS JSON"),
            ("arrow", "STORED AS ARROW"),
        ][number % 4];
        let path = directory.join(format!("number-{number}.{ending}"));
        if CORRUPT.contains(&number) {
            std::fs::write(&path, "PAR1 and then nothing that belongs there").unwrap();
        } else if !MISSING.contains(&number) {
            files::write(
                &path,
                &format!("SELECT {number} AS file, value AS line FROM generate_series(1, 3)"),
                clause,
            )
            .await;
        }
        let quoted = directory.join(format!("it's number {number}.{ending}"));
        if path.exists() {
            std::fs::rename(&path, &quoted).unwrap();
        }
        paths.push(quoted.display().to_string());
    }
    paths
}

async fn many_files(client: &Client, data: &Path) {
    let paths = twenty(data).await;
    let results = client.batch_read(&paths, MINUTE, 3).await;
    assert_eq!(results.len(), paths.len());
    for (number, (path, result)) in paths.iter().zip(&results).enumerate() {
        let wanted = if CORRUPT.contains(&number) {
            Some(ErrorKind::CorruptFile)
        } else if MISSING.contains(&number) {
            Some(ErrorKind::FileNotFound)
        } else {
            None
        };
        assert_eq!(result.as_ref().err().map(|error| error.kind), wanted, "{path}: {result:?}");
        match result {
            Ok(handle) => {
                let columns: Vec<&str> = handle.columns.iter().map(|(name, _)| name.as_str()).collect();
                assert_eq!(columns, ["file", "line"], "{path}");
            }
            Err(error) => assert!(error.message.contains(path), "{path}: {error}"),
        }
    }
    let (handles, errors) = results.partition_results();
    assert_eq!((handles.len(), errors.len()), (16, 4));
    let frames = handles.iter().map(|handle| client.frame(handle).sort([col("line")]).limit(1));
    let collected = client.batch_collect(frames, 3).await;
    let firsts: Vec<String> =
        collected.iter().map(|rows| texts(rows.as_ref().unwrap())[0][0].clone()).collect();
    let wanted = (0..20).filter(|number| !CORRUPT.contains(number) && !MISSING.contains(number));
    assert_eq!(firsts, wanted.map(|number| number.to_string()).collect::<Vec<_>>());
    client.close_handle(&handles[1].id).await.unwrap();
    let frames = handles[..3].iter().map(|handle| client.frame(handle));
    let collected = client.batch_collect(frames, 8).await;
    let kinds: Vec<_> = collected.iter().map(|rows| rows.as_ref().err().map(|error| error.kind)).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::NotFound), None]);
    assert!(client.batch_read(Vec::<String>::new(), MINUTE, 0).await.is_empty());
}

/// The rows as texts, in an order of their own.
async fn rows(frame: &Frame) -> Vec<Vec<String>> {
    let sql = frame.to_sql().unwrap();
    let batches = frame.collect().await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
    let mut rows = texts(&batches);
    rows.sort();
    rows
}

/// Verbs give what the SQL gives that a person would write for them.
async fn verbs(session: &Session, data: &Path) {
    let ticks = data.join("ticks.parquet");
    files::parquet(
        &ticks,
        "SELECT value AS id, value % 7 AS kind, CASE WHEN value % 5 = 0 THEN NULL ELSE value * 2 END AS \"Price (net)\" \
         FROM generate_series(1, 1000)",
    )
    .await;
    let kinds = data.join("kinds.csv");
    let query = "SELECT value AS kind, 'kind ' || CAST(value AS VARCHAR) AS name, value AS id FROM generate_series(3, 9)";
    files::write(&kinds, query, "STORED AS CSV OPTIONS ('format.has_header' 'true')").await;
    let client = &session.client;
    let t = client.read_parquet(&ticks.display().to_string());
    let k = client.read_csv(&kinds.display().to_string());
    let (t_sql, k_sql) = (format!("'{}'", ticks.display()), format!("'{}'", kinds.display()));
    let price = col("Price (net)");
    let names = ["id", "kind"];
    let cases: Vec<(Frame, String)> = vec![
        (t.clone(), format!("SELECT * FROM {t_sql}")),
        (
            t.filter(price.gt(100) & !col("kind").is_in([1, 2]) | price.is_null()),
            format!(
                "SELECT * FROM {t_sql} WHERE \"Price (net)\" > 100 AND kind NOT IN (1, 2) OR \"Price (net)\" IS NULL"
            ),
        ),
        (
            t.select([(&price * 2 - col("id")).alias("x"), raw("id + 1 AS y"), lit("it's")]),
            format!("SELECT \"Price (net)\" * 2 - id, id + 1, 'it''s' FROM {t_sql}"),
        ),
        (
            t.select(names).with_columns([("id", col("id") % 10), ("one", lit(1))]),
            format!("SELECT id % 10, kind, 1 FROM {t_sql}"),
        ),
        (
            t.group_by([col("kind")]).agg([
                ("n", lit(1).count()),
                ("sum", price.sum()),
                ("least", price.min()),
                ("most", raw("max(\"Price (net)\")")),
                ("some", price.count()),
                ("different", (&price % 3).count_distinct()),
                ("mean", price.avg()),
            ]),
            format!(
                "SELECT kind, count(*), sum(\"Price (net)\"), min(\"Price (net)\"), max(\"Price (net)\"), \
                 count(\"Price (net)\"), count(DISTINCT \"Price (net)\" % 3), avg(\"Price (net)\") FROM {t_sql} GROUP BY kind"
            ),
        ),
        (
            t.agg([price.cast("DOUBLE").sum()]),
            format!("SELECT sum(CAST(\"Price (net)\" AS DOUBLE)) FROM {t_sql}"),
        ),
        (
            t.join(&k.select(["kind", "name"]), "kind", JoinKind::Left).select([
                "kind",
                "\"Price (net)\"",
                "name",
            ]),
            format!(
                "SELECT t.kind, \"Price (net)\", name FROM {t_sql} t LEFT JOIN {k_sql} k ON t.kind = k.kind"
            ),
        ),
        (
            t.select(names).join(&k.select(["kind", "id"]), "kind", JoinKind::Full),
            format!(
                "SELECT coalesce(t.kind, k.kind) AS kind, t.id, k.id AS other FROM {t_sql} t FULL JOIN {k_sql} k ON t.kind = k.kind"
            ),
        ),
        (
            t.select(names).join(&k.select(["kind", "id"]), On::pairs([("id", "kind")]), JoinKind::Inner),
            format!(
                "SELECT t.id, t.kind, k.kind AS a, k.id AS b FROM {t_sql} t JOIN {k_sql} k ON t.id = k.kind"
            ),
        ),
        (
            t.join(&k, ["kind"], JoinKind::Semi),
            format!("SELECT * FROM {t_sql} WHERE kind IN (SELECT kind FROM {k_sql})"),
        ),
        (
            t.join(&k, ["kind"], JoinKind::Anti),
            format!("SELECT * FROM {t_sql} WHERE kind NOT IN (SELECT kind FROM {k_sql})"),
        ),
        (
            k.select(["kind"]).join(&k.select(["name"]), On::nothing(), JoinKind::Cross),
            format!("SELECT a.kind, b.name FROM {k_sql} a CROSS JOIN {k_sql} b"),
        ),
        (
            t.sort([price.desc().nulls_last(), col("id").asc()]).limit_offset(10, 5),
            format!("SELECT * FROM {t_sql} ORDER BY \"Price (net)\" DESC NULLS LAST, id LIMIT 10 OFFSET 5"),
        ),
        (t.select(["kind"]).distinct(), format!("SELECT DISTINCT kind FROM {t_sql}")),
        (
            client.sql(&format!("SELECT id FROM {t_sql} -- all of them")).filter("id < 10"),
            format!("SELECT id FROM {t_sql} WHERE id < 10"),
        ),
    ];
    for (frame, sql) in cases {
        let mut wanted = session.ok(&sql).await.cells();
        wanted.sort();
        assert!(!wanted.is_empty(), "{sql}");
        assert_eq!(rows(&frame).await, wanted, "{sql}\n{frame:?}");
        assert_eq!(frame.count().await.unwrap(), wanted.len() as u64, "{frame:?}");
    }
    let sorted = t.sort([col("id").desc()]).limit(3);
    let batches = sorted.collect().await.unwrap();
    let ids: Vec<String> = texts(&batches).into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(ids, ["1000", "999", "998"]);
    let mut stream = sorted.stream().await.unwrap();
    let mut streamed = 0;
    while let Some(batch) = stream.next_batch().await.unwrap() {
        streamed += batch.num_rows();
    }
    assert_eq!(streamed, 3);
    assert!(sorted.explain().await.unwrap().contains("logical_plan:\n"), "it names its parts");
    assert!(sorted.explain_analyze().await.unwrap().contains("summary"), "it was measured");
    let mut long = t.select(["id"]);
    for _ in 0..50 {
        long = long.filter(col("id").gt(0));
    }
    assert_eq!(long.count().await.unwrap(), 1000);
}

/// Whatever signs they have, names are names and values are values.
async fn names_and_values(client: &Client) {
    let one = client.sql("SELECT 1 AS one");
    for name in NASTY {
        for value in NASTY {
            let made = one.with_columns([(name, lit(value))]).select([col(name)]).filter(col(name).eq(value));
            let batches = made.collect().await.unwrap_or_else(|error| panic!("{name} {value}: {error}"));
            assert_eq!(batches[0].schema().field(0).name(), name);
            assert_eq!(texts(&batches), [[value]]);
        }
    }
    for (value, text) in [
        (lit(i64::MIN), "-9223372036854775808"),
        (lit(u64::MAX), "18446744073709551615"),
        (-lit(-1), "1"),
        (lit(-1) - -1, "0"),
        (lit(true) & !lit(false), "true"),
        (null().cast("BIGINT"), "NULL"),
        (lit(0.1), "0.1"),
        (lit(-0.5) * 2, "-1"),
        (lit(f64::NAN), "NaN"),
        (lit(f64::NEG_INFINITY), "-inf"),
    ] {
        let value: Expr = value;
        let batches = one.select([value.alias("v")]).collect().await;
        let batches = batches.unwrap_or_else(|error| panic!("{value:?}: {error}"));
        assert_eq!(texts(&batches), [[text]], "{value:?}");
    }
}

fn numbers(count: i64) -> RecordBatch {
    let n: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
    let day = (0..count).map(|number| ["2026-11-28", "it's ü", "2026-11-30"][number as usize % 3]);
    let day: ArrayRef = Arc::new(StringArray::from_iter_values(day));
    RecordBatch::try_from_iter([("n", n), ("Day", day)]).unwrap()
}

fn as_said(written: Written, below: &Path) {
    let found = files::below(below);
    let bytes: u64 = found.iter().map(|path| path.metadata().unwrap().len()).sum();
    assert_eq!((written.files, written.bytes), (found.len() as u64, bytes));
}

async fn written_files(client: &Client, data: &Path) {
    let handle = client.upload(MINUTE, numbers(1000)).await.unwrap();
    let uploaded = client.frame(&handle);
    assert_eq!(uploaded.count().await.unwrap(), 1000);
    let rows_of = uploaded.filter(col("n").lt(100)).with_columns([("n", col("n") * 2)]);
    let wanted = rows(&rows_of.select([col("n"), col("Day")])).await;
    assert_eq!(wanted.len(), 100);

    let out = data.join("partitioned");
    let url = format!("{}/", out.display());
    let written = rows_of.write_parquet(&url, &["Day"]).await.unwrap();
    assert_eq!(written.rows, 100);
    as_said(written, &out);
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 3);
    let again = client.read_parquet(&url).select([col("n"), col("Day")]);
    assert_eq!(rows(&again).await, wanted);

    let directory = data.join("texts");
    std::fs::create_dir(&directory).unwrap();
    let csv = directory.join("rows.csv").display().to_string();
    let json = directory.join("rows.json").display().to_string();
    let written = rows_of.write_csv(&csv, &[]).await.unwrap();
    assert_eq!((written.rows, written.files), (100, 1));
    as_said(written, &directory);
    assert_eq!(rows(&client.read_csv(&csv).select([col("n"), col("Day")])).await, wanted);
    let written = rows_of.write_json(&json, &[]).await.unwrap();
    assert_eq!((written.rows, written.files), (100, 1));
    assert_eq!(rows(&client.read_json(&json).select([col("n"), col("Day")])).await, wanted);
    client.close_handle(&handle.id).await.unwrap();
}

/// Handles that are made through one scheduler, read through another.
async fn handles(client: &Client, other: &Client) {
    let uploaded = client.upload(MINUTE, numbers(10)).await.unwrap();
    let frame = client.frame(&uploaded).filter(col("n").gt_eq(5));
    let handle = frame.handle(MINUTE).await.unwrap();
    assert_eq!(handle.ttl, MINUTE);
    let columns: Vec<&str> = handle.columns.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(columns, ["n", "Day"]);
    let there = other.frame(&handle);
    assert_eq!(rows(&there).await, rows(&frame).await);
    // Names of a handle are known, so that a column is replaced.
    let made = there.with_columns([("Day", lit("x"))]).collect().await.unwrap();
    let made = concat_batches(&made[0].schema(), &made).unwrap();
    assert_eq!((made.num_rows(), made.num_columns()), (5, 2));
    other.close_handle(&handle.id).await.unwrap();
    assert_eq!(there.collect().await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(client.frame(&uploaded).count().await.unwrap(), 10);
    client.close_handle(&uploaded.id).await.unwrap();
}

async fn errors(client: &Client, data: &Path) {
    let one = client.sql("SELECT 1 AS one");
    let missing = data.join("nowhere.parquet").display().to_string();
    let out = data.join("nothing");
    let url = format!("{}/", out.display());
    let nothing: [&str; 0] = [];
    let cases: Vec<(Frame, ErrorKind)> = vec![
        (client.table("nowhere"), ErrorKind::TableNotFound),
        (one.select([col("two")]), ErrorKind::ColumnNotFound),
        (one.select([col("One")]), ErrorKind::ColumnNotFound),
        (client.read_parquet(&missing), ErrorKind::FileNotFound),
        (client.read_parquet("/etc/passwd.parquet"), ErrorKind::PathNotAllowed),
        (client.sql("SELEC 1"), ErrorKind::Syntax),
        (client.read_csv("a.parquet").limit(1), ErrorKind::Plan),
        (one.select(nothing).filter("one = 1"), ErrorKind::Plan),
        (one.join(&one, On::nothing(), JoinKind::Inner), ErrorKind::Plan),
        (one.filter(col("one").eq("\0")), ErrorKind::Plan),
        (client.table("a\0b"), ErrorKind::Plan),
    ];
    for (frame, kind) in cases {
        let outcomes: [Result<(), Error>; 4] = [
            frame.collect().await.map(drop),
            frame.stream().await.map(drop),
            frame.handle(MINUTE).await.map(drop),
            frame.write_parquet(&url, &[]).await.map(drop),
        ];
        for outcome in outcomes {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind, kind, "{frame:?}: {error}");
        }
    }
    let error = one.write_parquet("/etc/nowhere/", &[]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::PathNotAllowed, "{error}");
    let error = one.select([col("one") / 0]).write_csv(&url, &[]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Execution, "{error}");
    assert_eq!(files::below(&out), Vec::<std::path::PathBuf>::new());
}

async fn examples(client: &Client, data: &Path) {
    assert_eq!(quickstart::run(client).await.unwrap(), 10);
    let paths = [data.join("ticks.parquet"), data.join("nowhere.csv"), data.join("kinds.csv")];
    let paths = paths.map(|path| path.display().to_string());
    assert_eq!(batch_processing::run(client, &paths).await.unwrap(), (2, 1));
    let out = data.join("example");
    let (written, rows) = tables::run(client, &format!("{}/", out.display())).await.unwrap();
    // Prices from 11 to 99, each of two symbols on two days.
    assert_eq!((written.rows, rows), (89 * 4, 4));
    as_said(written, &out);
}
