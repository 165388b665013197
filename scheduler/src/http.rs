//! HTTP on its own port: probes, metrics, an overview as JSON, the page, and Ballista's REST API below `/api`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use ballista_scheduler::api::get_routes;
use polarway_common::{Caller, Role};
use polarway_identity::grpc::party_of;
use polarway_identity::http::{Guard, Need, refusal};
use polarway_identity::{Hosts, Identity};

use crate::metrics;
use crate::page;
use crate::run::MoreMetrics;
use crate::service::QueryService;

/// What is offered on the HTTP port, to those who may see it.
pub fn routes(
    service: Arc<QueryService>,
    more_metrics: MoreMetrics,
    identity: Identity,
    hosts: Hosts,
) -> Router {
    let guard = Guard { identity, rules: needs };
    hosts.guard(all(service, more_metrics).layer(from_fn_with_state(guard, polarway_identity::http::guard)))
}

/// What a path needs; nothing for what says nothing but whether the process lives. Metrics name streams of all namespaces. What
/// is in no list here, as Ballista's own interface below `/api`, shows and ends jobs without asking whose they are.
fn needs(path: &str) -> Option<Need> {
    let first = path.strip_prefix('/').and_then(|path| path.split('/').next());
    let need = |role, whole| Some(Need { role, whole });
    match (path, first) {
        ("/healthz" | "/readyz", _) => None,
        ("/metrics", _) => need(Role::Read, true),
        ("/", _) | (_, Some("queries" | "streams" | "assets" | "v1")) => need(Role::Read, false),
        _ => need(Role::Admin, true),
    }
}

fn all(service: Arc<QueryService>, more_metrics: MoreMetrics) -> Router {
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

/// Who sends a request, as the guard has found out.
pub struct Asker(pub Caller);

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let caller = party_of(&parts.extensions).and_then(|party| party.caller());
        caller.map(Asker).map_err(|error| refusal(&error))
    }
}

async fn ready(State(service): State<Arc<QueryService>>) -> (StatusCode, &'static str) {
    if service.draining.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

async fn show_metrics(service: Arc<QueryService>, more: MoreMetrics) -> impl IntoResponse {
    let more = more();
    (
        [(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
        metrics::render(&service, &more).await,
    )
}

async fn list(State(service): State<Arc<QueryService>>, asker: Asker) -> impl IntoResponse {
    Json(service.queries.overview(&asker.0))
}

/// The processes of the cluster.
async fn nodes(State(service): State<Arc<QueryService>>) -> impl IntoResponse {
    let members = service.members.current();
    Json(members.members().cloned().collect::<Vec<_>>())
}

async fn one(
    State(service): State<Arc<QueryService>>,
    asker: Asker,
    Path(id): Path<String>,
) -> impl IntoResponse {
    match service.progress(&asker.0, &id).await {
        Some(progress) => Json(progress).into_response(),
        None => (StatusCode::NOT_FOUND, "no such query\n").into_response(),
    }
}

async fn cancel(
    State(service): State<Arc<QueryService>>,
    asker: Asker,
    Path(id): Path<String>,
) -> StatusCode {
    if service.queries.cancel(&asker.0, &id) { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_47_what_is_not_known_needs_an_administrator() {
        for open in ["/healthz", "/readyz"] {
            assert_eq!(needs(open), None);
        }
        for read in ["/", "/queries", "/queries/q-1/cancel", "/streams", "/assets/x.css", "/v1/nodes"] {
            assert_eq!(needs(read), Some(Need { role: Role::Read, whole: false }), "{read}");
        }
        assert_eq!(needs("/metrics"), Some(Need { role: Role::Read, whole: true }));
        for admin in [
            "/api",
            "/api/jobs",
            "/healthz/",
            "/readyz/x",
            "/%61pi/jobs",
            "/metrics/x",
            "/else",
            "x",
            "",
            "//api",
        ] {
            assert_eq!(needs(admin), Some(Need { role: Role::Admin, whole: true }), "{admin}");
        }
    }
}
