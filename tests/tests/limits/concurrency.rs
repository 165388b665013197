//! Many clients at once: every answer right, no error.

use futures::future::join_all;
use polarway_tests::{Cluster, Oracle, Order, Session, Setup, difference};

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

/// Each client runs all statements, each beginning with another.
async fn all_right(cluster: &Cluster, oracle: &Oracle, clients: usize, route: &str) {
    for sql in STATEMENTS {
        oracle.answer(sql).await;
    }
    let client = |number: usize| async move {
        let session = Session::connect(cluster.grpc()).await;
        session.set_route(route).await;
        let mut faults = vec![];
        for step in 0..STATEMENTS.len() {
            let sql = STATEMENTS[(number + step) % STATEMENTS.len()];
            let fault = match session.query(sql).await {
                Ok(answer) => {
                    let order = if sql.contains("LIMIT") { Order::Total } else { Order::None };
                    difference(&answer, &*oracle.answer(sql).await, order)
                }
                Err(error) => Some(format!("{:?}: {error}", error.kind)),
            };
            faults.extend(fault.map(|fault| format!("client {number}: {sql}: {fault}")));
        }
        faults
    };
    let faults = join_all((0..clients).map(client)).await.concat();
    assert!(faults.is_empty(), "{clients} clients, {route}: {} faults\n{}", faults.len(), faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_10_many_clients_of_one_process() {
    let (cluster, data) = Setup::up().start_with_tpch().await;
    let oracle = Oracle::tpch(&data).await;
    for clients in [1, 10, 50] {
        all_right(&cluster, &oracle, clients, "direct").await;
    }
    all_right(&cluster, &oracle, 10, "staged").await;
    assert_eq!(cluster.metric("polarway_queries_failed_total").await, 0.0);
    assert_eq!(cluster.metric("polarway_queries_running").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_10_many_clients_of_a_cluster() {
    let (cluster, data) = Setup::cluster(2).start_with_tpch().await;
    let oracle = Oracle::tpch(&data).await;
    for (clients, route) in
        [(1, "direct"), (10, "direct"), (50, "direct"), (1, "staged"), (10, "staged"), (30, "staged")]
    {
        all_right(&cluster, &oracle, clients, route).await;
    }
    assert_eq!(cluster.metric("polarway_queries_failed_total").await, 0.0);
    cluster.until_no_shuffle().await;
}
