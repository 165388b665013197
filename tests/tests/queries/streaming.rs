//! Results that are read while they are made, in messages of a bounded size and in bounded memory.

use std::time::Duration;

use arrow_flight::Ticket;
use arrow_flight::flight_service_client::FlightServiceClient;
use polarway_tests::usage::{self, MIB};
use polarway_tests::{Cluster, Setup, flight, http, until};
use tonic::transport::Channel;

/// One scan with about 95 MB of Arrow data for each copy of its rows.
fn wide(copies: usize) -> String {
    let rows: Vec<String> = (1..=copies).map(|copy| format!("({copy})")).collect();
    format!("SELECT l.* FROM lineitem l CROSS JOIN (VALUES {}) AS copies", rows.join(", "))
}

/// What a process may grow by while a result of more than 300 MB passes through it.
const GROWTH: u64 = 160 * MIB;
/// How much higher a process may stand with a result twice as large: about a quarter of what the larger one has more.
/// Chance moves the height; a process that kept results would stand hundreds of megabytes higher.
const FLAT: u64 = 96 * MIB;

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

/// A result that was read.
struct Read {
    bytes: u64,
    messages: usize,
    largest: u64,
    /// The highest that each process stood at meanwhile, in bytes.
    peaks: Vec<u64>,
}

/// Reads a result as any driver does, and stops reading for a while.
async fn read(client: &FlightServiceClient<Channel>, copies: usize, pids: &[u32]) -> Read {
    pids.iter().for_each(|pid| usage::reset_peak(*pid));
    let info = flight::info(client, &wide(copies)).await;
    let ticket: Ticket = flight::ticket(&info);
    let mut stream = client.clone().do_get(ticket).await.unwrap().into_inner();
    let mut read = Read { bytes: 0, messages: 0, largest: 0, peaks: vec![] };
    while let Some(message) = stream.message().await.unwrap() {
        let size = flight::size(&message) as u64;
        read.bytes += size;
        read.messages += 1;
        read.largest = read.largest.max(size);
        if read.messages == 20 {
            // A client that stops reading stops the query; it does not fill the servers' memory.
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    }
    read.peaks = pids.iter().map(|pid| usage::peak_rss(*pid)).collect();
    read
}

/// Reads a result and one twice as large, and asserts that no message is large, that no process grows much, and that
/// the larger result makes none of them grow further.
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
    let small = read(&client, 4, &pids).await;
    let large = read(&client, 8, &pids).await;
    assert!(large.bytes > 600 * MIB, "{route}: only {} bytes", large.bytes);
    assert!(large.bytes > small.bytes * 19 / 10, "{route}: {} after {} bytes", large.bytes, small.bytes);
    for read in [&small, &large] {
        assert!(read.largest <= 4 * MIB, "{route}: a message of {} bytes", read.largest);
        println!("{route}: {} bytes in {} messages of at most {}", read.bytes, read.messages, read.largest);
    }
    for (index, pid) in pids.iter().enumerate() {
        let (before, small, large) = (before[index], small.peaks[index], large.peaks[index]);
        println!(
            "{route}: process {pid}: {} MiB before, at most {} MiB and {} MiB",
            before / MIB,
            small / MIB,
            large / MIB
        );
        let scans = *pid != std::process::id() && (route == "direct" || *pid != cluster.front.pid());
        let limit = if scans { GROWTH * 2 } else { GROWTH };
        let growth = small.max(large).saturating_sub(before);
        assert!(growth < limit, "{route}: process {pid} grew by {} MiB", growth / MIB);
        let further = large.saturating_sub(small);
        assert!(further < FLAT, "{route}: twice the result made process {pid} grow by {} MiB", further / MIB);
    }
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
