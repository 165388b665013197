//! A Flight server whose statements say what it is to do.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::{Any, Command};
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, Criteria, Empty,
    FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse, PollInfo,
    PutResult, SchemaResult, Ticket,
};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use polarway_common::{Error, ErrorKind, Place};
use polarway_proto::status::status_from_error;
use prost::Message;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// What the server has seen.
#[derive(Default)]
pub struct Seen {
    pub cookies: Mutex<Vec<String>>,
    /// The header `authorization` of each call, empty where there was none.
    pub authorizations: Mutex<Vec<String>>,
    pub reads: AtomicUsize,
    /// An endless result was given up by its reader.
    pub abandoned: AtomicBool,
    pub cancelled: Mutex<Vec<String>>,
    /// Batches of endless results that were produced.
    pub produced: AtomicUsize,
}

pub struct FakeServer {
    pub address: SocketAddr,
    pub seen: Arc<Seen>,
    /// Of its own, so that its end closes the connections too, as the end of a process would.
    runtime: Option<Runtime>,
}

impl FakeServer {
    /// Takes calls of everybody.
    pub async fn start() -> Self {
        Self::start_for(None).await
    }

    /// Takes calls with this token, if one is given, and no others.
    pub async fn start_for(token: Option<&str>) -> Self {
        let wanted = token.map(|token| format!("Bearer {token}"));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let seen = Arc::new(Seen::default());
        let service = FlightServiceServer::new(Service { seen: Arc::clone(&seen), wanted });
        let serving = async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let incoming = stream::unfold(listener, |listener| async move {
                let accepted = listener.accept().await.map(|(socket, _)| socket);
                Some((accepted, listener))
            });
            tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
            address
        };
        let address = runtime.spawn(serving).await.unwrap();
        Self { address, seen, runtime: Some(runtime) }
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Service {
    seen: Arc<Seen>,
    /// What the header `authorization` has to be.
    wanted: Option<String>,
}

/// `count` numbers from `first` on, as one batch.
pub fn numbers(first: i64, count: i64) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(first..first + count));
    RecordBatch::try_from_iter([("n", column)]).unwrap()
}

fn schema() -> SchemaRef {
    numbers(0, 0).schema()
}

struct OnDrop(Arc<Seen>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.abandoned.store(true, Ordering::SeqCst);
    }
}

impl Service {
    fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let header = |name: &str| {
            let value = request.metadata().get(name).map_or("", |value| value.to_str().unwrap());
            value.to_owned()
        };
        let authorization = header("authorization");
        self.seen.cookies.lock().unwrap().push(header("cookie"));
        self.seen.authorizations.lock().unwrap().push(authorization.clone());
        if self.wanted.as_ref().is_some_and(|wanted| *wanted != authorization) {
            return Err(status_from_error(&Error::new(ErrorKind::Unauthenticated, "the token is not known")));
        }
        Ok(())
    }

    fn plan(sql: &str) -> Result<FlightInfo, Error> {
        let mut words = sql.split(' ');
        let (verb, argument) = (words.next().unwrap(), words.next().unwrap_or(""));
        let info = FlightInfo::new()
            .try_with_schema(&schema())
            .unwrap()
            .with_app_metadata(format!(r#"{{"query_id":"q-{verb}","route":"direct"}}"#));
        let endpoint = |ticket: &str| FlightEndpoint::new().with_ticket(Ticket::new(ticket.to_owned()));
        Ok(match verb {
            "parts" => {
                let parts = ["part 0", "part 1", "part 2"].map(endpoint);
                parts.into_iter().fold(info, FlightInfo::with_endpoint).with_ordered(argument == "ordered")
            }
            "elsewhere" => info.with_endpoint(endpoint("numbers 10").with_location(argument)),
            "fail" => {
                return Err(Error::new(ErrorKind::ColumnNotFound, "no column `x`")
                    .with_hint("did you mean `y`?")
                    .with_place(Place { line: 1, column: 8 }));
            }
            "draining" => return Err(Error::new(ErrorKind::Draining, "the server is shutting down")),
            "foreign" => FlightInfo::new().with_endpoint(endpoint("numbers 1")),
            _ => info.with_endpoint(endpoint(sql)),
        })
    }

    fn batches(&self, ticket: &str) -> BoxStream<'static, Result<RecordBatch, FlightError>> {
        let mut words = ticket.split(' ');
        let (verb, argument) = (words.next().unwrap(), words.next().unwrap_or("0"));
        let count: i64 = argument.parse().unwrap();
        match verb {
            "numbers" => {
                let starts = (0..count).step_by(10);
                stream::iter(starts.map(move |start| Ok(numbers(start, 10.min(count - start))))).boxed()
            }
            // The first part is the slowest, so that reading in order is no accident.
            "part" => stream::once(async move {
                tokio::time::sleep(Duration::from_millis(50 * (2 - count as u64))).await;
                Ok(numbers(count * 10, 10))
            })
            .boxed(),
            "late" => {
                let error = Error::new(ErrorKind::Execution, "division by zero");
                stream::iter([Ok(numbers(0, 10)), Err(FlightError::from(status_from_error(&error)))]).boxed()
            }
            "endless" => {
                let (seen, guard) = (Arc::clone(&self.seen), OnDrop(Arc::clone(&self.seen)));
                stream::repeat_with(move || {
                    let _guard = &guard;
                    seen.produced.fetch_add(1, Ordering::SeqCst);
                    Ok(numbers(0, 10_000))
                })
                .boxed()
            }
            "silent" => {
                let guard = OnDrop(Arc::clone(&self.seen));
                stream::once(async move {
                    let _guard = guard;
                    std::future::pending().await
                })
                .boxed()
            }
            _ => stream::empty().boxed(),
        }
    }
}

#[tonic::async_trait]
impl FlightService for Service {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;
    type DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>;

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.admit(&request)?;
        let command = Command::try_from(Any::decode(&*request.into_inner().cmd).unwrap()).unwrap();
        let Command::CommandStatementQuery(query) = command else { panic!("not a statement") };
        Service::plan(&query.query).map(Response::new).map_err(|error| status_from_error(&error))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        self.admit(&request)?;
        self.seen.reads.fetch_add(1, Ordering::SeqCst);
        let ticket = String::from_utf8(request.into_inner().ticket.to_vec()).unwrap();
        let encoder = FlightDataEncoderBuilder::new().with_schema(schema()).build(self.batches(&ticket));
        Ok(Response::new(encoder.map_err(Status::from).boxed()))
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        self.admit(&request)?;
        let action = request.into_inner();
        let body = match action.r#type.as_str() {
            "CancelFlightInfo" => {
                let info = CancelFlightInfoRequest::decode(action.body).unwrap().info.unwrap();
                let metadata = String::from_utf8(info.app_metadata.to_vec()).unwrap();
                self.seen.cancelled.lock().unwrap().push(metadata);
                CancelFlightInfoResult::new(CancelStatus::Cancelled).encode_to_vec()
            }
            "polarway.QueryProgress" if action.body == "q-numbers" => {
                br#"{"query_id":"q-numbers","state":"finished","route":"direct","attempt":1}"#.to_vec()
            }
            _ => return Err(status_from_error(&Error::new(ErrorKind::NotFound, "no such query"))),
        };
        Ok(Response::new(stream::iter([Ok(arrow_flight::Result::new(body))]).boxed()))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        self.admit(&request)?;
        Err(Status::unimplemented(""))
    }

    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        Err(Status::unimplemented(""))
    }
}
