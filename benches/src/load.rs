//! Timing of requests: one alone, or a fixed number of clients that each send the next as soon as the last is done.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::failure::{Failure, Result};
use crate::record::FailureCount;

/// Pause of a client whose request failed, so that an instant refusal does not become a busy loop.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(20);

/// Longest message kept of an error.
const MESSAGE_LENGTH: usize = 300;

/// Something that answers SQL.
pub trait Client: Send + 'static {
    /// Runs `sql`, reads the whole answer, and counts its rows.
    fn query(&mut self, sql: &str) -> impl Future<Output = Result<u64>> + Send;
}

/// One request that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub millis: f64,
    pub rows: u64,
}

/// What came of one window under load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// From the first request's start to the last one's end.
    pub seconds: f64,
    pub samples_ms: Vec<f64>,
    /// Rows of the last answer.
    pub rows: Option<u64>,
    pub failures: Vec<FailureCount>,
}

/// Runs one request within `patience`.
///
/// # Errors
/// The request's own, or that it took too long.
pub async fn timed(client: &mut impl Client, sql: &str, patience: Duration) -> Result<Sample> {
    let begin = Instant::now();
    let rows = timeout(patience, client.query(sql))
        .await
        .unwrap_or_else(|_| Err(Failure::new(format!("no answer in {} s", patience.as_secs_f64()))))?;
    Ok(Sample { millis: millis(begin.elapsed()), rows })
}

/// Lets every client send `sql` back to back for `window`. A request that has begun is waited for, so that the
/// slowest ones count; the rate is therefore to be taken over [`Load::seconds`].
pub async fn closed_loop<C: Client>(
    clients: Vec<C>,
    sql: &str,
    window: Duration,
    patience: Duration,
) -> Load {
    let sql: Arc<str> = sql.into();
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for client in clients {
        tasks.spawn(one_client(client, Arc::clone(&sql), begin + window, patience));
    }
    let mut whole = Load::default();
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(load) => whole.merge(load),
            Err(error) => whole.fail(&Failure::from(error), 1),
        }
    }
    whole.seconds = begin.elapsed().as_secs_f64();
    whole
}

async fn one_client<C: Client>(mut client: C, sql: Arc<str>, until: Instant, patience: Duration) -> Load {
    let mut load = Load::default();
    while Instant::now() < until {
        load.one_more(&mut client, &sql, patience).await;
    }
    load
}

/// Lets `light` send `short` one after the other while `heavy` sends `long` back to back: some that do not count, so
/// that the long one is well under way, and then `requests`. The last long request is waited for. Gives both loads.
pub async fn beside<C: Client>(
    mut light: C,
    short: &str,
    mut heavy: C,
    long: &str,
    (unmeasured, requests): (usize, usize),
    patience: Duration,
) -> (Load, Load) {
    let (long, enough) = (long.to_owned(), Arc::new(AtomicBool::new(false)));
    let seen = Arc::clone(&enough);
    let working = tokio::spawn(async move {
        let (begin, mut load) = (Instant::now(), Load::default());
        while !seen.load(Ordering::Relaxed) {
            load.one_more(&mut heavy, &long, patience).await;
        }
        load.seconds = begin.elapsed().as_secs_f64();
        load
    });
    let mut first = Load::default();
    for _ in 0..unmeasured {
        first.one_more(&mut light, short, patience).await;
    }
    let (begin, mut load) = (Instant::now(), Load::default());
    for _ in 0..requests {
        load.one_more(&mut light, short, patience).await;
    }
    load.seconds = begin.elapsed().as_secs_f64();
    enough.store(true, Ordering::Relaxed);
    let worked = working.await.unwrap_or_else(|error| {
        let mut broken = Load::default();
        broken.fail(&Failure::from(error), 1);
        broken
    });
    (load, worked)
}

impl Load {
    /// Sends one request and adds what came of it.
    async fn one_more<C: Client>(&mut self, client: &mut C, sql: &str, patience: Duration) {
        match timed(client, sql, patience).await {
            Ok(sample) => {
                self.samples_ms.push(sample.millis);
                self.rows = Some(sample.rows);
            }
            Err(failure) => {
                self.fail(&failure, 1);
                sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }

    fn merge(&mut self, other: Load) {
        self.samples_ms.extend(other.samples_ms);
        self.rows = other.rows.or(self.rows);
        for failure in other.failures {
            self.count(failure.message, failure.count);
        }
    }

    fn fail(&mut self, failure: &Failure, count: u64) {
        self.count(short(&failure.to_string()), count);
    }

    fn count(&mut self, message: String, count: u64) {
        match self.failures.iter_mut().find(|known| known.message == message) {
            Some(known) => known.count += count,
            None => self.failures.push(FailureCount { message, count }),
        }
    }
}

/// An error's text on one line, cut to a length that fits a record.
pub fn short(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MESSAGE_LENGTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Milliseconds to the microsecond.
pub fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake {
        delay: Duration,
        fails: bool,
    }

    impl Client for Fake {
        async fn query(&mut self, _sql: &str) -> Result<u64> {
            sleep(self.delay).await;
            if self.fails { Err(Failure::new("no\n  luck")) } else { Ok(3) }
        }
    }

    #[tokio::test]
    async fn every_client_sends_back_to_back() {
        let clients = (0..4).map(|_| Fake { delay: Duration::from_millis(20), fails: false }).collect();
        let load = closed_loop(clients, "x", Duration::from_millis(300), Duration::from_secs(5)).await;
        // At most 15 each fit the window, and the one under way at its end is waited for.
        assert!((8..=64).contains(&load.samples_ms.len()), "{}", load.samples_ms.len());
        assert!(load.samples_ms.iter().all(|sample| *sample >= 19.0));
        assert!(load.seconds >= 0.3);
        assert_eq!((load.rows, load.failures), (Some(3), vec![]));
    }

    #[tokio::test]
    async fn failures_are_counted_and_slowed() {
        let clients = (0..2).map(|_| Fake { delay: Duration::ZERO, fails: true }).collect();
        let load = closed_loop(clients, "x", Duration::from_millis(100), Duration::from_secs(5)).await;
        assert_eq!(load.samples_ms.len(), 0);
        assert_eq!(load.failures.len(), 1);
        assert_eq!(load.failures[0].message, "no luck");
        assert!((2..=12).contains(&load.failures[0].count), "{}", load.failures[0].count);
    }

    #[tokio::test]
    async fn short_requests_are_timed_while_a_long_one_runs() {
        let client = |millis| Fake { delay: Duration::from_millis(millis), fails: false };
        let patience = Duration::from_secs(5);
        let (short, long) = beside(client(2), "short", client(40), "long", (3, 30), patience).await;
        assert_eq!((short.samples_ms.len(), short.rows), (30, Some(3)));
        assert!(!long.samples_ms.is_empty() && long.samples_ms.iter().all(|sample| *sample >= 39.0));
        assert!(short.failures.is_empty() && long.failures.is_empty());
        assert!(long.seconds >= short.seconds);
    }

    #[tokio::test]
    async fn patience_ends() {
        let mut client = Fake { delay: Duration::from_secs(60), fails: false };
        let error = timed(&mut client, "x", Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(error.to_string(), "no answer in 0.02 s");
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        assert_eq!(short("a\n  b"), "a b");
        assert_eq!(short(&"é".repeat(500)).chars().count(), MESSAGE_LENGTH + 1);
    }
}
