//! Schedulers that die or stand still while they have queries.

use std::time::{Duration, Instant};

use polarway_tests::etcd::Etcd;
use polarway_tests::{Oracle, Order, Session, Setup, assert_same, until};

use crate::stored::{Begun, FIRST_STAGES, LONG, Stored};

const CEILING: Duration = Duration::from_secs(120);

/// Two schedulers over two executors; the session is at the second one first.
async fn started(etcd: &Etcd) -> Stored {
    let setup = Setup::cluster(2).slots(1).schedulers(2);
    let setup = setup.set("metastore.etcd", etcd.url()).set("metastore.lease_ttl", "2s");
    let mut stored = Stored::start(setup).await;
    let mut fronts = stored.cluster.fronts();
    fronts.reverse();
    stored.session = Session::with_any(&fronts).await;
    // At one scheduler; it holds at the other.
    stored.session.set_route("staged").await;
    stored
}

async fn until_first_stages_are_stored(stored: &Stored) -> (Begun, f64) {
    let query = stored.begin(LONG).await;
    stored.until_stored(&query, &FIRST_STAGES).await;
    let tasks = stored.cluster.sum_of_executors("polarway_shuffle_outputs_stored_total").await;
    (query, tasks)
}

#[tokio::test(flavor = "multi_thread")]
async fn row_13_a_query_of_a_dead_scheduler_goes_on_at_another() {
    let etcd = Etcd::start().await;
    let mut stored = started(&etcd).await;
    let oracle = Oracle::tpch(&stored.data).await;
    let expected = oracle.answer(LONG).await;
    let (query, finished) = until_first_stages_are_stored(&stored).await;
    let began = Instant::now();
    stored.cluster.others.remove(0).kill();
    let answer = query.reading.await.unwrap().unwrap();
    println!("the answer came {:?} after the kill", began.elapsed());
    assert_same("after the death of its scheduler", &answer, &expected, Order::None);
    let progress = stored.session.progress(&query.id).await;
    assert_eq!(progress.attempt, 2);
    assert_eq!(stored.cluster.metric("polarway_queries_taken_over_total").await, 1.0);
    let reused = stored.cluster.sum_of_executors("polarway_executor_tasks_reused_total").await;
    assert_eq!(reused, finished, "tasks that were finished and stored ran again");
    stored.until_no_objects("after the query").await;
    // What was set at the one that died holds here.
    let answer = stored.session.ok("SELECT sum(n_nationkey) FROM nation").await;
    assert_eq!((answer.route.as_str(), answer.value().as_str()), ("staged", "300"));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_13_a_scheduler_that_stood_still_changes_nothing_when_it_goes_on() {
    let etcd = Etcd::start().await;
    let mut stored = started(&etcd).await;
    let oracle = Oracle::tpch(&stored.data).await;
    let expected = oracle.answer(LONG).await;
    let (query, _) = until_first_stages_are_stored(&stored).await;
    stored.cluster.others[0].signal("STOP");
    let answer = query.reading.await.unwrap().unwrap();
    assert_same("while its scheduler stood still", &answer, &expected, Order::None);
    // In the middle of the next one.
    let query = stored.begin(LONG).await;
    until("the query runs", CEILING, || async { (stored.cluster.running_tasks().await > 0.0).then_some(()) })
        .await;
    stored.cluster.others[0].signal("CONT");
    let answer = query.reading.await.unwrap().unwrap();
    assert_same("after it went on", &answer, &expected, Order::None);
    stored.until_no_objects("after the queries").await;
    stored.cluster.until_no_shuffle().await;
    // And it is of use again.
    let session = Session::connect(stored.cluster.others[0].grpc).await;
    session.set_route("staged").await;
    assert_eq!(session.value("SELECT sum(n_nationkey) FROM nation").await, "300");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_21_one_ticket_that_is_sent_three_times_is_one_job() {
    let etcd = Etcd::start().await;
    let stored = started(&etcd).await;
    let oracle = Oracle::tpch(&stored.data).await;
    let expected = oracle.answer(LONG).await;
    let first = stored.begin(LONG).await;
    until("the query runs", CEILING, || async { (stored.cluster.running_tasks().await > 0.0).then_some(()) })
        .await;
    // The reply is lost, and the client asks the same again, at the other scheduler and at this one.
    let mut fronts = stored.cluster.fronts();
    let mut answers = vec![];
    for _ in 0..2 {
        let session = Session::with_any(&fronts).await;
        fronts.reverse();
        answers.push(session.again(&first.handle).await);
    }
    for answer in answers {
        assert_same("asked again", &answer.unwrap(), &expected, Order::None);
    }
    // Whoever asked before has been overtaken, or got the same answer.
    if let Ok(answer) = first.reading.await.unwrap() {
        assert_same("asked first", &answer, &expected, Order::None);
    }
    stored.until_no_objects("after the query").await;
    stored.cluster.until_no_shuffle().await;
}
