//! Who may call what, over real sockets.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Action, FlightData, FlightDescriptor, PutResult, Ticket};
use futures::{StreamExt, TryStreamExt, stream};
use polarway_common::config::S3Config;
use polarway_common::{ErrorKind, Supervisor, SystemClock, bind};
use polarway_engine::live::{HotQuery, HotRows, NodeChannels, PutOptions, RemoteRows, StreamHost};
use polarway_identity::grpc::Callers;
use polarway_identity::{Credential, Identity};
use polarway_metastore::{EmbeddedMetaStore, Key, MetaStore, Txn};
use polarway_proto::status::error_from_status;
use polarway_proto::streams::{LOG_HEADER, action};
use polarway_storage::StoreRoot;
use polarway_storage::catalog::{Definition, StreamDefinition, StreamOptions};
use polarway_storage::streams::Node;
use tempfile::{NamedTempFile, TempDir};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::*;
use crate::feed::dead_letter_schema;
use crate::host::{HostOptions, Share};
use crate::hot::samples::{rows, schema};
use crate::identified::{ANA, PROCESS, RUTH, credential, identified, knows};
use crate::ownership::Tenure;
use crate::pull::FeedPolicy;
use crate::remote::RemoteStreams;
use crate::socket::SocketMetrics;

/// No step of these tests takes so long unless it hangs.
const CEILING: Duration = Duration::from_secs(60);

/// A process with the stream `ticks`, which knows `ana` and `ruth`.
struct Taker {
    address: String,
    meta: Arc<dyn MetaStore>,
    host: Arc<Host>,
    work: Supervisor,
    identity: Identity,
    users: NamedTempFile,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), Error>>,
    _directory: TempDir,
}

impl Taker {
    async fn start() -> Self {
        let (identity, users) = identified().await;
        let directory = tempfile::tempdir().unwrap();
        let meta = EmbeddedMetaStore::open(directory.path().join("meta.redb")).await.unwrap();
        let meta: Arc<dyn MetaStore> = Arc::new(meta);
        define(&*meta, "ticks", &schema(), None).await;
        define(&*meta, "ticks_dead_letters", &dead_letter_schema(), Some("ticks")).await;
        let (listener, bound) = bind(&"127.0.0.1:0".parse().unwrap(), "executor.listen").await.unwrap();
        let address = bound.to_string();
        let sealed = directory.path().join("sealed").display().to_string();
        let options = HostOptions {
            meta: Arc::clone(&meta),
            sealed: StoreRoot::open(&sealed, &S3Config::default(), "ingest.directory").unwrap(),
            logs: directory.path().join("logs"),
            log_limit: 1 << 30,
            hot_limit: 64 << 20,
            grace: Duration::ZERO,
            node: Node { name: "here".into(), address: address.clone(), ws: "here:1".into() },
            share: Share::All,
            tenure: Tenure::alone(),
            feeds: Arc::new(FeedPolicy::default()),
            socket: Arc::new(SocketMetrics::default()),
            clock: Arc::new(SystemClock),
        };
        let work = Supervisor::new();
        let host = Host::open(options, work.clone()).await.unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(
            listener,
            Arc::clone(&host),
            1 << 20,
            Security::plain(identity.clone()),
            stop.clone(),
        ));
        Self { address, meta, host, work, identity, users, stop, serving, _directory: directory }
    }

    async fn end(self) {
        self.stop.cancel();
        self.serving.await.unwrap().unwrap();
        self.host.close().await;
        self.work.shutdown(CEILING).await.unwrap();
    }

    async fn client(&self) -> FlightServiceClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        FlightServiceClient::new(endpoint.connect().await.unwrap())
    }

    /// The code of a put into `ticks`, or into the log of a stream that is not here.
    async fn put(&self, token: Option<&str>, log: bool) -> Code {
        let mut request = shown(token, stream::iter(frames(if log { "nothing" } else { "ticks" }).await));
        if log {
            request.metadata_mut().insert(LOG_HEADER, "1".parse().unwrap());
        }
        let answers = async {
            let answers = self.client().await.do_put(request).await?.into_inner();
            answers.try_collect::<Vec<PutResult>>().await
        };
        code(timeout(CEILING, answers).await.unwrap())
    }

    async fn act(&self, token: Option<&str>) -> Code {
        let action = Action { r#type: action::STATUS.to_owned(), ..Action::default() };
        let answers = async {
            let answers = self.client().await.do_action(shown(token, action)).await?.into_inner();
            answers.try_collect::<Vec<arrow_flight::Result>>().await
        };
        code(timeout(CEILING, answers).await.unwrap())
    }
}

async fn define(meta: &dyn MetaStore, name: &str, columns: &Schema, dead_letters_of: Option<&str>) {
    let definition = StreamDefinition {
        ddl: String::new(),
        id: name.to_owned(),
        schema: String::new(),
        options: StreamOptions::default(),
        dead_letters_of: dead_letters_of.map(str::to_owned),
        gaps_of: None,
    };
    let definition = Definition::Stream(definition.with_schema(columns));
    let key = Key::CatalogTable { schema: "public".into(), table: name.into() }.encode();
    let value = serde_json::to_vec(&definition).unwrap();
    meta.txn(Txn::new().put(key, value)).await.unwrap();
}

