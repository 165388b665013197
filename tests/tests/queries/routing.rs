//! Which route a statement takes, and why.

use polarway_common::ErrorKind;
use polarway_tests::session::QUERY_CEILING;
use polarway_tests::{Answer, Session, Setup, http, until};

/// The last line of EXPLAIN.
fn route_line(explained: &Answer) -> String {
    let cells = explained.cells();
    let line = cells.iter().find(|row| row[0] == "route");
    line.unwrap_or_else(|| panic!("no route:\n{}", explained.text()))[1].clone()
}

async fn explain(session: &Session, sql: &str) -> String {
    route_line(&session.ok(&format!("EXPLAIN {sql}")).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn row_02_explain_names_route_and_reason() {
    let (cluster, _) = Setup::cluster(2).start_with_tpch().await;
    let session = cluster.session().await;
    let sql = "SELECT sum(l_quantity) FROM lineitem";

    let automatic = explain(&session, sql).await;
    assert!(automatic.starts_with("direct: reads "), "{automatic}");
    assert!(automatic.contains("4 files") && automatic.contains("direct_max_bytes"), "{automatic}");
    assert_eq!(session.ok(sql).await.route, "direct");

    session.set("polarway.direct_max_bytes", "1KiB").await;
    let large = explain(&session, sql).await;
    assert!(large.starts_with("staged: reads ") && large.contains("more than direct_max_bytes"), "{large}");
    assert_eq!(session.ok(sql).await.route, "staged");

    session.set_route("direct").await;
    assert_eq!(explain(&session, sql).await, "direct: polarway.route = 'direct'");
    assert_eq!(session.ok(sql).await.route, "direct");

    session.set_route("staged").await;
    session.ok("RESET polarway.direct_max_bytes").await;
    assert_eq!(explain(&session, sql).await, "staged: polarway.route = 'staged'");
    assert_eq!(session.ok(sql).await.route, "staged");

    session.ok("RESET polarway.route").await;
    assert_eq!(explain(&session, sql).await, automatic);
    assert_eq!(session.ok(sql).await.route, "direct");

    assert_eq!(explain(&session, "SELECT 1").await, "metadata: reads no files");
    let plan = session.ok(&format!("EXPLAIN {sql}")).await;
    assert_eq!(
        plan.cells().iter().map(|row| row[0].clone()).collect::<Vec<_>>(),
        ["logical_plan", "physical_plan", "route"]
    );

    // EXPLAIN ANALYZE runs the query and tells what each stage did.
    session.set_route("staged").await;
    let analyzed = session.ok(&format!("EXPLAIN ANALYZE {sql}")).await.text();
    assert!(analyzed.contains("stage_1_tasks") && analyzed.contains("stage_2_tasks"), "{analyzed}");
    assert!(analyzed.contains("output_rows="), "{analyzed}");
}

/// Whether a metric stands somewhere in the text with a value above nothing.
fn measured(text: &str, metric: &str) -> bool {
    let above_nothing = |rest: &str| rest.starts_with(|first: char| ('1'..='9').contains(&first));
    text.split(&format!("{metric}=")).skip(1).any(above_nothing)
}

#[tokio::test(flavor = "multi_thread")]
async fn row_02_explain_analyze_measures_each_operator() {
    // The two tasks of a stage share the query's memory, which holds half of what one of them sorts.
    let (cluster, _) = Setup::cluster(1).start_with_tpch().await;
    let session = cluster.session().await;
    session.set_route("staged").await;
    session.set("polarway.memory_limit", "80MiB").await;
    let sql = "EXPLAIN ANALYZE SELECT * FROM lineitem ORDER BY l_comment, l_orderkey, l_linenumber";
    let analyzed = session.ok(sql).await;
    let text = analyzed.text();
    for metric in ["output_rows", "elapsed_compute", "bytes_scanned", "spill_count", "spilled_bytes"] {
        assert!(measured(&text, metric), "no {metric}:\n{text}");
    }
    let rows = analyzed.cells();
    let stages: Vec<_> = rows.iter().filter(|row| row[0].starts_with("stage_")).collect();
    let (tasks, plans): (Vec<_>, Vec<_>) = stages.into_iter().partition(|row| row[0].ends_with("_tasks"));
    assert!(tasks.len() >= 2 && tasks.len() == plans.len(), "{text}");
    assert!(tasks.iter().any(|row| row[1].contains("600572 rows out")), "{text}");
    for plan in plans {
        assert!(measured(&plan[1], "elapsed_compute"), "{}:\n{text}", plan[0]);
    }

    session.ok("RESET polarway.memory_limit").await;
    session.set_route("direct").await;
    let started = "polarway_executor_tasks_started_total";
    let before = http::metric(cluster.executors[0].http(), started).await;
    let text = session.ok(sql).await.text();
    let after = http::metric(cluster.executors[0].http(), started).await;
    assert!(after > before, "a query that an executor runs is measured where it runs");
    for metric in ["output_rows", "elapsed_compute", "bytes_scanned"] {
        assert!(measured(&text, metric), "no {metric}:\n{text}");
    }
    assert!(text.contains("600572 rows"), "{text}");
    cluster.until_no_shuffle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_analyze_keeps_to_the_limits() {
    let (cluster, _) = Setup::cluster(1).start_with_tpch().await;
    let session = cluster.session().await;
    session.set("polarway.timeout", "1s").await;
    let endless = "SELECT count(*) FROM lineitem a JOIN lineitem b ON a.l_quantity + b.l_quantity < 0";
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        let error = session.error(&format!("EXPLAIN ANALYZE {endless}")).await;
        assert_eq!(error.kind, ErrorKind::DeadlineExceeded, "{route}: {error}");
    }
    until("nothing runs any more", QUERY_CEILING, || async {
        (cluster.running_tasks().await == 0.0).then_some(())
    })
    .await;
    session.ok("RESET polarway.timeout").await;
    session.set("polarway.memory_limit", "1MiB").await;
    session.set_route("direct").await;
    let wide = "SELECT l_comment, count(*) FROM lineitem GROUP BY 1 ORDER BY 2";
    let error = session.error(&format!("EXPLAIN ANALYZE {wide}")).await;
    assert_eq!(error.kind, ErrorKind::OutOfMemory, "{error}");
    cluster.until_no_shuffle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_02_an_override_belongs_to_its_session() {
    let (cluster, _) = Setup::cluster(1).start_with_tpch().await;
    let (one, other) = (cluster.session().await, cluster.session().await);
    one.set_route("staged").await;
    let sql = "SELECT sum(n_nationkey) FROM nation";
    assert_eq!(one.ok(sql).await.route, "staged");
    assert_eq!(other.ok(sql).await.route, "direct");
    assert!(one.ok("SHOW polarway.route").await.text().contains("staged"));

    let error = one.error("SET polarway.route = 'sideways'").await;
    assert_eq!(error.kind, ErrorKind::InvalidSetting, "{error}");
    let error = one.error("SET polarway.rout = 'direct'").await;
    assert_eq!(error.kind, ErrorKind::InvalidSetting, "{error}");
    assert!(error.hint.as_deref().unwrap_or_default().contains("polarway.route"), "{error}");
    assert_eq!(one.ok(sql).await.route, "staged", "a refused SET changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_02_metadata_queries_start_no_job() {
    let data = polarway_tests::tpch::data("0.1");
    // There is no executor at all: whatever needs one cannot be answered.
    let cluster = Setup::cluster(0).allow(&data).set("scheduler.executor_wait", "1s").start().await;
    let session = cluster.session().await;
    polarway_tests::tpch::create_tables(&session, &data).await;
    session.ok("CREATE VIEW small AS SELECT * FROM nation WHERE n_nationkey < 5").await;
    for route in ["auto", "direct", "staged"] {
        session.set_route(route).await;
        for sql in [
            "SELECT 1",
            "SELECT 1 + 1 AS two, 'x' || 'y' AS text",
            "VALUES (1, 'a'), (2, 'b')",
            "SHOW TABLES",
            "SHOW ALL",
            "SHOW polarway.route",
            "SHOW COLUMNS FROM nation",
            "DESCRIBE nation",
            "DESCRIBE small",
            "SELECT table_name FROM information_schema.tables",
            "SELECT table_name, column_name FROM information_schema.columns ORDER BY 1, 2",
            "SELECT * FROM information_schema.views",
            "SELECT * FROM information_schema.schemata",
            "SELECT * FROM generate_series(1, 10)",
            "SELECT now()",
        ] {
            let answer = session.ok(sql).await;
            assert_eq!(answer.route, "metadata", "{sql} on {route}");
            assert!(answer.rows() > 0, "{sql}");
        }
        session.ok("EXPLAIN SELECT 1").await;
    }
    assert_eq!(http::jobs(cluster.http()).await, Vec::<serde_json::Value>::new());
    assert_eq!(cluster.metric("polarway_queries_staged_total").await, 0.0);
    assert_eq!(cluster.metric("polarway_queries_direct_total").await, 0.0);
    assert!(cluster.metric("polarway_queries_metadata_total").await >= 45.0);

    for route in ["direct", "staged"] {
        session.set_route(route).await;
        let error = session.error("SELECT sum(n_nationkey) FROM nation").await;
        assert_eq!(error.kind, ErrorKind::NoExecutors, "{route}: {error}");
        assert!(error.is_retryable() && error.retry_after.is_some(), "{route}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_02_a_recursive_query_runs_in_one_process() {
    let (cluster, _) = Setup::cluster(2).start_with_tpch().await;
    let session = cluster.session().await;
    let sql = "WITH RECURSIVE up AS (
            SELECT n_nationkey AS n FROM nation WHERE n_nationkey = 0
            UNION ALL SELECT n + 1 FROM up WHERE n < 9
        ) SELECT sum(n) FROM up";
    session.set("polarway.direct_max_bytes", "1B").await;
    assert!(explain(&session, sql).await.starts_with("direct: a recursive query"));
    assert_eq!(session.value(sql).await, "45");
    session.set_route("staged").await;
    let error = session.error(sql).await;
    assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
    assert!(error.hint.is_some());
}
