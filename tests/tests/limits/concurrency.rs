//! Many clients at once: every answer right, no error. Rates and times are printed and not judged.

use std::time::{Duration, Instant};

use futures::future::join_all;
use polarway_common::Error;
use polarway_tests::{Answer, Cluster, Oracle, Order, Session, Setup, difference, until};

/// Connections that the clients of a round share, as a pool does.
const CONNECTIONS: usize = 32;
/// Queries of a round, about; few clients send fewer.
const QUERIES: usize = 1000;

const STATEMENTS: [&str; 8] = [
    "SELECT n_name FROM nation WHERE n_nationkey = 7",
    "SELECT c_name, c_acctbal FROM customer WHERE c_custkey = 4711",
    "SELECT o_orderpriority, count(*), sum(o_totalprice) FROM orders GROUP BY o_orderpriority",
    "SELECT r_name, count(*) FROM nation JOIN region ON n_regionkey = r_regionkey GROUP BY r_name",
    "SELECT l_orderkey, l_linenumber, l_quantity FROM lineitem WHERE l_orderkey = 1024",
    "SELECT p_partkey, p_name FROM part ORDER BY p_retailprice DESC, p_partkey LIMIT 5",
    "SELECT s_name FROM supplier WHERE s_acctbal > (SELECT avg(s_acctbal) * 2 FROM supplier)",
    "SELECT count(DISTINCT o_custkey) FROM orders WHERE o_orderdate >= DATE '1997-01-01'",
];

/// One query and what came of it.
struct Outcome {
    sql: &'static str,
    took: Duration,
    answer: Result<Answer, Error>,
}

/// Sends some statements, one after the other; each client begins with another.
async fn one_client(session: Session, number: usize, queries: usize) -> Vec<Outcome> {
    let mut outcomes = vec![];
    for step in 0..queries {
        let sql = STATEMENTS[(number + step) % STATEMENTS.len()];
        let begin = Instant::now();
        let answer = session.query(sql).await;
        outcomes.push(Outcome { sql, took: begin.elapsed(), answer });
    }
    outcomes
}

async fn all_right(cluster: &Cluster, oracle: &Oracle, clients: usize, route: &str) {
    let connect = |_| async move {
        let session = cluster.session().await;
        session.set_route(route).await;
        session
    };
    let pool = join_all((0..clients.min(CONNECTIONS)).map(connect)).await;
    let queries = (QUERIES / clients).clamp(2, STATEMENTS.len());
    let begin = Instant::now();
    let working: Vec<_> = (0..clients)
        .map(|number| tokio::spawn(one_client(pool[number % pool.len()].clone(), number, queries)))
        .collect();
    let mut outcomes = vec![];
    for client in join_all(working).await {
        outcomes.extend(client.unwrap());
    }
    let seconds = begin.elapsed().as_secs_f64();

    let mut faults = vec![];
    for Outcome { sql, answer, .. } in &outcomes {
        let fault = match answer {
            Ok(answer) => {
                let order = if sql.contains("LIMIT") { Order::Total } else { Order::None };
                difference(answer, &*oracle.answer(sql).await, order)
            }
            Err(error) => Some(format!("{:?}: {error}", error.kind)),
        };
        faults.extend(fault.map(|fault| format!("{sql}: {fault}")));
    }
    assert!(faults.is_empty(), "{clients} clients, {route}: {} faults\n{}", faults.len(), faults.join("\n"));
    assert_eq!(outcomes.len(), clients * queries);
    let mut times: Vec<Duration> = outcomes.iter().map(|outcome| outcome.took).collect();
    times.sort();
    println!(
        "{route}, {clients} clients on {} connections: {} queries, {:.0} a second, p50 {:.1} ms, p99 {:.1} ms",
        pool.len(),
        times.len(),
        times.len() as f64 / seconds,
        percentile(&times, 50),
        percentile(&times, 99),
    );
}

/// In milliseconds, by nearest rank; the times must be sorted.
fn percentile(times: &[Duration], percent: usize) -> f64 {
    let rank = (times.len() * percent).div_ceil(100).max(1);
    times[rank - 1].as_secs_f64() * 1000.0
}

/// Nothing failed, nothing was refused, and nothing runs on.
async fn nothing_amiss(cluster: &Cluster) {
    for metric in ["polarway_queries_failed_total", "polarway_admission_refused_total"] {
        assert_eq!(cluster.metric(metric).await, 0.0, "{metric}");
    }
    until("no query runs", Duration::from_secs(60), || async {
        (cluster.metric("polarway_queries_running").await == 0.0).then_some(())
    })
    .await;
}

/// All of a round's clients find a place in the queue, and time enough in it on a slow machine.
fn patient(setup: Setup) -> Setup {
    setup.set("admission.max_queued", 1000).set("admission.queue_timeout", "10min")
}

#[tokio::test(flavor = "multi_thread")]
async fn row_10_many_clients_of_one_process() {
    let (cluster, data) = patient(Setup::up()).start_with_tpch().await;
    let oracle = Oracle::tpch(&data).await;
    for clients in [1, 10, 50, 100, 500] {
        all_right(&cluster, &oracle, clients, "direct").await;
    }
    for clients in [1, 10, 30] {
        all_right(&cluster, &oracle, clients, "staged").await;
    }
    nothing_amiss(&cluster).await;
    cluster.until_no_shuffle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_10_many_clients_of_a_cluster() {
    let (cluster, data) = patient(Setup::cluster(2)).start_with_tpch().await;
    let oracle = Oracle::tpch(&data).await;
    for (clients, route) in
        [(1, "direct"), (10, "direct"), (50, "direct"), (1, "staged"), (10, "staged"), (30, "staged")]
    {
        all_right(&cluster, &oracle, clients, route).await;
    }
    nothing_amiss(&cluster).await;
    cluster.until_no_shuffle().await;
}
