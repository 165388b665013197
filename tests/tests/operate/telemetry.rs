//! What servers tell of their work: traces over OTLP, the log, metrics.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use polarway_client::{Client, ClientOptions, TraceContext};
use polarway_tests::otlp::{Collector, Seen};
use polarway_tests::process::command;
use polarway_tests::s3::{S3Server, copy_tree};
use polarway_tests::{Session, Setup, binary, http, python, tpch, until};
use serde_json::Value;

const CEILING: Duration = Duration::from_secs(60);
const SPAN: &str = "00f067aa0ba902b7";

/// A client whose calls are all made in one span of its own.
async fn traced(server: SocketAddr, trace: &str, kept: bool) -> Session {
    let parent = format!("00-{trace}-{SPAN}-0{}", u8::from(kept));
    let options = ClientOptions {
        retry_for: Duration::ZERO,
        trace: Some(TraceContext::new(move || Some(parent.clone()))),
        ..ClientOptions::to(server.to_string().parse().unwrap())
    };
    Session { client: Client::connect(options).await.unwrap() }
}

fn named<'a>(spans: &'a [Seen], service: &str, name: &str) -> Vec<&'a Seen> {
    spans.iter().filter(|span| span.service == service && span.name == name).collect()
}

/// Waits until `enough` says that all spans of a trace have come, and those that they hang on have come, too.
async fn whole(collector: &Collector, trace: &str, enough: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
    until(format!("the spans of the trace {trace}"), CEILING, || async {
        Some(collector.of(trace)).filter(|spans| enough(spans) && loose(spans).is_empty())
    })
    .await
}

/// Spans that hang on no other of the trace, and not on the client's.
fn loose(spans: &[Seen]) -> Vec<&Seen> {
    let ids: HashSet<&str> = spans.iter().map(|span| span.id.as_str()).chain([SPAN]).collect();
    spans.iter().filter(|span| !ids.contains(span.parent.as_str())).collect()
}

