//! A scheduler that dies: its queries fail in a way that says to try again, and nothing else is lost.

use std::time::Duration;

use polarway_tests::{Oracle, Setup, assert_same, tpch, until};

const CEILING: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn scheduler_death_fails_its_queries_and_keeps_the_catalog() {
    let (mut cluster, data) = Setup::cluster(2).start_with_tpch().await;
    let oracle = Oracle::tpch(&data).await;
    let address = cluster.grpc();
    cluster.session().await.ok("CREATE VIEW rich AS SELECT * FROM customer WHERE c_acctbal > 9000").await;
    for route in ["staged", "direct"] {
        let session = cluster.session().await;
        session.set_route(route).await;
        let running = tokio::spawn(async move { session.query(&tpch::query(21)).await });
        until("the query runs", CEILING, || async { (cluster.running_tasks().await > 0.0).then_some(()) })
            .await;
        cluster.front.kill();
        let error = running.await.unwrap().expect_err("the scheduler is gone");
        assert!(error.is_retryable(), "{route}: {:?}: {error}", error.kind);
        assert!(error.hint.is_some(), "{route}: {error}");

        cluster.start_front_at(address);
        cluster.until_executors(2).await;
        // Executors end what worked for the one that died.
        cluster.until_no_shuffle().await;
        until("no task of the old scheduler runs", CEILING, || async {
            (cluster.running_tasks().await == 0.0).then_some(())
        })
        .await;
        let session = cluster.session().await;
        session.set_route(route).await;
        for number in [5, 6] {
            let sql = tpch::query(number);
            let answer = session.ok(&sql).await;
            assert_same(
                &format!("{route}, query {number}"),
                &answer,
                &*oracle.answer(&sql).await,
                tpch::order(number),
            );
        }
        assert_ne!(session.value("SELECT count(c_name) FROM rich").await, "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scheduler_death_of_one_process_leaves_no_files_at_the_next_start() {
    let (mut cluster, data) = Setup::up().start_with_tpch().await;
    let oracle = Oracle::tpch(&data).await;
    let session = cluster.session().await;
    session.set_route("staged").await;
    let running = tokio::spawn(async move { session.query(&tpch::query(21)).await });
    until("there are shuffle files", CEILING, || async {
        (!cluster.job_directories("").is_empty()).then_some(())
    })
    .await;
    cluster.front.kill();
    let error = running.await.unwrap().expect_err("the server is gone");
    assert!(error.is_retryable(), "{:?}: {error}", error.kind);
    assert!(!cluster.job_directories("").is_empty(), "the test shows nothing");

    cluster.start_front_again();
    cluster.until_executors(1).await;
    assert!(cluster.job_directories("").is_empty(), "{:?}", cluster.job_directories(""));
    let session = cluster.session().await;
    session.set_route("staged").await;
    let sql = tpch::query(21);
    assert_same("query 21", &session.ok(&sql).await, &*oracle.answer(&sql).await, tpch::order(21));
}
