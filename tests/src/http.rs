//! What servers tell over HTTP.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value;

/// Body of a GET that must succeed.
pub async fn get(server: SocketAddr, path: &str) -> String {
    let url = format!("http://{server}{path}");
    let response = reqwest::get(&url).await.unwrap_or_else(|error| panic!("GET {url}: {error}"));
    let status = response.status();
    let body = response.text().await.unwrap();
    assert!(status.is_success(), "GET {url}: {status} {body}");
    body
}

/// The same of a server that may not be there.
pub async fn try_get(server: SocketAddr, path: &str) -> Option<String> {
    let response = reqwest::get(format!("http://{server}{path}")).await.ok()?;
    response.text().await.ok()
}

/// All metrics of a server by name; the samples of one name are added up.
pub async fn metrics(server: SocketAddr) -> BTreeMap<String, f64> {
    samples(&get(server, "/metrics").await)
}

/// The same of what a server told.
pub fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut metrics = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some((name, value)) = line.rsplit_once(' ') {
            let name = name.split('{').next().unwrap();
            *metrics.entry(name.to_owned()).or_default() += value.parse::<f64>().unwrap();
        }
    }
    metrics
}

/// One metric; it must be there.
pub async fn metric(server: SocketAddr, name: &str) -> f64 {
    let all = metrics(server).await;
    *all.get(name).unwrap_or_else(|| panic!("no metric {name} among {:?}", all.keys()))
}

/// The scheduler's overview of running and ended queries.
pub async fn queries(server: SocketAddr) -> Vec<Value> {
    serde_json::from_str(&get(server, "/v1/queries").await).unwrap()
}

/// State of one query in the overview.
pub async fn query_state(server: SocketAddr, query_id: &str) -> Option<String> {
    queries(server)
        .await
        .iter()
        .find(|query| query["id"] == query_id)
        .map(|query| query["state"].as_str().unwrap().to_owned())
}

/// Jobs that Ballista's REST API lists.
pub async fn jobs(server: SocketAddr) -> Vec<Value> {
    serde_json::from_str(&get(server, "/api/jobs").await).unwrap()
}
