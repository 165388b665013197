//! Data that is larger than memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::AsArray;
use polarway_tests::usage::{self, MIB};
use polarway_tests::{Cluster, Session, Setup, http, tpch};

/// The pool of the server.
const POOL: &str = "256MiB";
/// What the process may grow to, whatever the data.
const CAP: u64 = 512 * MIB;

/// Watches a metric until it is dropped; keeps the highest value.
struct Watch {
    highest: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    fn start(cluster: &Cluster, metric: &'static str) -> Self {
        let (highest, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let server = cluster.http();
        let (seen, stopped) = (Arc::clone(&highest), Arc::clone(&stop));
        tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                seen.fetch_max(http::metric(server, metric).await as u64, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self { highest, stop }
    }

    fn highest(&self) -> u64 {
        self.highest.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Works at one scale; `megabytes` is the size of the table in memory.
async fn finish_in_bounded_memory(scale_factor: &str, megabytes: u64) {
    let data = tpch::some_data(scale_factor, &["lineitem"]);
    let cluster = Setup::up().allow(&data).set("query.memory_limit", POOL).start().await;
    let session = cluster.session().await;
    session.set_route("direct").await;
    let location = data.join("lineitem").display().to_string();
    session.ok(&format!("CREATE EXTERNAL TABLE lineitem STORED AS PARQUET LOCATION '{location}/'")).await;
    let rows: u64 = session.value("SELECT count(*) FROM lineitem").await.parse().unwrap();

    for work in ["aggregate", "sort", "join"] {
        let spilled = Watch::start(&cluster, "polarway_spill_used_bytes");
        match work {
            "aggregate" => aggregate(&session, rows).await,
            "sort" => sort(&session, rows).await,
            _ => join(&session, rows).await,
        }
        let peak = usage::peak_rss(cluster.front.pid());
        println!("{megabytes} MB, {work}: peak {} MiB, spilled {} MiB", peak / MIB, spilled.highest() / MIB);
        assert!(peak < CAP, "{work} over {megabytes} MB: {} MiB", peak / MIB);
        assert!(spilled.highest() > 0, "{work} over {megabytes} MB did not spill");
    }
    assert_eq!(cluster.metric("polarway_spill_used_bytes").await, 0.0, "spill files are left");
    assert_eq!(cluster.metric("polarway_memory_reserved_bytes").await, 0.0, "memory is still reserved");
}

async fn aggregate(session: &Session, rows: u64) {
    let sql = "SELECT count(*) AS groups, sum(n) AS rows, sum(length(text)) > 0 AS texts FROM (
            SELECT l_orderkey, l_linenumber, l_partkey, max(l_comment) AS text, count(*) AS n
            FROM lineitem GROUP BY l_orderkey, l_linenumber, l_partkey)";
    assert_eq!(session.ok(sql).await.cells(), [[rows.to_string(), rows.to_string(), "true".to_owned()]]);
}

async fn sort(session: &Session, rows: u64) {
    let sql = "SELECT l_comment, l_orderkey, l_partkey, l_suppkey, l_extendedprice, l_shipinstruct FROM lineitem ORDER BY l_comment";
    let mut stream = session.client.execute(sql).await.unwrap();
    let (mut last, mut count) = (String::new(), 0);
    while let Some(batch) = stream.next_batch().await.unwrap() {
        count += batch.num_rows() as u64;
        for text in batch.column(0).as_string::<i32>().iter().flatten() {
            assert!(last.as_str() <= text, "`{last}` stands before `{text}`");
            if last != text {
                last = text.to_owned();
            }
        }
    }
    assert_eq!(count, rows);
}

async fn join(session: &Session, rows: u64) {
    let sql = "SELECT count(*) FROM lineitem a JOIN lineitem b
        ON a.l_orderkey = b.l_orderkey AND a.l_linenumber = b.l_linenumber
        WHERE a.l_comment || a.l_shipmode = b.l_comment || b.l_shipmode AND a.l_shipinstruct = b.l_shipinstruct";
    assert_eq!(session.value(sql).await, rows.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_09_one_gigabyte_in_256_mib() {
    finish_in_bounded_memory("1", 1000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_09_two_gigabytes_in_256_mib() {
    finish_in_bounded_memory("2", 2000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_09_four_gigabytes_in_256_mib() {
    finish_in_bounded_memory("4", 4000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_09_explain_analyze_counts_spills() {
    let (cluster, _) = Setup::up().set("query.memory_limit", "128MiB").start_with_tpch().await;
    let session = cluster.session().await;
    session.set_route("direct").await;
    let sql = "EXPLAIN ANALYZE SELECT * FROM lineitem ORDER BY l_comment, l_orderkey, l_linenumber";
    let text = session.ok(sql).await.text();
    let spilled = text.split("spill_count=").skip(1).any(|rest| !rest.starts_with('0'));
    assert!(spilled, "{text}");
    assert!(text.contains("held"), "{text}");
}
