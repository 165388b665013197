//! Reads a server's metrics, as who watches it does.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::failure::{Context, Failure, Result};

const PERIOD: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);

/// The metrics that the server shows at this HTTP address, below the head of its answer.
///
/// # Errors
/// It does not answer, or with another status than 200.
pub async fn metrics(http: SocketAddr) -> Result<String> {
    let answer = timeout(PATIENCE, ask(http)).await;
    let answer =
        answer.unwrap_or_else(|_| Err(Failure::new(format!("no answer in {} s", PATIENCE.as_secs()))));
    answer.context(|| "reading metrics")
}

async fn ask(http: SocketAddr) -> Result<String> {
    let mut socket = TcpStream::connect(http).await?;
    // Version 1.0, so that the answer comes in one piece and ends with the connection.
    socket.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
    let mut text = String::new();
    socket.read_to_string(&mut text).await?;
    let status = text.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(Failure::new(format!("the answer was `{status}`")));
    }
    Ok(text)
}

/// How often metrics were read.
#[derive(Debug, Default)]
pub struct Scrapes(Mutex<Counted>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    pub read: u64,
    pub failed: u64,
    /// Why, the last time.
    pub failure: Option<Failure>,
}

impl Scrapes {
    pub fn counted(&self) -> Counted {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, outcome: Result<String>) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(_) => counted.read += 1,
            Err(failure) => {
                counted.failed += 1;
                counted.failure = Some(failure);
            }
        }
    }
}

/// Reads a server's metrics once in each second that it works, and not while another one is measured.
#[derive(Debug)]
pub struct Scraper {
    http: SocketAddr,
    scrapes: Arc<Scrapes>,
    /// Time of work until the next.
    wait: Duration,
}

impl Scraper {
    /// One that begins with the work.
    pub fn new(http: SocketAddr, scrapes: Arc<Scrapes>) -> Self {
        Self { http, scrapes, wait: Duration::ZERO }
    }

    /// Waits for `work`, and reads metrics beside it when it is time. A reading that is under way at its end is waited
    /// for, so that it is nobody else's burden.
    pub async fn beside<T>(&mut self, mut work: BoxFuture<'_, T>) -> T {
        let mut due = Instant::now() + self.wait;
        let mut reading = JoinSet::new();
        let done = loop {
            tokio::select! {
                biased;
                done = &mut work => break done,
                () = sleep_until(due) => {
                    let (http, scrapes) = (self.http, Arc::clone(&self.scrapes));
                    reading.spawn(async move { scrapes.count(metrics(http).await) });
                    due += PERIOD;
                }
            }
        };
        self.wait = due.saturating_duration_since(Instant::now());
        while reading.join_next().await.is_some() {}
        done
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::net::TcpListener;
    use tokio::time::sleep;

    use super::*;

    /// Gives one of the answers to each that asks.
    async fn serve(answers: &'static [&'static str]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for answer in answers {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut asked = [0; 25];
                socket.read_exact(&mut asked).await.unwrap();
                assert_eq!(&asked, b"GET /metrics HTTP/1.0\r\n\r\n");
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        http
    }

    #[tokio::test]
    async fn metrics_are_read_once_in_a_second_of_work() {
        let http = serve(&["HTTP/1.0 200 OK\r\n\r\nx 1\n", "HTTP/1.0 503 Service Unavailable\r\n\r\n"]).await;
        let scrapes = Arc::new(Scrapes::default());
        let mut scraper = Scraper::new(http, Arc::clone(&scrapes));
        for number in 0..3 {
            let work = sleep(Duration::from_millis(400)).map(|()| number);
            assert_eq!(scraper.beside(work.boxed()).await, number);
            // Somebody else's turn does not count.
            sleep(Duration::from_millis(500)).await;
        }
        let failure = Failure::new("reading metrics: the answer was `HTTP/1.0 503 Service Unavailable`");
        assert_eq!(scrapes.counted(), Counted { read: 1, failed: 1, failure: Some(failure) });
    }

    #[tokio::test]
    async fn the_text_comes_with_the_answer() {
        let http = serve(&["HTTP/1.0 200 OK\r\n\r\nx 1\n"]).await;
        assert!(metrics(http).await.unwrap().ends_with("\r\n\r\nx 1\n"));
    }
}
