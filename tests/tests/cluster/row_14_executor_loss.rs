//! Executors that die while their finished output has copies.

use std::time::{Duration, Instant};

use polarway_tests::{Oracle, Order, Setup, assert_same, chaos, tpch, until};
use rand::Rng;

use crate::stored::{FIRST_STAGES, LONG, Stored};

const CEILING: Duration = Duration::from_secs(120);
const KILLS: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn row_14_fifty_kills_change_no_answer_and_cost_no_attempt_that_copies_could_save() {
    // What a victim has written and could not tell of is found when it is old.
    let setup = Setup::cluster(3).slots(1).set("shuffle.mode", "durable").set("shuffle.orphan_after", "20s");
    let mut stored = Stored::start(setup).await;
    let oracle = Oracle::tpch(&stored.data).await;
    let mut chaos = chaos::seeded();
    let mut queries = vec![];
    for number in [3, 5, 9, 18, 21] {
        let sql = tpch::query(number);
        let expected = oracle.answer(&sql).await;
        let started = Instant::now();
        assert_same(&sql, &stored.session.ok(&sql).await, &expected, tpch::order(number));
        queries.push((number, sql, expected, started.elapsed()));
    }
    let (mut hit, mut again) = (0, 0);
    for round in 0..KILLS {
        let (number, sql, expected, usual) = &queries[round % queries.len()];
        let delay = usual.mul_f64(chaos.random_range(0.0..1.0));
        let victim = chaos.random_range(0..stored.cluster.executors.len());
        let query = stored.begin(sql).await;
        tokio::time::sleep(delay).await;
        hit += usize::from(!query.reading.is_finished());
        stored.cluster.kill_executor(victim);
        stored.cluster.add_executor();
        let what = format!("round {round}, query {number}, kill of executor {victim} after {delay:?}");
        let answer = query.reading.await.unwrap().unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_same(&what, &answer, expected, tpch::order(*number));
        let attempt = stored.session.progress(&query.id).await.attempt;
        again += usize::from(attempt > 1);
        println!("{what}: attempt {attempt}");
        stored.cluster.until_executors(3).await;
    }
    println!("{hit} of {KILLS} kills hit a running query; {again} took another attempt");
    assert!(hit > KILLS / 4, "the test shows little");
    // All output has copies when its task is done: an attempt is only over when a report was lost with its executor.
    assert!(again <= KILLS / 5, "{again} attempts");
    stored.cluster.until_no_shuffle().await;
    stored.until_no_objects("after the queries").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_14_without_executors_a_query_waits_and_goes_on_with_what_is_stored() {
    let mut stored = Stored::start(Setup::cluster(2).slots(1).set("scheduler.executor_wait", "60s")).await;
    let oracle = Oracle::tpch(&stored.data).await;
    let expected = oracle.answer(LONG).await;
    let query = stored.begin(LONG).await;
    stored.until_stored(&query, &FIRST_STAGES).await;
    stored.cluster.kill_executor(1);
    stored.cluster.kill_executor(0);
    stored.cluster.until_executors(0).await;
    stored.cluster.add_executor();
    let answer = query.reading.await.unwrap().unwrap();
    assert_same("after a while without executors", &answer, &expected, Order::None);
    let progress = stored.session.progress(&query.id).await;
    assert_eq!(progress.attempt, 1, "{progress:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_18_an_executor_that_joins_in_the_middle_gets_tasks() {
    let mut stored = Stored::start(Setup::cluster(1).slots(1)).await;
    stored.session.set("datafusion.execution.target_partitions", "16").await;
    let query = stored.begin(LONG).await;
    stored.until_stored(&query, &FIRST_STAGES).await;
    let joined = Instant::now();
    let index = stored.cluster.add_executor();
    let executor = stored.cluster.executors[index].http();
    until("it has got tasks", CEILING, || async move {
        (polarway_tests::http::metric(executor, "polarway_executor_tasks_started_total").await > 0.0)
            .then_some(())
    })
    .await;
    println!("it got tasks {:?} after its start", joined.elapsed());
    query.reading.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn row_19_an_executor_that_is_asked_to_go_costs_no_query_and_no_task() {
    let mut stored = Stored::start(Setup::cluster(2).slots(1)).await;
    let oracle = Oracle::tpch(&stored.data).await;
    let expected = oracle.answer(LONG).await;
    let query = stored.begin(LONG).await;
    stored.until_stored(&query, &FIRST_STAGES).await;
    let before = stored.session.progress(&query.id).await;
    let mut leaving = stored.cluster.executors.remove(0);
    let status = leaving.stop().await;
    assert!(status.success(), "{status}");
    let answer = query.reading.await.unwrap().unwrap();
    assert_same("after it left", &answer, &expected, Order::None);
    let after = stored.session.progress(&query.id).await;
    assert_eq!(after.attempt, 1, "{after:?}");
    let tasks = |progress: &polarway_client::QueryProgress| {
        let begun = progress.stages.iter().filter(|stage| stage.id <= 4);
        begun.map(|stage| (stage.id, stage.tasks)).collect::<Vec<_>>()
    };
    assert_eq!(tasks(&after), tasks(&before), "something ran again");
}
