//! The 99 TPC-DS queries: wide plans, deep plans, and every shape of subquery.

use polarway_tests::{Cluster, Oracle, Order, Setup, difference, tpcds};

async fn start(setup: Setup) -> (Cluster, std::path::PathBuf, Oracle) {
    let data = tpcds::data("0.01");
    let cluster = setup.allow(&data).start().await;
    let (session, oracle) = (cluster.session().await, Oracle::default());
    for table in tpcds::tables(&data) {
        let location = data.join("tables").join(&table);
        let sql =
            format!("CREATE EXTERNAL TABLE {table} STORED AS PARQUET LOCATION '{}/'", location.display());
        session.ok(&sql).await;
        oracle.parquet(&table, &location).await;
    }
    (cluster, data, oracle)
}

/// All queries on one route; a query that DataFusion itself cannot plan must be refused, not answered.
async fn all(setup: Setup, route: &str) {
    let (cluster, data, oracle) = start(setup).await;
    let session = cluster.session().await;
    session.set_route(route).await;
    let (mut faults, mut same) = (vec![], 0);
    for number in 1..=99 {
        let sql = tpcds::query(&data, number);
        let fault = match (session.query(&sql).await, oracle.try_answer(&sql).await) {
            (Ok(answer), Ok(expected)) => {
                same += 1;
                difference(&answer, &expected, Order::None)
            }
            (Err(_), Err(_)) => None,
            (Ok(_), Err(error)) => Some(format!("answered, where the oracle says: {error}")),
            (Err(error), Ok(_)) => Some(format!("{:?}: {error}", error.kind)),
        };
        faults.extend(fault.map(|fault| format!("query {number}: {fault}")));
    }
    assert!(faults.is_empty(), "{} faults, {route}:\n{}", faults.len(), faults.join("\n"));
    assert!(same >= 95, "only {same} queries could be compared");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_01_tpcds_staged_over_three_executors() {
    all(Setup::cluster(3), "staged").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_01_tpcds_direct_on_executors() {
    all(Setup::cluster(2), "direct").await;
}
