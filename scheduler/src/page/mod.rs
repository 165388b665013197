//! A page to look at: the cluster, queries, one query, streams. The server writes all of it; a script renews parts of it and
//! knows keys. Nothing is fetched from elsewhere, and a strict policy tells browsers so.

mod assets;
mod cluster;
mod facts;
mod graph;
mod guard;
mod html;
mod layout;
mod queries;
mod query;
mod streams;
mod units;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use polarway_metastore::membership::Role;
use polarway_proto::progress::QueryState;
use serde::Deserialize;

use self::facts::{Heard, now_ms};
use self::html::{Html, in_address};
use self::layout::{Page, Place, Theme};
use crate::http::Asker;
use crate::service::QueryService;

/// What a script asks for parts of the page with.
const PART: &str = "polarway-part";

/// Pages may load what is from here, and nothing may frame them or send them elsewhere. No markup brings a script or a style
/// of its own.
const HEADERS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    // Without one a form's origin would not be told, which the guard reads.
    ("referrer-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

#[derive(Clone)]
struct Shown {
    service: Arc<QueryService>,
    heard: Arc<Heard>,
}

pub fn routes(service: Arc<QueryService>) -> Router {
    let shown = Shown { service, heard: Arc::default() };
    Router::new()
        .route("/", get(show_cluster))
        .route("/queries", get(show_queries))
        .route("/queries/{id}", get(show_query))
        .route("/queries/{id}/cancel", post(cancel))
        .route("/streams", get(show_streams))
        .route("/assets/{name}", get(assets::asset))
        .with_state(shown)
        .layer(from_fn(guarded))
}

async fn guarded(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

/// The page around `main`, or `main` alone for the script.
fn answer(shown: &Shown, headers: &HeaderMap, place: Place, title: &str, main: &Html) -> Response {
    let text = if headers.contains_key(PART) {
        main.clone()
    } else {
        let cookies = headers.get(COOKIE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Page::new(&shown.service, place, title, Theme::of_cookies(cookies), main).render()
    };
    let head = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    (head, text.into_string()).into_response()
}

async fn show_cluster(State(shown): State<Shown>, asker: Asker, headers: HeaderMap) -> Response {
    let (nodes, streams) = facts::cluster(&shown.service, &shown.heard, asker.0.namespace()).await;
    let mut running = shown.service.queries.at_work(&asker.0);
    running.retain(|record| queries::is_running(&record.state));
    let waiting = running.iter().filter(|record| record.state == QueryState::Queued).count();
    let main = cluster::render(&cluster::Cluster {
        nodes: &nodes,
        streams: &streams,
        running: &running,
        waiting,
        now_ms: now_ms(),
    });
    answer(&shown, &headers, Place::Cluster, "Cluster", &main)
}

async fn show_queries(
    State(shown): State<Shown>,
    asker: Asker,
    Query(asked): Query<queries::Asked>,
    headers: HeaderMap,
) -> Response {
    let records = shown.service.queries.overview(&asker.0);
    let all = records.len();
    let found = queries::find(records, &asked);
    let view = shown.service.members.current();
    let others = view
        .of(Role::Scheduler)
        .filter(|member| member.incarnation != shown.service.us.incarnation)
        .filter_map(|member| Some((member.name.clone(), member.http.as_ref()?.to_string())))
        .collect();
    let main = queries::render(&found, &asked, all, &others);
    answer(&shown, &headers, Place::Queries, "Queries", &main)
}

#[derive(Deserialize)]
struct Asked {
    cancelled: Option<String>,
}

async fn show_query(
    State(shown): State<Shown>,
    asker: Asker,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    let Some((record, plans)) = shown.service.looked_at(&asker.0, &id).await else {
        let main = query::unknown(&id);
        let page = answer(&shown, &headers, Place::Queries, "Query not found", &main);
        return (StatusCode::NOT_FOUND, page).into_response();
    };
    let main = query::render(&query::Query {
        record: &record,
        plans: &plans,
        asked_to_cancel: asked.cancelled.is_some(),
        now_ms: now_ms(),
    });
    answer(&shown, &headers, Place::Queries, &format!("Query {id}"), &main)
}

async fn cancel(
    State(shown): State<Shown>,
    asker: Asker,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    if !guard::is_from_this_page(&headers) {
        let told = "a query is cancelled from this server's own page, or with DELETE /v1/queries/{id}\n";
        return (StatusCode::FORBIDDEN, told).into_response();
    }
    if shown.service.queries.cancel(&asker.0, &id) {
        tracing::info!(query = id, "a query was cancelled from the page");
    }
    // One that has ended meanwhile shows how.
    Redirect::to(&format!("/queries/{}?cancelled", in_address(&id))).into_response()
}

async fn show_streams(State(shown): State<Shown>, asker: Asker, headers: HeaderMap) -> Response {
    let streams = facts::all_streams(&shown.service, asker.0.namespace()).await;
    let main = streams::render(&streams, now_ms());
    answer(&shown, &headers, Place::Streams, "Streams", &main)
}
