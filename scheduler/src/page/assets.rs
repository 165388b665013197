//! Files of the page, which are in the program: it works where no other network is.

use std::sync::LazyLock;

use axum::extract::{Path, Query};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

struct Asset {
    name: &'static str,
    kind: &'static str,
    body: &'static str,
}

const ASSETS: [Asset; 3] = [
    Asset { name: "page.css", kind: "text/css; charset=utf-8", body: include_str!("assets/page.css") },
    Asset { name: "page.js", kind: "text/javascript; charset=utf-8", body: include_str!("assets/page.js") },
    Asset { name: "icon.svg", kind: "image/svg+xml", body: include_str!("assets/icon.svg") },
];

/// Says which files these are: those of another build have another one.
pub static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = blake3::Hasher::new();
    for asset in &ASSETS {
        hasher.update(asset.body.as_bytes());
    }
    hasher.finalize().to_hex().chars().take(12).collect()
});

#[derive(Deserialize)]
pub struct Wanted {
    v: Option<String>,
}

/// One of the files. With its version in the address it never changes.
pub async fn asset(Path(name): Path<String>, Query(wanted): Query<Wanted>, headers: HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return (StatusCode::NOT_FOUND, "no such file\n").into_response();
    };
    let version = VERSION.as_str();
    let tag = format!("\"{version}\"");
    let fresh = wanted.v.as_deref() == Some(version);
    let caching = if fresh { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let head = [(ETAG, tag.as_str()), (CACHE_CONTROL, caching), (CONTENT_TYPE, asset.kind)];
    if known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)) {
        return (StatusCode::NOT_MODIFIED, head).into_response();
    }
    (head, asset.body).into_response()
}
