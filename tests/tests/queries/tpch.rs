//! The 22 TPC-H queries.

use std::collections::{BTreeMap, BTreeSet};

use polarway_tests::{Oracle, Setup, assert_same, http, tpch};

/// Queries that read so much that their first tasks need every slot of the cluster.
const LARGE: [usize; 3] = [9, 18, 21];

/// All queries over three executors, in stages.
async fn staged(setup: Setup) {
    let (cluster, data) = setup.start_with_tpch().await;
    let oracle = Oracle::tpch(&data).await;
    let session = cluster.session().await;
    session.set_route("staged").await;
    let mut tasks: BTreeMap<String, u64> = BTreeMap::new();
    for number in 1..=22 {
        let sql = tpch::query(number);
        let answer = session.ok(&sql).await;
        assert_eq!(answer.route, "staged", "query {number}");
        assert_same(&format!("query {number}"), &answer, &*oracle.answer(&sql).await, tpch::order(number));
        let progress = session.progress(&answer.query_id).await;
        assert_eq!(progress.attempt, 1, "query {number}: {progress:?}");
        assert!(progress.stages.len() >= 2, "query {number}: {progress:?}");
        assert!(
            progress.stages.iter().all(|stage| stage.done == stage.tasks),
            "query {number}: {progress:?}"
        );
        if LARGE.contains(&number) {
            let working = progress.executors.values().filter(|share| share.tasks > 0).count();
            assert_eq!(working, 3, "query {number}: {progress:?}");
        }
        for (executor, share) in progress.executors {
            *tasks.entry(executor).or_default() += share.tasks;
        }
    }
    assert_eq!(tasks.len(), 3, "all three executors work: {tasks:?}");
    let names: BTreeSet<&str> = tasks.keys().map(|id| &id[..id.len().min("executor-1".len())]).collect();
    assert_eq!(names, BTreeSet::from(["executor-1", "executor-2", "executor-3"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_01_tpch_staged_over_three_executors() {
    staged(Setup::cluster(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_01_tpch_staged_and_read_from_the_executors() {
    staged(Setup::cluster(3).set("scheduler.results", "direct")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_01_tpch_direct_on_executors() {
    let (cluster, data) = Setup::cluster(3).start_with_tpch().await;
    let oracle = Oracle::tpch(&data).await;
    let session = cluster.session().await;
    for number in 1..=22 {
        let sql = tpch::query(number);
        let answer = session.ok(&sql).await;
        assert_eq!(answer.route, "direct", "query {number}");
        assert_same(&format!("query {number}"), &answer, &*oracle.answer(&sql).await, tpch::order(number));
    }
    let mut started = 0.0;
    for executor in &cluster.executors {
        started += http::metric(executor.http(), "polarway_executor_tasks_started_total").await;
    }
    assert_eq!(started, 22.0, "each direct query is one plan on one executor");
    assert_eq!(cluster.metric("polarway_queries_staged_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_01_tpch_in_one_process() {
    let (cluster, data) = Setup::up().start_with_tpch().await;
    let oracle = Oracle::tpch(&data).await;
    let session = cluster.session().await;
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        for number in 1..=22 {
            let sql = tpch::query(number);
            let answer = session.ok(&sql).await;
            assert_eq!(answer.route, route, "query {number}");
            assert_same(
                &format!("query {number}"),
                &answer,
                &*oracle.answer(&sql).await,
                tpch::order(number),
            );
        }
    }
}
