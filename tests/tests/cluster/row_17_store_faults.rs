//! Object stores that fail now and then, or for good: for tables and for shuffle output alike.

use std::time::{Duration, Instant};

use polarway_common::ErrorKind;
use polarway_tests::s3::{Faults, S3Server, copy_tree};
use polarway_tests::{Cluster, Oracle, Session, Setup, assert_same, tpch, until};

const CEILING: Duration = Duration::from_secs(60);

/// TPC-H in a bucket, and copies of all shuffle output beside it.
async fn started() -> (S3Server, Cluster, Session) {
    let server = S3Server::start().await;
    copy_tree(&tpch::data("0.1"), &server.bucket("lake"));
    server.bucket("shuffle");
    let setup = server.configure(Setup::cluster(2)).allow("s3://lake").set("shuffle.url", "s3://shuffle/x");
    let cluster = setup.set("shuffle.mode", "durable").start().await;
    let session = cluster.session().await;
    for table in ["lineitem", "orders", "customer", "supplier", "nation", "region", "part", "partsupp"] {
        let create = format!("CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION 's3://lake/{table}/'");
        session.ok(&create).await;
    }
    (server, cluster, session)
}

#[tokio::test(flavor = "multi_thread")]
async fn row_17_queries_end_right_over_a_store_that_fails_now_and_then() {
    let oracle = Oracle::tpch(&tpch::data("0.1")).await;
    let (server, cluster, session) = started().await;
    let faults = [
        ("503", Faults { slow_down: 0.05, ..Faults::default() }),
        ("reset", Faults { cut: 0.05, ..Faults::default() }),
        ("slow", Faults { delay: Duration::from_millis(50), ..Faults::default() }),
    ];
    for (name, faults) in faults {
        server.fail(faults);
        for route in ["direct", "staged"] {
            session.set_route(route).await;
            for number in [1, 3, 9] {
                let sql = tpch::query(number);
                let answer = session.ok(&sql).await;
                let what = format!("{name}, {route}, query {number}");
                assert_same(&what, &answer, &*oracle.answer(&sql).await, tpch::order(number));
            }
        }
        let retried = cluster.sum_of_executors("polarway_shuffle_store_retries_total").await;
        println!("{name}: {retried} requests for shuffle output were made again so far");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_17_a_store_that_refuses_is_an_error_at_once() {
    let (server, cluster, session) = started().await;
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        server.fail(Faults { denied: true, ..Faults::default() });
        let began = Instant::now();
        let error = session.error("SELECT count(*) FROM lineitem WHERE l_comment LIKE '%x%'").await;
        println!("{route}: after {:?}: {error}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(10), "{route}: {:?}", began.elapsed());
        assert_eq!(error.kind, ErrorKind::PermissionDenied, "{route}: {error}");
        server.fail(Faults::default());
    }
    // Nothing of it is left.
    until("no query runs", CEILING, || async {
        (cluster.metric("polarway_queries_running").await == 0.0).then_some(())
    })
    .await;
    cluster.until_no_shuffle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_17_shuffle_output_that_has_to_be_durable_and_is_refused_is_an_error_at_once() {
    let (tables, copies) = (tpch::data("0.1"), S3Server::start().await);
    copies.bucket("shuffle");
    let setup = copies.configure(Setup::cluster(2)).allow(&tables).set("shuffle.url", "s3://shuffle/x");
    let cluster = setup.set("shuffle.mode", "durable").start().await;
    let session = cluster.session().await;
    tpch::create_tables(&session, &tables).await;
    session.set_route("staged").await;
    copies.fail(Faults { denied: true, ..Faults::default() });
    let began = Instant::now();
    let error = session.error(&tpch::query(3)).await;
    println!("after {:?}: {error}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(error.kind, ErrorKind::PermissionDenied, "{error}");
    // In the background nobody waits for it.
    session.set("polarway.shuffle", "write-behind").await;
    session.ok(&tpch::query(3)).await;
}
