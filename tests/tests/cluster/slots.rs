//! Task slots of executors that several schedulers send tasks to.

use std::time::Duration;

use polarway_client::CancelOutcome;
use polarway_tests::etcd::Etcd;
use polarway_tests::{Oracle, Session, Setup, assert_same, http, tpch, until};

const CEILING: Duration = Duration::from_secs(120);
const SLOTS: f64 = 2.0;

#[tokio::test(flavor = "multi_thread")]
async fn slots_are_neither_given_twice_nor_lost() {
    let etcd = Etcd::start().await;
    let setup = Setup::cluster(2).slots(SLOTS as usize).schedulers(2).set("metastore.etcd", etcd.url());
    let (cluster, data) = setup.start_with_tpch().await;
    let oracle = Oracle::tpch(&data).await;
    let used = async || {
        let mut used = vec![];
        for executor in &cluster.executors {
            used.push(http::metric(executor.http(), "polarway_executor_slots_used").await);
        }
        used
    };
    let mut running = vec![];
    for front in cluster.fronts() {
        for number in [3, 5, 9, 18, 21] {
            let session = Session::connect(front).await;
            session.set_route("staged").await;
            running.push((number, tokio::spawn(async move { session.query(&tpch::query(number)).await })));
        }
    }
    let mut most: f64 = 0.0;
    while running.iter().any(|(_, query)| !query.is_finished()) {
        let now = used().await.into_iter().fold(0.0, f64::max);
        assert!(now <= SLOTS, "{now} slots of {SLOTS} are in use");
        most = most.max(now);
    }
    assert_eq!(most, SLOTS, "the test shows nothing");
    for (number, query) in running {
        let answer = query.await.unwrap().unwrap();
        let sql = tpch::query(number);
        assert_same(&sql, &answer, &*oracle.answer(&sql).await, tpch::order(number));
    }
    // What is cancelled gives its slots back, to both.
    for round in 0..20 {
        let session = Session::connect(cluster.fronts()[round % 2]).await;
        session.set_route("staged").await;
        let mut stream = session.client.execute(&tpch::query(21)).await.unwrap();
        let handle = stream.handle().clone();
        let reading = tokio::spawn(async move { stream.next_batch().await.map(|_| ()) });
        tokio::time::sleep(Duration::from_millis(20 * round as u64)).await;
        let cancelled = session.client.cancel(&handle).await.unwrap();
        let outcome = reading.await.unwrap();
        assert!(outcome.is_err() || cancelled == CancelOutcome::NotRunning || round > 0, "{outcome:?}");
    }
    until("all slots are free", CEILING, || async {
        used().await.iter().all(|used| *used == 0.0).then_some(())
    })
    .await;
    for front in cluster.fronts() {
        let session = Session::connect(front).await;
        session.set_route("staged").await;
        let sql = tpch::query(5);
        assert_same(&sql, &session.ok(&sql).await, &*oracle.answer(&sql).await, tpch::order(5));
    }
    cluster.until_no_shuffle().await;
}
