//! `/healthz`, `/readyz` and `/metrics` of an executor, where `executor.http_listen` asks for them.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use polarway_engine::runtime::EngineRuntime;

use crate::heartbeat::Connected;
use crate::ledger::Ledger;

#[derive(Clone)]
pub struct Health {
    pub connected: Arc<Connected>,
    pub ledger: Arc<Ledger>,
    pub runtime: EngineRuntime,
    pub slots: u32,
}

pub fn routes(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn ready(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.connected.get() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not connected to a scheduler\n")
    }
}

async fn metrics(State(health): State<Health>) -> String {
    let totals = health.ledger.totals();
    let gauge = |name: &str, help: &str, value: u64| {
        format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n")
    };
    let counter = |name: &str, help: &str, value: u64| {
        format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}\n")
    };
    [
        gauge("polarway_executor_slots", "Task slots.", u64::from(health.slots)),
        gauge("polarway_executor_tasks_running", "Tasks running now.", health.ledger.running() as u64),
        counter("polarway_executor_tasks_started_total", "Tasks started.", totals.started),
        counter("polarway_executor_tasks_succeeded_total", "Tasks that ended well.", totals.succeeded),
        counter("polarway_executor_tasks_failed_total", "Tasks that failed.", totals.failed),
        counter("polarway_executor_tasks_cancelled_total", "Tasks that were cancelled.", totals.cancelled),
        gauge("polarway_memory_reserved_bytes", "Bytes that queries hold.", health.runtime.reserved() as u64),
        gauge("polarway_spill_used_bytes", "Bytes of spill files.", health.runtime.spilled()),
    ]
    .concat()
}
