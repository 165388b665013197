//! HTTP on its own port: probes, metrics, an overview as JSON, the page, and Ballista's REST API below `/api`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use ballista_scheduler::api::get_routes;

use crate::metrics;
use crate::page;
use crate::run::MoreMetrics;
use crate::service::QueryService;

pub fn routes(service: Arc<QueryService>, more_metrics: Option<MoreMetrics>) -> Router {
    let metrics = {
        let service = Arc::clone(&service);
        get(move || show_metrics(Arc::clone(&service), more_metrics.clone()))
    };
    let ballista = get_routes(Arc::new(service.staged.ballista.server().clone()));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", metrics)
        .route("/v1/nodes", get(nodes).with_state(Arc::clone(&service)))
        .route("/v1/queries", get(list).with_state(Arc::clone(&service)))
        .route("/v1/queries/{id}", get(one).delete(cancel))
        .with_state(Arc::clone(&service))
        .merge(page::routes(service))
        // Behind all others: it has a route for `/`, too, which leads to another site.
        .fallback_service(ballista)
}

async fn ready(State(service): State<Arc<QueryService>>) -> (StatusCode, &'static str) {
    if service.draining.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

async fn show_metrics(service: Arc<QueryService>, more: Option<MoreMetrics>) -> impl IntoResponse {
    let more = more.map(|more| more()).unwrap_or_default();
    (
        [(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
        metrics::render(&service, &more).await,
    )
}

async fn list(State(service): State<Arc<QueryService>>) -> impl IntoResponse {
    Json(service.queries.overview())
}

/// The processes of the cluster.
async fn nodes(State(service): State<Arc<QueryService>>) -> impl IntoResponse {
    let members = service.members.current();
    Json(members.members().cloned().collect::<Vec<_>>())
}

async fn one(State(service): State<Arc<QueryService>>, Path(id): Path<String>) -> impl IntoResponse {
    match service.progress(&id).await {
        Some(progress) => Json(progress).into_response(),
        None => (StatusCode::NOT_FOUND, "no such query\n").into_response(),
    }
}

async fn cancel(State(service): State<Arc<QueryService>>, Path(id): Path<String>) -> StatusCode {
    if service.queries.cancel(&id) { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}
