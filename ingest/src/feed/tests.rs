//! Frames over real sockets into streams over real logs.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use async_trait::async_trait;
use futures::{SinkExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use polarway_common::SystemClock;
use polarway_identity::{Identity, Security};
use polarway_metastore::{EmbeddedMetaStore, MetaStore};
use polarway_storage::directory::ObjectDirectory;
use polarway_storage::streams::{Claimant, Ownership, Previous};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::Durability;
use crate::decode::DecodeOptions;
use crate::hot::samples::{rows, schema};
use crate::ownership::Tenure;
use crate::seal::Layout;
use crate::socket::{Feed, OpenError, Options, SocketMetrics, Streams, serve};
use crate::stream::{Live, SealPolicy, StreamOptions};

/// No step of these tests takes so long unless it hangs.
const CEILING: Duration = Duration::from_secs(60);

/// One stream and its dead letters, served on loopback.
struct Server {
    directory: Arc<tempfile::TempDir>,
    meta: Arc<dyn MetaStore>,
    store: Arc<InMemory>,
    stream: Arc<Live>,
    dead: Arc<Live>,
    address: String,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

struct One {
    stream: Arc<Live>,
    dead: Arc<Live>,
}

#[async_trait]
impl Streams for One {
    async fn open(&self, name: &str, producer: Option<&str>) -> Result<Arc<dyn Feed>, OpenError> {
        if name != "ticks" {
            return Err(OpenError::Unknown);
        }
        let options = IntakeOptions {
            decode: DecodeOptions::default(),
            frame_limit: 64 << 20,
            ack: Durability::Wal,
            clock: Arc::new(SystemClock),
        };
        Intake::new(Arc::clone(&self.stream), Arc::clone(&self.dead), producer.map(Arc::from), options)
            .map(|intake| Arc::new(intake) as Arc<dyn Feed>)
            .map_err(|error| OpenError::Internal(error.to_string()))
    }
}

impl Server {
    async fn start() -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let meta = EmbeddedMetaStore::open(directory.path().join("meta.redb")).await.unwrap();
        Self::over(directory, Arc::new(meta), Arc::new(InMemory::new())).await
    }

    async fn over(directory: Arc<tempfile::TempDir>, meta: Arc<dyn MetaStore>, store: Arc<InMemory>) -> Self {
        let mut tasks = vec![];
        let mut open = async |id: &str, schema: SchemaRef| {
            let options = StreamOptions {
                id: id.into(),
                name: format!("public.{id}"),
                schema,
                layout: Layout::default(),
                seal: SealPolicy { rows: 1000, bytes: u64::MAX, age: Duration::from_secs(3600) },
                log: directory.path().join(id),
                log_limit: 1 << 30,
                hot_limit: 64 << 20,
                grace: Duration::ZERO,
                key: None,
                retention: None,
                clock: Arc::new(SystemClock),
                tenure: Tenure::alone(),
            };
            let sealed = ObjectDirectory::new(store.clone(), Path::from(format!("streams/{id}")), None);
            let claimant = Claimant { node: "here".into(), address: "here:1".into(), fence: None };
            let ownership =
                Ownership::claim(Arc::clone(&meta), sealed, id, &claimant, Previous::Own).await.unwrap();
            let (live, following) = Live::open(options, ownership).await.unwrap();
            let (follower, keeper) = (Arc::clone(&live), Arc::clone(&live));
            tasks.push(tokio::spawn(async move { follower.follow(following).await }));
            tasks.push(tokio::spawn(async move { keeper.keep().await }));
            live
        };
        let stream = open("ticks", schema()).await;
        let dead = open("ticks_dead_letters", dead_letter_schema()).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stop = CancellationToken::new();
        let one = Arc::new(One { stream: Arc::clone(&stream), dead: Arc::clone(&dead) });
        let stopped = stop.clone();
        tasks.push(tokio::spawn(async move {
            let metrics = Arc::new(SocketMetrics::default());
            serve(listener, one, Security::plain(Identity::open()), Options::default(), metrics, stopped)
                .await
                .unwrap();
        }));
        Self { directory, meta, store, stream, dead, address, stop, tasks }
    }

    async fn stop(self) -> (Arc<tempfile::TempDir>, Arc<dyn MetaStore>, Arc<InMemory>) {
        self.stop.cancel();
        self.stream.close().await.unwrap();
        self.dead.close().await.unwrap();
        for task in self.tasks {
            task.await.unwrap();
        }
        (self.directory, self.meta, self.store)
    }

    async fn restart(self) -> Self {
        let (directory, meta, store) = self.stop().await;
        Self::over(directory, meta, store).await
    }

    async fn connect(&self, query: &str) -> Client {
        let tcp = TcpStream::connect(&self.address).await.unwrap();
        let url = format!("ws://{}/v1/streams/ticks{query}", self.address);
        let (socket, _) = client_async(url, tcp).await.unwrap();
        let mut client = Client(socket);
        let hello = client.next().await;
        assert_eq!(hello["stream"], "public.ticks");
        client
    }

    /// Rows that are not sealed.
    fn hot(live: &Live) -> RecordBatch {
        let view = live.view();
        let parts: Vec<_> =
            view.hot.runs.iter().filter_map(|run| run.part(view.hot.from, view.hot.to)).collect();
        concat_batches(&view.hot.schema, &parts).unwrap()
    }

    fn ids(&self) -> Vec<i64> {
        Self::hot(&self.stream).column(0).as_primitive::<Int64Type>().values().to_vec()
    }

    /// Sealed rows and those in memory.
    fn count(live: &Live) -> u64 {
        let view = live.view();
        view.manifest().rows() + view.hot.rows()
    }
}

struct Client(WebSocketStream<TcpStream>);

impl Client {
    async fn send(&mut self, text: impl Into<String>) {
        self.0.send(Message::text(text.into())).await.unwrap();
    }

    async fn next(&mut self) -> Value {
        let message =
            tokio::time::timeout(CEILING, self.0.next()).await.expect("no message").unwrap().unwrap();
        serde_json::from_str(message.to_text().unwrap()).unwrap()
    }

    /// Reads acknowledgements up to this number; gives the rows and the bad rows that they told.
    async fn acknowledged(&mut self, number: u64) -> (u64, u64) {
        let (mut rows, mut bad) = (0, 0);
        loop {
            let ack = self.next().await;
            assert_eq!(ack["durability"], "wal", "{ack}");
            rows += ack["rows"].as_u64().unwrap();
            bad += ack["bad"].as_u64().unwrap();
            if ack["ack"].as_u64().unwrap() >= number {
                return (rows, bad);
            }
        }
    }
}

fn arrow_frame(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(vec![], batch.schema_ref()).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_frame_becomes_rows_and_bad_ones_dead_letters() {
    let server = Server::start().await;
    let mut client = server.connect("").await;
    client.send(r#"{"id": 0, "text": "an object"}"#).await;
    client.send(r#"[{"id": 1}, {"id": "one"}, {"id": 2, "text": null}]"#).await;
    client.0.send(Message::binary(arrow_frame(&rows(3, 2)))).await.unwrap();
    client.send("{\"id\": 5}\n{\"id\": 6, \"other\": 1}\nnonsense\n{\"id\": 7}").await;
    client.0.send(Message::binary(b"not arrow".to_vec())).await.unwrap();
    client.send("[]").await;
    assert_eq!(client.acknowledged(6).await, (7, 4));
    assert_eq!(server.ids(), [0, 1, 2, 3, 4, 5, 7]);

    let letters = Server::hot(&server.dead);
    let text =
        |column: usize| letters.column(column).as_string::<i32>().iter().map(|text| text.unwrap_or("-"));
    let reasons: Vec<&str> = text(3).collect();
    assert!(reasons[0].contains("id") && reasons[0].contains("\"one\""), "{reasons:?}");
    assert!(reasons[1].contains("other") && reasons[2].contains("not JSON"), "{reasons:?}");
    assert_eq!(text(4).collect::<Vec<_>>(), ["id", "-", "-", "-"]);
    let bytes: Vec<&[u8]> = letters.column(5).as_binary::<i32>().iter().flatten().collect();
    assert_eq!(bytes[..3], [&br#"{"id": "one"}"#[..], br#"{"id": 6, "other": 1}"#, b"nonsense"]);
    assert_eq!(bytes[3], b"not arrow");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_at_once() {
    let server = Server::start().await;
    let clients = (0..50u64).map(|number| {
        let server = &server;
        async move {
            let mut client = server.connect(&format!("?producer=p{number}")).await;
            for frame in 1..=40u64 {
                let id = number * 1000 + frame;
                client
                    .send(if frame % 10 == 0 { "broken".to_owned() } else { format!("{{\"id\": {id}}}") })
                    .await;
            }
            client.acknowledged(40).await
        }
    });
    for told in futures::future::join_all(clients).await {
        assert_eq!(told, (36, 4));
    }
    assert_eq!((Server::count(&server.stream), Server::count(&server.dead)), (50 * 36, 50 * 4));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_doubles_nothing() {
    let server = Server::start().await;
    let mut client = server.connect("?producer=p").await;
    client.send("#3\n{\"id\": 0}\nbad").await;
    client.acknowledged(3).await;
    drop(client);

    let server = server.restart().await;
    assert_eq!(server.stream.last("p"), 3);
    let mut client = server.connect("?producer=p").await;
    // It did not see the acknowledgement, and sends the frame again.
    client.send("#3\n{\"id\": 0}\nbad").await;
    client.send("#4\n{\"id\": 1}").await;
    assert_eq!(client.acknowledged(4).await, (1, 0));
    assert_eq!(server.ids(), [0, 1]);
    assert_eq!(Server::count(&server.dead), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_may_wait_for_the_object_store() {
    let server = Server::start().await;
    let mut client = server.connect("?ack=object_store").await;
    let lines: Vec<String> = (0..1000).map(|id| format!("{{\"id\": {id}}}")).collect();
    client.send(lines.join("\n")).await;
    let ack = client.next().await;
    assert_eq!((ack["ack"].as_u64(), ack["durability"].as_str()), (Some(1), Some("object_store")));
    assert_eq!(server.stream.view().manifest().rows(), 1000);
    server.stop().await;
}
