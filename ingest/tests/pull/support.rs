//! Servers that follow a script, and a sink that remembers.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Decimal128Type, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use futures::{SinkExt, StreamExt};
use parking_lot::Mutex;
use polarway_common::SystemClock;
use polarway_ingest::pull::*;
use polarway_storage::catalog::feed::FeedSpec;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};
use tokio_util::sync::CancellationToken;

pub const PATIENCE: Duration = Duration::from_secs(20);

/// What the server was told.
#[derive(Debug, Default)]
pub struct Heard {
    pub requests: Vec<Request>,
    pub messages: Vec<String>,
}

pub type Shared = Arc<Mutex<Heard>>;

/// Accepts connections for ever, and runs the script for each with its number, from 0 on.
pub struct Server {
    pub port: u16,
    pub heard: Shared,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn start<F: Future<Output = ()> + Send>(
        script: impl Fn(usize, TcpStream, Shared) -> F + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, heard) = (listener.local_addr().unwrap().port(), Shared::default());
        let shared = heard.clone();
        let task = tokio::spawn(async move {
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                script(number, stream, shared.clone()).await;
            }
        });
        Self { port, heard, task }
    }

    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/feed", self.port)
    }
}

/// An upgraded connection on the server's side.
pub struct Peer<S> {
    pub socket: WebSocketStream<S>,
    heard: Shared,
}

pub async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(stream: S, heard: &Shared) -> Peer<S> {
    let requests = heard.clone();
    #[allow(clippy::result_large_err)]
    let note = |request: &Request, response: Response| {
        requests.lock().requests.push(request.clone());
        Ok(response)
    };
    Peer { socket: accept_hdr_async(stream, note).await.unwrap(), heard: heard.clone() }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub async fn send(&mut self, text: impl Into<String>) {
        self.socket.send(Message::text(text.into())).await.unwrap();
    }

    /// The next text, which is kept too; answers pings meanwhile. None at the end.
    pub async fn text(&mut self) -> Option<String> {
        while let Some(Ok(message)) = self.socket.next().await {
            if let Message::Text(text) = message {
                self.heard.lock().messages.push(text.to_string());
                return Some(text.to_string());
            }
        }
        None
    }

    /// Reads until the client goes.
    pub async fn stay(mut self) {
        while self.text().await.is_some() {}
    }

    pub async fn close(mut self) {
        self.socket.close(None).await.unwrap();
        while let Some(Ok(_)) = self.socket.next().await {}
    }
}

/// Remembers all batches.
#[derive(Debug, Default)]
pub struct Sink {
    pub batches: Mutex<Vec<FeedBatch>>,
    pub attempts: Mutex<Vec<u64>>,
    /// So many attempts fail.
    pub failures: Mutex<usize>,
    pub delay: Mutex<Duration>,
    changed: Notify,
}

#[async_trait]
impl FeedSink for Sink {
    async fn write(&self, batch: FeedBatch) -> Result<(), SinkError> {
        self.attempts.lock().push(batch.number);
        let delay = *self.delay.lock();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let fails = {
            let mut failures = self.failures.lock();
            let fails = *failures > 0;
            *failures = failures.saturating_sub(1);
            fails
        };
        if fails {
            return Err(SinkError("the log is full".into()));
        }
        self.batches.lock().push(batch);
        self.changed.notify_waiters();
        Ok(())
    }
}

