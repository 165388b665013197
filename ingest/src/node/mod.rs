//! A process that takes rows of streams, and nothing else: its servers.

mod flight;
mod http;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use polarway_common::Error;
use polarway_identity::Security;
use polarway_identity::connection::incoming;
use polarway_identity::grpc::Guard;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use flight::{NodeFlight, callers};
pub use http::serve_http;

use crate::host::Host;

/// What gRPC adds to a frame.
const AROUND_FRAME: usize = 1 << 20;
const MAX_ANSWER: usize = 64 << 20;
const WINDOW_BYTES: u32 = 4 << 20;
const KEEPALIVE: Duration = Duration::from_secs(10);
/// How long open calls may last once everything else has ended.
const CUT_OFF: Duration = Duration::from_secs(3);

/// Serves the streams of `host` to those whom `security` knows, until `stop`. A batch of rows has at most `max_frame` bytes.
///
/// # Errors
/// When the server fails.
pub async fn serve(
    listener: TcpListener,
    host: Arc<Host>,
    max_frame: usize,
    security: Security,
    stop: CancellationToken,
) -> Result<(), Error> {
    let Security { identity, tls, .. } = security;
    let guard = Guard::new(identity.clone(), callers);
    let flight = FlightServiceServer::new(NodeFlight { host, identity })
        .max_decoding_message_size(max_frame.saturating_add(AROUND_FRAME))
        .max_encoding_message_size(MAX_ANSWER);
    let overdue = stop.clone();
    let serving = Server::builder()
        .initial_connection_window_size(WINDOW_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .layer(guard)
        .add_service(flight)
        .serve_with_incoming_shutdown(incoming(listener, tls), stop.cancelled_owned());
    tokio::select! {
        served = serving => served.map_err(|error| Error::internal(format!("gRPC server: {error}"))),
        () = async {
            overdue.cancelled().await;
            tokio::time::sleep(CUT_OFF).await;
        } => Ok(()),
    }
}
