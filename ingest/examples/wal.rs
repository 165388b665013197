//! Latency at a fixed rate, and throughput. Run with `--release`; the first argument is the directory.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use polarway_ingest::wal::{Wal, WalError, WalOptions};
use tokio::sync::mpsc;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const RATE: u32 = 10_000;
const SECONDS: u32 = 5;

fn open(directory: &Path) -> Outcome<Arc<Wal>> {
    let directory = directory.to_owned();
    let options = WalOptions { directory, segment_bytes: 64 << 20, max_bytes: 8 << 30, queue: 4096 };
    Ok(Arc::new(Wal::open(options, |_, _| Ok(()))?.0))
}

fn report(what: &str, mut latencies: Vec<Duration>, took: Duration) -> Outcome<()> {
    latencies.sort_unstable();
    let at =
        |share: f64| latencies.get((latencies.len() as f64 * share) as usize).copied().unwrap_or_default();
    let rate = latencies.len() as f64 / took.as_secs_f64();
    let (p50, p99, max) = (at(0.5), at(0.99), latencies.last().copied().unwrap_or_default());
    writeln!(std::io::stdout(), "{what}: p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?}, {rate:.0}/s")?;
    Ok(())
}

/// Latency counts from when the append was due, so that a stall is not hidden by appends that it delays.
async fn paced(start: Instant, due: Duration) -> Instant {
    let due = start + due;
    // The timer ticks in milliseconds; between ticks the appends come in small bursts.
    if due > Instant::now() {
        tokio::time::sleep_until(due.into()).await;
    }
    due
}

/// One caller that does not wait for an append before it makes the next.
async fn one_caller(wal: Arc<Wal>, payload: Bytes) -> Outcome<Vec<Duration>> {
    let (sender, mut tickets) = mpsc::unbounded_channel();
    let waiter = tokio::spawn(async move {
        let mut latencies = Vec::new();
        while let Some((due, ticket)) = tickets.recv().await {
            let due: Instant = due;
            let ticket: polarway_ingest::wal::Ticket = ticket;
            ticket.await?;
            latencies.push(due.elapsed());
        }
        Ok::<_, WalError>(latencies)
    });
    let start = Instant::now();
    for i in 0..RATE * SECONDS {
        let due = paced(start, Duration::from_secs(1) * i / RATE).await;
        sender.send((due, wal.reserve().await?.enqueue(payload.clone())?))?;
    }
    drop(sender);
    Ok(waiter.await??)
}

/// Callers that each wait for their append before they make the next.
async fn callers(wal: Arc<Wal>, payload: Bytes, count: u32) -> Outcome<Vec<Duration>> {
    let start = Instant::now();
    let tasks: Vec<_> = (0..count)
        .map(|caller| {
            let (wal, payload) = (Arc::clone(&wal), payload.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                for i in 0..RATE * SECONDS / count {
                    let due = paced(start, Duration::from_secs(1) * (i * count + caller) / RATE).await;
                    wal.append(payload.clone()).await?;
                    latencies.push(due.elapsed());
                }
                Ok::<_, WalError>(latencies)
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    Ok(all)
}

async fn in_a_row(wal: &Wal, payload: &Bytes, count: usize) -> Outcome<Vec<Duration>> {
    let mut latencies = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        wal.append(payload.clone()).await?;
        latencies.push(start.elapsed());
    }
    Ok(latencies)
}

async fn throughput(wal: &Wal, megabytes: usize) -> Outcome<f64> {
    let payload = Bytes::from(vec![7; 64 << 10]);
    let start = Instant::now();
    let mut last = None;
    for _ in 0..megabytes * 16 {
        last = Some(wal.reserve().await?.enqueue(payload.clone())?);
    }
    if let Some(last) = last {
        last.await?;
    }
    Ok(megabytes as f64 * 1.048_576 / start.elapsed().as_secs_f64())
}

fn main() -> Outcome<()> {
    let parent = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(parent)?;
    let small = Bytes::from(vec![7; 100]);
    let wal = open(directory.path())?;
    tokio::runtime::Builder::new_multi_thread().enable_time().build()?.block_on(async {
        let start = Instant::now();
        report("1 caller, each append awaited", in_a_row(&wal, &small, 2000).await?, start.elapsed())?;
        let start = Instant::now();
        let latencies = tokio::spawn(one_caller(Arc::clone(&wal), small.clone())).await??;
        report("1 caller at 10,000/s", latencies, start.elapsed())?;
        let start = Instant::now();
        let latencies = tokio::spawn(callers(Arc::clone(&wal), small, 50)).await??;
        report("50 callers at 10,000/s together", latencies, start.elapsed())?;
        wal.trim(wal.end()).await?;
        let speed = throughput(&wal, 2048).await?;
        writeln!(std::io::stdout(), "64 KiB payloads: {speed:.0} MB/s")?;
        wal.close().await?;
        Ok(())
    })
}
