//! Work stops when nobody wants it any more, and leaves nothing behind.

use std::process::Stdio;
use std::time::{Duration, Instant};

use polarway_client::{CancelOutcome, QueryHandle};
use polarway_common::{Error, ErrorKind};
use polarway_tests::process::command;
use polarway_tests::{Cluster, Session, Setup, until, usage};
use tokio::task::JoinHandle;

const CEILING: Duration = Duration::from_secs(60);

/// Statements that would run for hours, each stuck in another operator.
const ENDLESS: [(&str, &str); 3] = [
    (
        "hash join",
        "SELECT count(*) FROM lineitem a JOIN lineitem b ON a.l_linenumber = b.l_linenumber
         WHERE a.l_comment <> b.l_comment",
    ),
    (
        "nested loops",
        "SELECT count(*) FROM lineitem a JOIN lineitem b ON a.l_orderkey + b.l_partkey < a.l_suppkey - b.l_suppkey",
    ),
    (
        "sort of many rows",
        "SELECT a.l_comment, b.l_comment FROM lineitem a CROSS JOIN lineitem b ORDER BY a.l_comment || b.l_comment LIMIT 10",
    ),
];

/// Waits until nothing works for any query: no task, no query, no shuffle file, no processor time.
async fn until_quiet(cluster: &Cluster, what: &str) {
    let started = Instant::now();
    until(format!("{what}: no task runs"), CEILING, || async {
        (cluster.running_tasks().await == 0.0).then_some(())
    })
    .await;
    until(format!("{what}: no query runs"), CEILING, || async {
        (cluster.metric("polarway_queries_running").await == 0.0).then_some(())
    })
    .await;
    let told = started.elapsed();
    for process in cluster.executors.iter().chain([&cluster.front]) {
        usage::until_idle(process.pid(), CEILING).await;
    }
    let idle = started.elapsed();
    cluster.until_no_shuffle().await;
    assert_eq!(cluster.metric("polarway_admission_running").await, 0.0, "{what}: a place is still taken");
    println!("{what}: told stopped after {told:?}, idle after {idle:?}, clean after {:?}", started.elapsed());
}

/// Starts a statement and waits until executors work for it (and, when staged, have written shuffle files).
async fn start(
    cluster: &Cluster,
    session: &Session,
    sql: &str,
) -> (QueryHandle, JoinHandle<Result<(), Error>>) {
    let mut stream = session.client.execute(sql).await.unwrap();
    let handle = stream.handle().clone();
    let staged = stream.route() == "staged";
    let reading = tokio::spawn(async move { stream.next_batch().await.map(|_| ()) });
    until_working(cluster, staged).await;
    (handle, reading)
}

async fn until_working(cluster: &Cluster, staged: bool) {
    until("executors work", CEILING, || async {
        let files = !staged || !cluster.job_directories("").is_empty();
        (files && cluster.running_tasks().await > 0.0).then_some(())
    })
    .await;
    // Well into its run.
    tokio::time::sleep(Duration::from_millis(500)).await;
}

/// Ends a statement in each way there is, on both routes.
async fn stops(operator: &str, sql: &str) {
    let (cluster, _) = Setup::cluster(2).start_with_tpch().await;
    for route in ["direct", "staged"] {
        let session = cluster.session().await;
        session.set_route(route).await;

        let (_, reading) = start(&cluster, &session, sql).await;
        reading.abort();
        let _ = reading.await;
        until_quiet(&cluster, &format!("{operator}, {route}, stream dropped")).await;

        let (handle, reading) = start(&cluster, &session, sql).await;
        assert_ne!(session.client.cancel(&handle).await.unwrap(), CancelOutcome::NotRunning);
        let error = reading.await.unwrap().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Cancelled, "{operator}, {route}: {error}");
        until_quiet(&cluster, &format!("{operator}, {route}, cancelled")).await;
        assert_eq!(session.client.cancel(&handle).await.unwrap(), CancelOutcome::NotRunning);

        session.set("polarway.timeout", "2s").await;
        let error = session.error(sql).await;
        assert_eq!(error.kind, ErrorKind::DeadlineExceeded, "{operator}, {route}: {error}");
        until_quiet(&cluster, &format!("{operator}, {route}, past its deadline")).await;

        die_as_a_client(&cluster, route, sql).await;
        until_quiet(&cluster, &format!("{operator}, {route}, client killed")).await;
    }
    // Dropped, cancelled and abandoned on both routes; deadlines count as failures.
    assert_eq!(cluster.metric("polarway_queries_cancelled_total").await, 6.0);
    assert_eq!(cluster.metric("polarway_queries_failed_total").await, 2.0);
}

/// Runs the statement in a client process and kills that.
async fn die_as_a_client(cluster: &Cluster, route: &str, sql: &str) {
    let endpoint = cluster.grpc().to_string();
    let route_is = format!("SET polarway.route = '{route}'");
    let arguments = ["sql", "--endpoint", &endpoint, "-c", &route_is, "-c", sql].map(str::to_owned);
    let mut client = command(&arguments, &[])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until_working(cluster, route == "staged").await;
    client.kill().unwrap();
    client.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn row_07_a_hash_join_stops() {
    let (operator, sql) = ENDLESS[0];
    stops(operator, sql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_07_nested_loops_stop() {
    let (operator, sql) = ENDLESS[1];
    stops(operator, sql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_07_a_cross_join_and_sort_stop() {
    let (operator, sql) = ENDLESS[2];
    stops(operator, sql).await;
}

/// Drops the statement's stream once `polarway up` computes for it.
async fn stops_in_one_process(cluster: &Cluster, session: &Session, operator: &str, sql: &str, route: &str) {
    session.set_route(route).await;
    let mut stream = session.client.execute(sql).await.unwrap();
    let reading = tokio::spawn(async move { stream.next_batch().await.map(|_| ()) });
    let pid = cluster.front.pid();
    let before = usage::cpu_seconds(pid);
    until("the server computes", CEILING, || async move {
        (usage::cpu_seconds(pid) - before > 0.7).then_some(())
    })
    .await;
    reading.abort();
    let _ = reading.await;
    until_quiet(cluster, &format!("{operator}, {route}, in one process")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_07_work_in_the_servers_own_process_stops() {
    let (cluster, _) = Setup::up().start_with_tpch().await;
    let session = cluster.session().await;
    let without_files = "SELECT sum(a.value % b.value)
        FROM generate_series(1, 10000000) a CROSS JOIN generate_series(1, 10000000) b";
    stops_in_one_process(&cluster, &session, "no files", without_files, "auto").await;
    for (operator, sql) in [ENDLESS[0], ENDLESS[2]] {
        for route in ["direct", "staged"] {
            stops_in_one_process(&cluster, &session, operator, sql, route).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_07_nested_loops_in_the_servers_own_process_stop() {
    let (cluster, _) = Setup::up().start_with_tpch().await;
    let session = cluster.session().await;
    let (operator, sql) = ENDLESS[1];
    for route in ["direct", "staged"] {
        stops_in_one_process(&cluster, &session, operator, sql, route).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_07_a_result_that_is_read_halfway_is_cleaned_up() {
    let (cluster, _) = Setup::cluster(2).start_with_tpch().await;
    let session = cluster.session().await;
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        let sql = "SELECT l.* FROM lineitem l CROSS JOIN (VALUES (1), (2)) AS v";
        let mut stream = session.client.execute(sql).await.unwrap();
        stream.next_batch().await.unwrap().unwrap();
        drop(stream);
        until_quiet(&cluster, &format!("{route}, result read halfway")).await;
    }
}
