//! Results that are read while they are made, in messages of a bounded size and in bounded memory.

use std::time::Duration;

use arrow_flight::Ticket;
use polarway_tests::usage::{self, MIB};
use polarway_tests::{Cluster, Setup, flight, http, until};

/// One scan with about 95 MB of Arrow data for each copy of its rows.
fn wide(copies: usize) -> String {
    let rows: Vec<String> = (1..=copies).map(|copy| format!("({copy})")).collect();
    format!("SELECT l.* FROM lineitem l CROSS JOIN (VALUES {}) AS copies", rows.join(", "))
}

/// What a process may grow by while a result of more than 300 MB passes through it.
const GROWTH: u64 = 160 * MIB;

#[tokio::test(flavor = "multi_thread")]
async fn row_03_the_first_batch_comes_while_the_scan_runs() {
    let (cluster, _) = Setup::up().start_with_tpch().await;
    let session = cluster.session().await;
    let idle = cluster.metric("polarway_store_bytes_total").await;
    let mut stream = session.client.execute(&wide(8)).await.unwrap();
    assert_eq!(stream.route(), "direct");
    let id = stream.query_id().to_owned();
    let mut rows = stream.next_batch().await.unwrap().unwrap().num_rows();
    assert_eq!(http::query_state(cluster.http(), &id).await.as_deref(), Some("running"));
    let first = cluster.metric("polarway_store_bytes_total").await - idle;
    while let Some(batch) = stream.next_batch().await.unwrap() {
        rows += batch.num_rows();
    }
    let all = cluster.metric("polarway_store_bytes_total").await - idle;
    assert_eq!(rows, 8 * 600_572);
    assert!(first < all / 2.0, "{first} of {all} bytes had been asked for when the first batch was there");
    let http = cluster.http();
    until("the query has finished", Duration::from_secs(60), || async {
        (http::query_state(http, &id).await.as_deref() == Some("finished")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_03_the_first_batch_comes_while_an_executor_scans() {
    let (cluster, _) = Setup::cluster(1).start_with_tpch().await;
    let session = cluster.session().await;
    let mut stream = session.client.execute(&wide(8)).await.unwrap();
    assert_eq!(stream.route(), "direct");
    let mut rows = stream.next_batch().await.unwrap().unwrap().num_rows();
    assert_eq!(cluster.running_tasks().await, 1.0, "the executor still runs the plan");
    while let Some(batch) = stream.next_batch().await.unwrap() {
        rows += batch.num_rows();
    }
    assert_eq!(rows, 8 * 600_572);
    until("the executor has finished", Duration::from_secs(60), || async {
        (cluster.running_tasks().await == 0.0).then_some(())
    })
    .await;
}

/// Reads the result as any driver does, gives its rows' bytes, and asserts that no message is large and no process grows.
async fn stream_in_bounded_memory(cluster: &Cluster, route: &str) {
    let client = flight::connect(cluster.grpc()).await;
    for sql in [format!("SET polarway.route = '{route}'"), "SELECT count(l_comment) FROM lineitem".to_owned()]
    {
        let info = flight::info(&client, &sql).await;
        let mut stream = client.clone().do_get(flight::ticket(&info)).await.unwrap().into_inner();
        while stream.message().await.unwrap().is_some() {}
    }
    let mut pids = vec![cluster.front.pid(), std::process::id()];
    pids.extend(cluster.executors.iter().map(|executor| executor.pid()));
    let before: Vec<u64> = pids.iter().map(|pid| usage::rss(*pid)).collect();
    pids.iter().for_each(|pid| usage::reset_peak(*pid));

    let info = flight::info(&client, &wide(8)).await;
    let ticket: Ticket = flight::ticket(&info);
    let mut stream = client.clone().do_get(ticket).await.unwrap().into_inner();
    let (mut bytes, mut messages, mut largest) = (0, 0, 0);
    while let Some(message) = stream.message().await.unwrap() {
        let size = flight::size(&message);
        bytes += size;
        messages += 1;
        largest = largest.max(size);
        if messages == 20 {
            // A client that stops reading stops the query; it does not fill the servers' memory.
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    }
    assert!(bytes as u64 > 300 * MIB, "{route}: only {bytes} bytes");
    assert!(largest as u64 <= 4 * MIB, "{route}: a message of {largest} bytes");
    for (pid, before) in pids.iter().zip(before) {
        let growth = usage::peak_rss(*pid).saturating_sub(before);
        println!("{route}: process {pid}: {} MiB, grew by {} MiB", before / MIB, growth / MIB);
        let scans = *pid != std::process::id() && (route == "direct" || *pid != cluster.front.pid());
        let limit = if scans { GROWTH * 2 } else { GROWTH };
        assert!(
            growth < limit,
            "{route}: process {pid} grew by {} MiB for {} MiB",
            growth / MIB,
            bytes as u64 / MIB
        );
    }
    println!("{route}: {bytes} bytes in {messages} messages of at most {largest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_03_a_large_result_streams_in_bounded_memory_from_one_process() {
    let (cluster, _) = Setup::up().start_with_tpch().await;
    stream_in_bounded_memory(&cluster, "direct").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_03_a_large_result_streams_in_bounded_memory_from_executors() {
    let (cluster, _) = Setup::cluster(2).start_with_tpch().await;
    stream_in_bounded_memory(&cluster, "direct").await;
    stream_in_bounded_memory(&cluster, "staged").await;
    cluster.until_no_shuffle().await;
}
