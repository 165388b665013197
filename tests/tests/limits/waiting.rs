//! Queries that wait for a slot.

use std::time::Duration;

use polarway_tests::{Setup, http, until, usage};

const CEILING: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_waits_for_a_slot_gets_it_when_another_is_cancelled() {
    let (cluster, _data) = Setup::up().slots(1).start_with_tpch().await;
    let session = cluster.session().await;
    session.set_route("staged").await;
    let pid = cluster.front.pid();
    let before = usage::cpu_seconds(pid);
    let busy = session.clone();
    let endless = tokio::spawn(async move {
        busy.query("SELECT count(*) FROM lineitem a JOIN lineitem b ON a.l_orderkey % 7 < b.l_partkey % 11")
            .await
    });
    until("it computes", CEILING, || async { (usage::cpu_seconds(pid) > before + 1.0).then_some(()) }).await;
    let waiting = tokio::spawn(async move { session.value("SELECT sum(n_regionkey) FROM nation").await });
    until("two queries run", CEILING, || async {
        (http::metric(cluster.http(), "polarway_queries_running").await == 2.0).then_some(())
    })
    .await;
    endless.abort();
    assert_eq!(waiting.await.unwrap(), "50");
    assert_eq!(http::metric(cluster.http(), "polarway_attempts_resubmitted_total").await, 0.0);
}
