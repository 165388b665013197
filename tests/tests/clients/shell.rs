//! `polarway sql` without a terminal, as scripts use it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use polarway_tests::process::{command, send_signal};
use polarway_tests::{Setup, until};

fn spawn(server: SocketAddr, arguments: &[&str]) -> Child {
    let endpoint = server.to_string();
    let mut all = vec!["sql".to_owned(), "--endpoint".to_owned(), endpoint];
    all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    command(&all, &[]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Runs the shell to its end; gives exit code, standard output and standard error.
async fn shell(server: SocketAddr, arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut child = spawn(server, arguments);
    let input = input.to_owned();
    let ended = tokio::task::spawn_blocking(move || {
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    });
    let Output { status, stdout, stderr } =
        tokio::time::timeout(Duration::from_secs(120), ended).await.expect("the shell hangs").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn shell_formats() {
    let (cluster, _) = Setup::up().start_with_tpch().await;
    let server = cluster.grpc();
    let sql = "SELECT n_nationkey AS k, n_name AS name, CASE WHEN n_nationkey > 0 THEN 'x,\"y\"' END AS note
        FROM nation WHERE n_nationkey < 2 ORDER BY 1";

    let (code, out, err) = shell(server, &["-c", sql], "").await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(lines(&out)[1].contains("| k | name ") || lines(&out)[1].contains("k "), "{out}");
    assert!(out.contains("ALGERIA") && out.contains("ARGENTINA"), "{out}");

    let (code, out, _) = shell(server, &["--format", "csv", "-c", sql], "").await;
    assert_eq!(code, 0);
    assert_eq!(lines(&out), ["k,name,note", "0,ALGERIA,", "1,ARGENTINA,\"x,\"\"y\"\"\""]);

    let (code, out, _) = shell(server, &["--format", "ndjson", "-c", sql], "").await;
    assert_eq!(code, 0);
    let objects: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        objects,
        [
            serde_json::json!({"k": 0, "name": "ALGERIA", "note": null}),
            serde_json::json!({"k": 1, "name": "ARGENTINA", "note": "x,\"y\""}),
        ]
    );

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("out.parquet");
    let path = file.to_str().unwrap();
    let (code, out, err) =
        shell(server, &["--format", "parquet", "-o", path, "-c", "SELECT o_orderkey FROM orders"], "").await;
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&file).unwrap())
        .unwrap()
        .build()
        .unwrap();
    let rows: usize = reader
        .map(|batch| batch.unwrap())
        .map(|batch| batch.column(0).as_primitive::<Int64Type>().iter().flatten().count())
        .sum();
    assert_eq!(rows, 150_000);

    let (code, _, err) = shell(server, &["--timing", "-c", "SELECT n_name FROM nation"], "").await;
    assert_eq!(code, 0);
    assert!(err.contains("25 rows") && err.contains("direct"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shell_exit_codes_and_errors() {
    let (cluster, _) = Setup::up().start_with_tpch().await;
    let server = cluster.grpc();
    assert_eq!(shell(server, &["-c", "SELECT 1"], "").await.0, 0);

    let (code, out, err) = shell(server, &["-c", "SELECT n_nationkey,\n       n_nam\nFROM nation"], "").await;
    assert_eq!((code, out.as_str()), (1, ""));
    let shown = lines(&err);
    assert!(shown[0].starts_with("error: ") && shown[0].contains("n_nam"), "{err}");
    let place =
        shown.iter().position(|line| line.trim_start().starts_with("2 |")).unwrap_or_else(|| panic!("{err}"));
    assert_eq!(
        shown[place].find("n_nam"),
        shown[place + 1].find('^'),
        "the caret stands below the name:\n{err}"
    );
    assert!(err.contains("n_name"), "no hint: {err}");

    // What comes before an error is done, what comes after it is not.
    let (code, out, err) =
        shell(server, &["--format", "csv", "-c", "SELECT 1 AS a; SELECT nope; SELECT 2 AS b"], "").await;
    assert_eq!(code, 1);
    assert_eq!(lines(&out), ["a", "1"], "{err}");

    assert_eq!(shell(server, &["--format", "parquet", "-c", "SELECT 1"], "").await.0, 2);
    assert_eq!(shell(server, &["--no-such-flag"], "").await.0, 2);
    assert_eq!(shell(server, &["-f", "/no/such/file.sql"], "").await.0, 2);
    assert_eq!(shell(server, &[], "\\nonsense\n").await.0, 2);

    let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
    let (code, _, err) = shell(nobody, &["-c", "SELECT 1"], "").await;
    assert_eq!(code, 3, "{err}");
    assert!(err.starts_with("error: cannot reach"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shell_scripts() {
    let (cluster, _) = Setup::up().start_with_tpch().await;
    let server = cluster.grpc();
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("a.sql");
    std::fs::write(
        &script,
        "-- a comment; with a semicolon\nCREATE VIEW five AS\n  SELECT * FROM nation WHERE n_nationkey < 5;\n\
         SELECT ';' AS semicolon, count(n_name) AS n FROM five;\nDROP VIEW five",
    )
    .unwrap();
    let path = script.to_str().unwrap();
    let (code, out, err) = shell(server, &["--format", "csv", "-f", path], "").await;
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("semicolon,n\n;,5\n"), "{out}");

    std::fs::write(&script, "SELECT 1 AS a;\n\nSELECT\n  nope\nFROM nation;\n").unwrap();
    let (code, _, err) = shell(server, &["-f", path], "").await;
    assert_eq!(code, 1);
    assert!(err.contains("a.sql:4:3"), "the place in the file: {err}");

    let (code, out, err) = shell(server, &["--format", "csv"], "SELECT 1 AS a;\nSELECT\n 2 AS b\n;").await;
    assert_eq!((code, out.as_str()), (0, "a\n1\nb\n2\n"), "{err}");
    let (code, out, _) = shell(server, &["--format", "csv", "-f", "-"], "SELECT 3 AS c").await;
    assert_eq!((code, out.as_str()), (0, "c\n3\n"));

    // SET holds for the session, from one flag to the next.
    let arguments =
        ["--timing", "-c", "SET polarway.route = 'staged'", "-c", "SELECT sum(n_nationkey) FROM nation"];
    let (code, _, err) = shell(server, &arguments, "").await;
    assert_eq!(code, 0);
    assert!(err.contains("staged"), "{err}");

    let target = directory.path().join("out.csv");
    std::fs::write(&script, "SELECT r_name FROM region ORDER BY 1;\n").unwrap();
    let input = format!(
        "\\format csv\n\\o {}\n\\i {path}\n\\o\n\\d region\n\\dt\n\\dn\n\\q\nSELECT 'not reached';\n",
        target.display()
    );
    let (code, out, err) = shell(server, &[], &input).await;
    assert_eq!(code, 0, "{err}");
    let written = std::fs::read_to_string(&target).unwrap();
    assert_eq!(lines(&written)[..3], ["r_name", "AFRICA", "AMERICA"]);
    assert!(out.contains("r_regionkey") && out.contains("lineitem") && out.contains("public"), "{out}");
    assert!(!out.contains("not reached"));
}

const ENDLESS: &str = "SELECT a.l_comment FROM lineitem a JOIN lineitem b ON a.l_linenumber = b.l_linenumber";

#[tokio::test(flavor = "multi_thread")]
async fn shell_ctrl_c_cancels() {
    let (cluster, _) = Setup::up().start_with_tpch().await;
    let arguments = [
        "-c",
        "SELECT count(*) FROM lineitem a JOIN lineitem b ON a.l_linenumber = b.l_linenumber WHERE a.l_comment <> b.l_comment",
        "-c",
        "SELECT 'not reached'",
    ];
    let mut child = spawn(cluster.grpc(), &arguments);
    until("the query runs", Duration::from_secs(60), || async {
        (cluster.metric("polarway_queries_running").await > 0.0).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    send_signal(child.id(), "INT");
    let status = until("the shell ends", Duration::from_secs(60), || {
        let status = child.try_wait().unwrap();
        async move { status }
    })
    .await;
    assert_eq!(status.code(), Some(130), "{status}");
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert!(err.contains("cancelled") && !out.contains("not reached"), "{out}{err}");
    until("the query has stopped", Duration::from_secs(60), || async {
        (cluster.metric("polarway_queries_running").await == 0.0).then_some(())
    })
    .await;
    assert_eq!(cluster.metric("polarway_queries_cancelled_total").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn shell_reader_that_leaves_ends_the_query() {
    let (cluster, _) = Setup::up().start_with_tpch().await;
    let mut child = spawn(cluster.grpc(), &["--format", "csv", "-c", ENDLESS]);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut header = String::new();
    out.read_line(&mut header).unwrap();
    assert_eq!(header, "l_comment\n");
    // As `head -1` does.
    drop(out);
    let status = until("the shell ends", Duration::from_secs(60), || {
        let status = child.try_wait().unwrap();
        async move { status }
    })
    .await;
    assert_eq!(status.code(), Some(0), "{status}");
    until("the query has stopped", Duration::from_secs(60), || async {
        (cluster.metric("polarway_queries_running").await == 0.0).then_some(())
    })
    .await;
}