impl Sink {
    pub async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let changed = self.changed.notified();
                if condition(self) {
                    return;
                }
                let _ = tokio::time::timeout(Duration::from_millis(20), changed).await;
            }
        });
        if waited.await.is_err() {
            panic!("not reached: {what}; {} rows, {:?}, {:?}", self.rows(), self.gaps(), self.bad());
        }
    }

    pub fn rows(&self) -> usize {
        self.batches.lock().iter().map(|batch| batch.rows.num_rows()).sum()
    }

    pub fn gaps(&self) -> Vec<Gap> {
        self.batches.lock().iter().flat_map(|batch| batch.gaps.to_vec()).collect()
    }

    pub fn kinds(&self) -> Vec<GapKind> {
        self.gaps().iter().map(|gap| gap.kind).collect()
    }

    pub fn has(&self, kind: GapKind) -> bool {
        self.kinds().contains(&kind)
    }

    pub fn bad(&self) -> Vec<(String, String)> {
        let rows: Vec<_> = self.batches.lock().iter().flat_map(|batch| batch.bad.to_vec()).collect();
        rows.iter()
            .map(|row| (row.reason.to_string(), String::from_utf8_lossy(&row.bytes).into_owned()))
            .collect()
    }

    pub fn decimals(&self, column: &str) -> Vec<Option<i128>> {
        let values = |batch: &FeedBatch| {
            let array = batch.rows.column_by_name(column).unwrap().clone();
            array.as_primitive::<Decimal128Type>().iter().collect::<Vec<_>>()
        };
        self.batches.lock().iter().flat_map(values).collect()
    }

    pub fn integers(&self, column: &str) -> Vec<Option<i64>> {
        let values = |batch: &FeedBatch| {
            let array = batch.rows.column_by_name(column).unwrap().clone();
            array.as_primitive::<Int64Type>().iter().collect::<Vec<_>>()
        };
        self.batches.lock().iter().flat_map(values).collect()
    }

    pub fn strings(&self, column: &str) -> Vec<Option<String>> {
        let values = |batch: &FeedBatch| {
            let array = batch.rows.column_by_name(column).unwrap().clone();
            array.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
        };
        self.batches.lock().iter().flat_map(values).collect()
    }
}

pub fn schema(fields: &[(&str, DataType, bool)]) -> SchemaRef {
    let field = |(name, kind, nullable): &(&str, DataType, bool)| Field::new(*name, kind.clone(), *nullable);
    Arc::new(Schema::new(fields.iter().map(field).collect::<Vec<_>>()))
}

pub fn micros() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

pub fn trades() -> SchemaRef {
    schema(&[
        ("at", micros(), false),
        ("symbol", DataType::Utf8, false),
        ("price", DataType::Decimal128(18, 8), false),
        ("size", DataType::Decimal128(18, 8), true),
    ])
}

/// `{"n": 1}` and no more.
pub fn numbers() -> SchemaRef {
    schema(&[("n", DataType::Int64, true)])
}

pub fn policy() -> FeedPolicy {
    FeedPolicy { allowed: vec!["ws://127.0.0.1/".into()], ..FeedPolicy::default() }
}

/// What the feed's test changes.
pub struct Setup {
    pub url: String,
    pub schema: SchemaRef,
    pub policy: FeedPolicy,
    pub options: PullOptions,
}

impl Setup {
    pub fn new(server: &Server, schema: SchemaRef) -> Self {
        let url = server.url();
        let policy = FeedPolicy { allowed: vec![format!("ws://127.0.0.1:{}/", server.port)], ..policy() };
        Self { url, schema, policy, options: PullOptions::default() }
    }

    pub fn feed(self, options: &[(&str, &str)]) -> Result<PullFeed, PullError> {
        let mut all: BTreeMap<String, String> =
            [("url", self.url.as_str()), ("backoff_min", "10ms"), ("backoff_max", "50ms")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        all.extend(options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let spec = FeedSpec::parse(&all, &self.schema).unwrap();
        let (policy, clock) = (Arc::new(self.policy), Arc::new(SystemClock));
        PullFeed::new("public.feed", spec, self.schema, policy, self.options, clock, Box::new(RandomJitter))
    }

    pub fn run(self, options: &[(&str, &str)]) -> Running {
        let feed = self.feed(options).unwrap();
        let (status, sink, shutdown) = (feed.status(), Arc::new(Sink::default()), CancellationToken::new());
        let task = tokio::spawn(feed.run(sink.clone(), shutdown.clone()));
        Running { status, sink, shutdown, task }
    }
}

pub struct Running {
    pub status: Arc<FeedStatus>,
    pub sink: Arc<Sink>,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<Result<Ended, PullError>>,
}

impl Running {
    pub async fn stop(self) -> Ended {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap()
    }
}
