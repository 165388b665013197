//! A scheduler's address at which task reports get lost, as on a network that drops a message after it was taken.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
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
/// The bytes before a message: whether it is compressed, and its length.
const FRAME: usize = 5;
const MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Passes calls on to a scheduler; ends when dropped.
pub struct LossyDoor {
    reports: Arc<AtomicUsize>,
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
        let incoming = TcpIncoming::from(TcpListener::bind(address).await.unwrap());
        let server = Server::builder().add_routes(Routes::from(router));
        let serving = tokio::spawn(async move { server.serve_with_incoming(incoming).await.unwrap() });
        Self { reports, serving: serving.abort_handle() }
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