fn hangs_together(spans: &[Seen]) {
    let loose = loose(spans);
    assert!(loose.is_empty(), "{loose:?} hang on nothing of {spans:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_48_one_trace_joins_client_scheduler_and_executors() {
    let collector = Collector::start().await;
    // None of the traces that begin here is kept; those that clients keep are.
    let setup =
        Setup::cluster(2).set("telemetry.otlp_endpoint", collector.url()).set("telemetry.sample", "0");
    let (cluster, _) = setup.start_with_tpch().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let session = traced(cluster.grpc(), trace, true).await;
    session.set_route("staged").await;
    let answer = session.ok(&tpch::query(3)).await;
    let spans = whole(&collector, trace, |spans| {
        let processes: BTreeSet<&str> =
            named(spans, "polarway-executor", "task").iter().map(|task| task.instance.as_str()).collect();
        processes.len() == 2
            && named(spans, "polarway-scheduler", "query").len() == 1
            && named(spans, "polarway-scheduler", "plan")
                .iter()
                .any(|plan| plan.fields["query"] == answer.query_id)
    })
    .await;
    hangs_together(&spans);
    let query = named(&spans, "polarway-scheduler", "query")[0];
    assert_eq!((query.parent.as_str(), query.fields["query"].as_str()), (SPAN, answer.query_id.as_str()));
    assert_eq!((query.fields["route"].as_str(), query.fields["rows"].as_str()), ("staged", "10"));
    let attempt = named(&spans, "polarway-scheduler", "attempt")[0];
    assert_eq!(attempt.parent, query.id);
    let tasks = named(&spans, "polarway-executor", "task");
    assert!(
        tasks.iter().all(|task| task.parent == attempt.id && task.fields["job"] == attempt.fields["job"])
    );
    let stages: BTreeSet<&str> = tasks.iter().map(|task| task.fields["stage"].as_str()).collect();
    assert!(stages.len() > 1, "{stages:?}");
    assert!(!named(&spans, "polarway-executor", "fetch").is_empty(), "nobody fetched the result");

    // The other route, an error, and a statement that changes something.
    let trace = "4bf92f3577b34da6a3ce929d0e0e4737";
    let session = traced(cluster.grpc(), trace, true).await;
    session.set_route("direct").await;
    session.ok(&tpch::query(6)).await;
    session.error("SELECT 1 / (l_linenumber - l_linenumber) FROM lineitem").await;
    let spans = whole(&collector, trace, |spans| {
        named(spans, "polarway-scheduler", "query").len() == 2
            && named(spans, "polarway-executor", "fetch").len() >= 2
            && !named(spans, "polarway-scheduler", "command").is_empty()
    })
    .await;
    hangs_together(&spans);
    let failed: Vec<&str> = named(&spans, "polarway-scheduler", "query")
        .into_iter()
        .filter(|query| query.failed)
        .map(|query| query.fields["error"].as_str())
        .collect();
    assert_eq!(failed, ["EXECUTION"]);
    // Nothing else was kept: not what made the tables, nor what asked for how the cluster is.
    let traces: HashSet<String> = collector.seen().into_iter().map(|span| span.trace).collect();
    assert_eq!(traces.len(), 2, "{traces:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_48_requests_that_a_query_makes_are_in_its_trace() {
    let (collector, server, data) = (Collector::start().await, S3Server::start().await, tpch::data("0.1"));
    let lake = server.bucket("lake");
    server.bucket("shuffle");
    let setup = server.configure(Setup::cluster(2)).allow("s3://lake").set("telemetry.sample", "0");
    let setup =
        setup.set("telemetry.otlp_endpoint", collector.url()).set("shuffle.url", "s3://shuffle/below");
    let setup = setup.set("executor.http_listen", "127.0.0.1:0");
    let cluster = setup.start().await;
    for table in ["customer", "lineitem", "orders"] {
        copy_tree(&data.join(table), &lake.join(table));
        let create = format!("CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION 's3://lake/{table}/'");
        cluster.session().await.ok(&create).await;
    }
    let trace = "4bf92f3577b34da6a3ce929d0e0e473b";
    let session = traced(cluster.grpc(), trace, true).await;
    session.set_route("staged").await;
    session.ok(&tpch::query(3)).await;
    let spans = whole(&collector, trace, |spans| {
        named(spans, "polarway-scheduler", "query").len() == 1
            && ["get", "fetch shuffle"].iter().all(|name| !named(spans, "polarway-executor", name).is_empty())
            && !named(spans, "polarway-scheduler", "metadata").is_empty()
    })
    .await;
    hangs_together(&spans);
    let tasks = named(&spans, "polarway-executor", "task");
    let is_of_a_task =
        |span: &Seen| tasks.iter().any(|task| task.id == span.parent && task.instance == span.instance);
    let attempt = named(&spans, "polarway-scheduler", "attempt")[0];
    for get in named(&spans, "polarway-executor", "get") {
        assert!(is_of_a_task(get) && !get.failed, "{get:?}");
        assert!(get.fields["bytes"].parse::<u64>().unwrap() > 0, "{get:?}");
    }
    let of_table = |span: &&Seen| span.fields["store"] == "s3://lake";
    assert!(named(&spans, "polarway-executor", "get").iter().any(of_table), "{spans:#?}");
    for fetch in named(&spans, "polarway-executor", "fetch shuffle") {
        assert!(is_of_a_task(fetch) && !fetch.failed, "{fetch:?}");
        assert_eq!(fetch.fields["job"], attempt.fields["job"], "{fetch:?}");
        assert!(fetch.fields["peer"].parse::<SocketAddr>().is_ok(), "{fetch:?}");
    }
    // The query's run is written down, since its output is stored.
    let asked = named(&spans, "polarway-scheduler", "metadata");
    assert!(asked.iter().any(|span| span.fields["request"] == "txn"), "{asked:#?}");
    // Neither names of objects nor keys are told.
    let told = format!("{spans:?}");
    assert!(!told.contains(".parquet") && !told.contains("job/"), "{told}");

    // The same is counted.
    assert!(cluster.metric("polarway_admission_waited_seconds_count").await >= 1.0);
    assert!(cluster.sum_of_executors("polarway_store_bytes_total").await > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_48_a_server_begins_traces_and_its_log_names_them() {
    let collector = Collector::start().await;
    let setup = Setup::up()
        .set("telemetry.otlp_endpoint", collector.url())
        .set("telemetry.sample", "1")
        .set("telemetry.slow_query", "0ms")
        .set("log.format", "json");
    let cluster = setup.start().await;
    let session = cluster.session().await;
    let answer = session.ok("SELECT 1 AS one").await;
    let of_query = |name: &'static str| {
        let (collector, id) = (&collector, answer.query_id.clone());
        until(name, CEILING, move || {
            let seen = collector.seen();
            let found =
                seen.into_iter().find(|span| span.name == name && span.fields.get("query") == Some(&id));
            async move { found }
        })
    };
    let (plan, query) = (of_query("plan").await, of_query("query").await);
    assert_eq!((plan.service.as_str(), plan.parent.as_str()), ("polarway-up", ""));
    // The ticket has brought it along.
    assert_eq!((query.trace.as_str(), query.parent.as_str()), (plan.trace.as_str(), plan.id.as_str()));
    let slow = until("the slow query is told", CEILING, || async {
        let log = std::fs::read_to_string(cluster.dir().join("front.log")).unwrap();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .into_iter()
            .find(|line| line["target"] == "polarway::slow_query" && line["query"] == answer.query_id)
    })
    .await;
    assert_eq!(
        (slow["sql"].as_str(), slow["route"].as_str()),
        (Some("SELECT 1 AS one"), Some(answer.route.as_str()))
    );
    assert_eq!(slow["span"]["trace_id"], plan.trace, "{slow}");

    // What is done in the background begins none.
    let begun: BTreeSet<String> =
        collector.seen().into_iter().filter(|span| span.parent.is_empty()).map(|span| span.name).collect();
    let requests = ["metadata", "get", "head", "list", "put"];
    assert!(requests.iter().all(|name| !begun.contains(*name)), "{begun:?}");

    // What the client does not keep is not kept.
    let trace = "4bf92f3577b34da6a3ce929d0e0e4738";
    let session = traced(cluster.grpc(), trace, false).await;
    session.ok("SELECT 2 AS two").await;
    let after = Session::connect(cluster.grpc()).await.ok("SELECT 3 AS three").await;
    until("a later one is there", CEILING, || async {
        let seen = collector.seen();
        seen.iter().any(|span| span.name == "query" && span.fields["query"] == after.query_id).then_some(())
    })
    .await;
    assert!(collector.of(trace).is_empty());
}

/// Clients that have no hook of ours: the shell by its environment, ADBC's driver by a header.
#[tokio::test(flavor = "multi_thread")]
async fn row_48_the_shell_and_adbcs_driver_say_which_trace_they_are_in() {
    let collector = Collector::start().await;
    let setup = Setup::up().set("telemetry.otlp_endpoint", collector.url()).set("telemetry.sample", "0");
    let cluster = setup.start().await;
    let traces = ["4bf92f3577b34da6a3ce929d0e0e4739", "4bf92f3577b34da6a3ce929d0e0e473a"];
    let [of_shell, of_driver] = traces.map(|trace| format!("00-{trace}-{SPAN}-01"));
    let server = cluster.grpc().to_string();
    let arguments = ["sql", "--endpoint", &server, "-c", "SELECT 1"].map(str::to_owned);
    let mut shell = command(&arguments, &[("TRACEPARENT".to_owned(), of_shell)]);
    let mut driver = Command::new(python::with("adbc-requirements.txt"));
    driver.arg(python::script("adbc_traced.py")).args([format!("grpc://{server}"), of_driver]);
    let asked = tokio::task::spawn_blocking(move || [&mut shell, &mut driver].map(python::run));
    asked.await.unwrap();
    for trace in traces {
        let spans = whole(&collector, trace, |spans| named(spans, "polarway-up", "query").len() == 1).await;
        hangs_together(&spans);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_48_a_collector_that_is_away_costs_nobody_anything() {
    let away = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let setup =
        Setup::up().set("telemetry.otlp_endpoint", format!("http://{away}")).set("telemetry.sample", "1");
    let mut cluster = setup.start().await;
    let session = cluster.session().await;
    for _ in 0..20 {
        session.ok("SELECT 1").await;
    }
    assert!(cluster.front.stop().await.success());
}

/// The families that a process shows.
async fn families(server: SocketAddr) -> BTreeSet<String> {
    let text = http::get(server, "/metrics").await;
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

/// Names are a promise to dashboards and alerts: one that changes, or goes, changes this list and CHANGELOG.
#[tokio::test(flavor = "multi_thread")]
async fn row_48_names_of_metrics_stay_as_they_are() {
    let cluster = Setup::cluster(1).ingest(1).set("executor.http_listen", "127.0.0.1:0").start().await;
    let shown = BTreeMap::from([
        ("scheduler", families(cluster.http()).await),
        ("executor", families(cluster.executors[0].http()).await),
        ("ingest", families(cluster.ingest[0].http()).await),
    ]);
    let told =
        shown.iter().flat_map(|(role, names)| names.iter().map(move |name| format!("{role} {name}\n")));
    let told: String = told.collect();
    let promised =
        std::fs::read_to_string(binary::repository().join(Path::new("tests/data/metrics.txt"))).unwrap();
    assert_eq!(told, promised, "the names of metrics are others than tests/data/metrics.txt has");
}
