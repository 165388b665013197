//! `/healthz`, `/readyz` and `/metrics` of an executor, where `executor.http_listen` asks for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use polarway_engine::runtime::EngineRuntime;
use polarway_tls::Tls;
use tokio::sync::Semaphore;

use crate::heartbeat::Connected;
use crate::ledger::Ledger;
use crate::stored::{Counts, Stored};
use crate::waits::SlotWaits;

#[derive(Clone)]
pub struct Health {
    pub connected: Arc<Connected>,
    pub ledger: Arc<Ledger>,
    pub runtime: EngineRuntime,
    pub slots: u32,
    pub free: Arc<Semaphore>,
    pub waits: Arc<SlotWaits>,
    pub stored: Option<Arc<Stored>>,
    pub tls: Tls,
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

fn gauge(name: &str, help: &str, value: u64) -> String {
    format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n")
}

fn counter(name: &str, help: &str, value: u64) -> String {
    format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}\n")
}

async fn metrics(State(health): State<Health>) -> String {
    let totals = health.ledger.totals();
    let (waits, stores) = (&health.waits, &health.runtime.counters);
    let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
    let mut text = [
        gauge("polarway_executor_slots", "Task slots.", u64::from(health.slots)),
        gauge(
            "polarway_executor_slots_used",
            "Task slots in use: never more than there are, however many schedulers send tasks.",
            u64::from(health.slots).saturating_sub(health.free.available_permits() as u64),
        ),
        gauge(
            "polarway_executor_tasks_running",
            "Tasks that run or wait for a slot.",
            health.ledger.running() as u64,
        ),
        gauge("polarway_executor_tasks_waiting", "Tasks that wait for a slot.", read(&waits.waiting)),
        counter(
            "polarway_executor_slot_waits_total",
            "Tasks that had to wait for a slot.",
            read(&waits.waits),
        ),
        counter(
            "polarway_executor_slot_wait_microseconds_total",
            "Time that tasks waited for a slot.",
            read(&waits.micros),
        ),
        counter("polarway_executor_tasks_started_total", "Tasks started.", totals.started),
        counter("polarway_executor_tasks_succeeded_total", "Tasks that ended well.", totals.succeeded),
        counter("polarway_executor_tasks_failed_total", "Tasks that failed.", totals.failed),
        counter("polarway_executor_tasks_cancelled_total", "Tasks that were cancelled.", totals.cancelled),
        gauge("polarway_memory_reserved_bytes", "Bytes that queries hold.", health.runtime.reserved() as u64),
        gauge("polarway_spill_used_bytes", "Bytes of spill files.", health.runtime.spilled()),
        counter("polarway_store_gets_total", "Read requests to object stores.", read(&stores.gets)),
        counter("polarway_store_heads_total", "Requests for an object's size.", read(&stores.heads)),
        counter("polarway_store_lists_total", "List requests to object stores.", read(&stores.lists)),
        counter("polarway_store_bytes_total", "Bytes asked of object stores.", read(&stores.bytes_requested)),
    ]
    .concat();
    if let Some(stored) = &health.stored {
        text.push_str(&of_copies(&stored.counts()));
    }
    if let Some(failed) = health.tls.failed_handshakes() {
        text.push_str(&of_handshakes(failed));
    }
    text
}

fn of_handshakes(failed: [(&'static str, u64); 3]) -> String {
    let name = "polarway_tls_handshakes_failed_total";
    let help = "TLS handshakes that failed.";
    let mut text = format!("# HELP {name} {help}\n# TYPE {name} counter\n");
    for (protocol, count) in failed {
        text.push_str(&format!("{name}{{protocol=\"{protocol}\"}} {count}\n"));
    }
    text
}

fn of_copies(Counts { upload, requests, reused }: &Counts) -> String {
    [
        counter(
            "polarway_executor_tasks_reused_total",
            "Tasks that ended well because an earlier attempt had done them; they count as started and succeeded, too.",
            *reused,
        ),
        counter("polarway_shuffle_outputs_stored_total", "Outputs of tasks that were copied.", upload.outputs),
        counter("polarway_shuffle_outputs_not_stored_total", "Outputs that could not be copied.", upload.failures),
        gauge("polarway_shuffle_waiting_bytes", "Bytes of output that wait to be copied.", upload.waiting_bytes),
        counter("polarway_shuffle_store_puts_total", "Objects written.", requests.puts),
        counter("polarway_shuffle_store_put_bytes_total", "Bytes written.", requests.put_bytes),
        counter("polarway_shuffle_store_gets_total", "Reads of objects.", requests.gets),
        counter("polarway_shuffle_store_get_bytes_total", "Bytes read.", requests.get_bytes),
        counter("polarway_shuffle_store_retries_total", "Requests that were made again.", requests.retries),
    ]
    .concat()
}