/// Two rows for a stream.
async fn frames(name: &str) -> Vec<FlightData> {
    let batch: Result<RecordBatch, arrow_flight::error::FlightError> = Ok(rows(0, 2));
    FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(FlightDescriptor::new_path(vec![name.to_owned()])))
        .build(stream::iter([batch]))
        .try_collect()
        .await
        .unwrap()
}

fn shown<T>(token: Option<&str>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

fn code<T>(answer: Result<T, Status>) -> Code {
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[test]
fn row_47_what_is_not_known_is_for_nobody() {
    assert_eq!(callers("/arrow.flight.protocol.FlightService/DoPut"), Callers::All);
    for path in ["DoGet", "DoAction", "DoExchange", "Handshake", "ListActions", "Whatever"] {
        let path = format!("/arrow.flight.protocol.FlightService/{path}");
        assert_eq!(callers(&path), Callers::Processes, "{path}");
    }
    for path in ["/", "", "/grpc.health.v1.Health/Check", "/arrow.flight.protocol.FlightService"] {
        assert_eq!(callers(path), Callers::Nobody, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_writers_put_rows_and_processes_do_the_rest() {
    let taker = Taker::start().await;
    for token in [None, Some("a-wrong-token-0123456789")] {
        assert_eq!(taker.put(token, false).await, Code::Unauthenticated);
        assert_eq!(taker.put(token, true).await, Code::Unauthenticated);
        assert_eq!(taker.act(token).await, Code::Unauthenticated);
    }
    for (token, into_stream) in [(RUTH, Code::PermissionDenied), (ANA, Code::Ok)] {
        assert_eq!(taker.put(Some(token), false).await, into_stream);
        assert_eq!(taker.put(Some(token), true).await, Code::PermissionDenied);
        assert_eq!(taker.act(Some(token)).await, Code::PermissionDenied);
        let read = taker.client().await.do_get(shown(Some(token), Ticket::new("x"))).await;
        assert_eq!(code(read), Code::PermissionDenied);
    }
    assert_eq!(taker.put(Some(PROCESS), false).await, Code::Ok);
    assert_eq!(
        taker.put(Some(PROCESS), true).await,
        Code::NotFound,
        "it is let in, and there is no such stream"
    );
    assert_eq!(taker.act(Some(PROCESS)).await, Code::Ok);
    taker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_processes_show_each_other_who_they_are() {
    let taker = Taker::start().await;
    let ours = credential(&taker.users);
    let streams = RemoteStreams::new(Arc::clone(&taker.meta), ours.clone());
    let options = || PutOptions { stream: "ticks".into(), producer: None, ack: None };
    let sent = || async { stream::iter(frames("ticks").await.into_iter().map(Ok::<_, Status>)).boxed() };
    let answers = streams.put(options(), sent().await).await.unwrap();
    let answers: Vec<PutResult> = timeout(CEILING, answers.try_collect()).await.unwrap().unwrap();
    assert!(answers.len() >= 2, "{answers:?}");
    let view = streams.view("ticks").await.unwrap();
    let query = HotQuery { schema: schema(), columns: vec![0], predicate: None };
    let read: Vec<RecordBatch> =
        view.rows.read(&view.slices[0], &query).await.unwrap().try_collect().await.unwrap();
    assert_eq!(read.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);

    let silent = RemoteStreams::new(Arc::clone(&taker.meta), Credential::default());
    assert_eq!(silent.view("ticks").await.unwrap_err().kind, ErrorKind::Configuration);
    let refused = silent.put(options(), sent().await).await.err().unwrap();
    assert_eq!(refused.kind, ErrorKind::Configuration);
    let nodes = Arc::new(NodeChannels::new(Credential::default()));
    assert!(RemoteRows::new(nodes).read(&view.slices[0], &query).await.is_err());
    drop((streams, silent, view));
    taker.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_a_put_ends_when_its_token_is_revoked() {
    let taker = Taker::start().await;
    let mut client = taker.client().await;
    let endless = stream::iter(frames("ticks").await).chain(stream::pending());
    let mut answers = client.do_put(shown(Some(ANA), endless)).await.unwrap().into_inner();
    let mut told = vec![];
    while !told.last().is_some_and(|text: &String| text.contains("\"ack\":1")) {
        let answer = timeout(CEILING, answers.next()).await.unwrap().unwrap().unwrap();
        told.push(String::from_utf8(answer.app_metadata.to_vec()).unwrap());
    }
    knows(&taker.users, &[("ruth", "read", RUTH)]);
    let stop = CancellationToken::new();
    let following = tokio::spawn(taker.identity.clone().follow(stop.clone()));
    let ended = timeout(CEILING, answers.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error_from_status(&ended).kind, ErrorKind::Unauthenticated);
    drop((answers, client));
    assert_eq!(taker.put(Some(ANA), false).await, Code::Unauthenticated);
    stop.cancel();
    following.await.unwrap().unwrap();
    taker.end().await;
}
