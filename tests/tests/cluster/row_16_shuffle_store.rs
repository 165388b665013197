//! Shuffle output that outlives its executor in an object store.

use polarway_client::CancelOutcome;
use polarway_tests::{Oracle, Order, Setup, assert_same, tpch};

use crate::stored::{FIRST_STAGES, LONG, Stored};

#[tokio::test(flavor = "multi_thread")]
async fn row_16_a_finished_stage_is_not_run_again_when_its_executor_dies() {
    let mut stored = Stored::start(Setup::cluster(3).slots(1)).await;
    let oracle = Oracle::tpch(&stored.data).await;
    let expected = oracle.answer(LONG).await;
    let query = stored.begin(LONG).await;
    stored.until_stored(&query, &FIRST_STAGES).await;
    assert!(!stored.objects().is_empty());
    let before = stored.session.progress(&query.id).await;
    stored.cluster.kill_executor(0);
    let answer = query.reading.await.unwrap().unwrap();
    assert_same("with a death", &answer, &expected, Order::None);
    let after = stored.session.progress(&query.id).await;
    println!("before {before:?}\nafter {after:?}");
    let stages = |progress: &polarway_client::QueryProgress| {
        let finished = progress.stages.iter().filter(|stage| FIRST_STAGES.contains(&stage.id));
        finished.map(|stage| (stage.id, stage.tasks, stage.done)).collect::<Vec<_>>()
    };
    assert_eq!(stages(&after), stages(&before), "tasks of finished stages ran again");
    // A stream that broke in its middle may have cost the attempt: then the next one has taken the finished stages over.
    if after.attempt > 1 {
        let finished: u64 = stages(&before).iter().map(|(_, _, done)| done).sum();
        let taken_over = stored.cluster.sum_of_executors("polarway_executor_tasks_reused_total").await;
        assert!(taken_over >= finished as f64, "{taken_over} of {finished} finished tasks were taken over");
    }
    stored.until_no_objects("after the query").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_16_nothing_is_left_after_a_cancel() {
    let stored = Stored::start(Setup::cluster(2)).await;
    let query = stored.begin(LONG).await;
    stored.until_stored(&query, &FIRST_STAGES).await;
    assert!(!stored.objects().is_empty());
    assert_ne!(stored.session.client.cancel(&query.handle).await.unwrap(), CancelOutcome::NotRunning);
    assert!(query.reading.await.unwrap().is_err());
    stored.until_no_objects("after a cancel").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_16_nothing_is_left_after_a_crash_of_the_scheduler() {
    let mut stored = Stored::start(Setup::cluster(2)).await;
    let query = stored.begin(LONG).await;
    stored.until_stored(&query, &FIRST_STAGES).await;
    assert!(!stored.objects().is_empty());
    let address = stored.cluster.grpc();
    stored.cluster.front.kill();
    assert!(query.reading.await.unwrap().is_err());
    assert!(!stored.objects().is_empty(), "nobody was there to remove them");
    stored.cluster.start_front_at(address);
    stored.cluster.until_executors(2).await;
    stored.until_no_objects("after a crash").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_16_durable_output_is_there_before_its_task_is_done() {
    let setup = Setup::cluster(2).slots(1).set("shuffle.mode", "durable").set("shuffle.upload_after", "1h");
    let stored = Stored::start(setup).await;
    let oracle = Oracle::tpch(&stored.data).await;
    for number in [3, 9, 18] {
        let sql = tpch::query(number);
        let answer = stored.session.ok(&sql).await;
        assert_same(&sql, &answer, &*oracle.answer(&sql).await, tpch::order(number));
        let done: u64 =
            stored.session.progress(&answer.query_id).await.stages.iter().map(|stage| stage.done).sum();
        assert!(done > 0);
    }
    let succeeded = stored.cluster.sum_of_executors("polarway_executor_tasks_succeeded_total").await;
    let copied = stored.cluster.sum_of_executors("polarway_shuffle_outputs_stored_total").await;
    assert_eq!(copied, succeeded);
    stored.until_no_objects("after the queries").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_16_objects_are_as_large_as_configured_and_analyze_tells_their_number() {
    let setup = Setup::cluster(2).slots(1).set("shuffle.mode", "durable").set("shuffle.object_size", "1MiB");
    let stored = Stored::start(setup).await;
    let rows = stored
        .session
        .ok("EXPLAIN ANALYZE SELECT count(*) FROM (SELECT DISTINCT l_orderkey, l_comment FROM lineitem)")
        .await;
    let told = rows.cells().into_iter().find(|row| row[0] == "shuffle_store").unwrap();
    println!("{told:?}");
    let count = async |name: &str| {
        stored.cluster.sum_of_executors(&format!("polarway_shuffle_store_{name}_total")).await
    };
    let (puts, bytes) = (count("puts").await, count("put_bytes").await);
    assert!(bytes > 8.0 * 1048576.0, "the test shows nothing: {bytes} bytes");
    // With a little more for the records of outputs, and less a probe of each executor and of the scheduler.
    assert!(puts * 1.1 * 1048576.0 > bytes, "{puts} objects of {bytes} bytes");
    let told_puts: f64 = told[1].split(' ').nth(2).unwrap().parse().unwrap();
    assert!(told_puts > 8.0 && told_puts <= puts, "{told:?}, and {puts} in all");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_16_an_object_that_nobody_knows_is_removed_when_it_is_old() {
    let stored = Stored::start(Setup::cluster(1).set("shuffle.orphan_after", "1s")).await;
    let left = stored.server.bucket("shuffle").join("below/q-1-0/w");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("00000000.pack"), "left by a crash").unwrap();
    assert_eq!(stored.objects().len(), 1);
    stored.until_no_objects("of a query that nobody knows").await;
}
