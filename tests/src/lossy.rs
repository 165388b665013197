//! Addresses of a scheduler at which messages get lost, as on a network that drops one after it was taken: reports of tasks, or
//! answers to statements.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use ballista_core::serde::protobuf::UpdateTaskStatusParams;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tower::ServiceExt;

const REPORTS: &str = "/ballista.protobuf.SchedulerGrpc/UpdateTaskStatus";
const STATEMENTS: &str = "/arrow.flight.protocol.FlightService/GetFlightInfo";
const PUTS: &str = "/arrow.flight.protocol.FlightService/DoPut";
/// The bytes before a message: whether it is compressed, and its length.
const FRAME: usize = 5;
const MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Passes calls on to a scheduler; ends when dropped.
pub struct LossyDoor {
    reports: Arc<AtomicUsize>,
    serving: AbortHandle,
}

/// Passes calls on to a scheduler, and not all of its answers to statements; ends when dropped.
pub struct SilentDoor {
    pub address: SocketAddr,
    statements: Arc<AtomicUsize>,
    silent: Arc<AtomicUsize>,
    silent_puts: Arc<AtomicUsize>,
    serving: AbortHandle,
}

impl LossyDoor {
    /// Listens at `address` for `scheduler`. The first report that comes is confirmed and not delivered.
    pub async fn open(address: SocketAddr, scheduler: SocketAddr) -> Self {
        let channel = Endpoint::from_shared(format!("http://{scheduler}")).unwrap().connect_lazy();
        let reports = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&reports);
        let router = Router::new().fallback(move |request: Request| {
            let loses = request.uri().path() == REPORTS && counter.fetch_add(1, Ordering::Relaxed) == 0;
            pass_on(channel.clone(), request, loses)
        });
        let listener = TcpListener::bind(address).await.unwrap();
        Self { reports, serving: serve(listener, router) }
    }

    /// How many calls with reports came, of which the first was lost.
    pub fn reports(&self) -> usize {
        self.reports.load(Ordering::Relaxed)
    }
}

impl Drop for LossyDoor {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl SilentDoor {
    pub async fn open(scheduler: SocketAddr) -> Self {
        let channel = Endpoint::from_shared(format!("http://{scheduler}")).unwrap().connect_lazy();
        let (statements, silent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let silent_puts = Arc::new(AtomicUsize::new(0));
        let (counter, lost) = (Arc::clone(&statements), Arc::clone(&silent));
        let lost_puts = Arc::clone(&silent_puts);
        let router = Router::new().fallback(move |request: Request| {
            let take = |left: &AtomicUsize| {
                left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            };
            let loses = match request.uri().path() {
                STATEMENTS => {
                    counter.fetch_add(1, Ordering::Relaxed);
                    take(&lost)
                }
                PUTS => take(&lost_puts),
                _ => false,
            };
            let answer = pass_on(channel.clone(), request, false);
            async move {
                let answer = answer.await;
                if loses { cut(answer).await } else { answer }
            }
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { address, statements, silent, silent_puts, serving: serve(listener, router) }
    }

    /// The answers to the next `count` statements get lost.
    pub fn lose(&self, count: usize) {
        self.silent.store(count, Ordering::Relaxed);
    }

    /// The answers to the next `count` calls that put rows get lost.
    pub fn lose_puts(&self, count: usize) {
        self.silent_puts.store(count, Ordering::Relaxed);
    }

    /// How often a statement came.
    pub fn statements(&self) -> usize {
        self.statements.load(Ordering::Relaxed)
    }
}

impl Drop for SilentDoor {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn serve(listener: TcpListener, router: Router) -> AbortHandle {
    let server = Server::builder().add_routes(Routes::from(router));
    let incoming = TcpIncoming::from(listener);
    tokio::spawn(async move { server.serve_with_incoming(incoming).await.unwrap() }).abort_handle()
}

/// The same answer, of which the connection breaks before anything comes.
async fn cut(answer: Response) -> Response {
    let (head, body) = answer.into_parts();
    to_bytes(body, MESSAGE_BYTES).await.unwrap();
    let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    Response::from_parts(head, Body::from_stream(futures::stream::iter([Err::<Bytes, _>(broken)])))
}

async fn pass_on(channel: Channel, request: Request, loses: bool) -> Response {
    let request = if loses { emptied(request).await } else { request };
    let response = channel.oneshot(request.map(tonic::body::Body::new)).await.unwrap();
    response.map(Body::new)
}

/// The same call with no report in it.
async fn emptied(request: Request) -> Request {
    let (head, body) = request.into_parts();
    let bytes = to_bytes(body, MESSAGE_BYTES).await.unwrap();
    let executor_id = UpdateTaskStatusParams::decode(&bytes[FRAME..]).unwrap().executor_id;
    let message = UpdateTaskStatusParams { executor_id, task_status: vec![] }.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    Request::from_parts(head, Body::from([&[0][..], &length, &message].concat()))
}
