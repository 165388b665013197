//! Health and metrics of a process that takes rows.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use polarway_common::Error;
use polarway_identity::Hosts;
use polarway_identity::connection::Acceptor;
use polarway_tls::{Protocol, Tls};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::host::Host;

/// Serves `/healthz`, `/readyz` and `/metrics` under the names `hosts` until `stop`. It is ready as soon as it answers: all
/// streams are open by then.
///
/// # Errors
/// When the server fails.
pub async fn serve_http(
    listener: TcpListener,
    host: Arc<Host>,
    tls: Tls,
    hosts: Hosts,
    stop: CancellationToken,
) -> Result<(), Error> {
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async { "ready\n" }))
        .route("/metrics", get(metrics))
        .with_state((host, tls.clone()));
    axum::serve(Acceptor::new(listener, tls, Protocol::Http), hosts.guard(routes))
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .map_err(|error| Error::internal(format!("HTTP server: {error}")))
}

async fn metrics(State((host, tls)): State<(Arc<Host>, Tls)>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], host.metrics() + &tls.metrics() + "# EOF\n")
}
