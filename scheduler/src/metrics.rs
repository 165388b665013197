//! What `/metrics` shows. Values are read from where they are kept when they are asked for.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::service::QueryService;

/// With `more` metrics, as text, of other parts of the process.
pub async fn render(service: &QueryService, more: &str) -> String {
    let mut registry = Registry::with_prefix("polarway");
    let outcomes = &service.queries.outcomes;
    let admission = &service.admission;
    let runtime = &service.local.runtime;
    let executors = service.staged.ballista.executors().await;

    counter(&mut registry, "queries_finished", "Queries that ended well", &outcomes.finished);
    counter(&mut registry, "queries_failed", "Queries that failed", &outcomes.failed);
    counter(&mut registry, "queries_cancelled", "Queries that were cancelled", &outcomes.cancelled);
    counter(&mut registry, "queries_direct", "Queries on the direct route", &outcomes.direct);
    counter(&mut registry, "queries_staged", "Queries on the staged route", &outcomes.staged);
    counter(&mut registry, "queries_metadata", "Queries that read no files", &outcomes.metadata);
    counter(&mut registry, "attempts_resubmitted", "Attempts after a loss", &outcomes.resubmitted);
    counter(
        &mut registry,
        "queries_taken_over",
        "Queries of schedulers that are gone, gone on with here",
        &outcomes.taken_over,
    );
    let jobs = &service.submissions.taken_over;
    counter(&mut registry, "jobs_taken_over", "Jobs of schedulers that are gone, begun anew here", jobs);
    let past = &service.queries.past;
    counter(&mut registry, "history_written", "Queries written into the history", &past.written);
    counter(&mut registry, "history_dropped", "Ended queries that are not in the history", &past.dropped);
    counter(&mut registry, "admission_admitted", "Queries admitted", &admission.counters.admitted);
    counter(&mut registry, "admission_refused", "Queries refused as too many", &admission.counters.refused);
    registry.register_with_unit(
        "admission_waited",
        "Time that queries waited for a place",
        Unit::Seconds,
        admission.counters.waited.clone(),
    );
    counter(&mut registry, "plan_cache_hits", "Plans found in the cache", &service.planner.cache.hits);
    counter(&mut registry, "plan_cache_misses", "Plans made", &service.planner.cache.misses);
    counter(&mut registry, "store_gets", "Read requests to object stores", &runtime.counters.gets);
    counter(&mut registry, "store_heads", "Requests for an object's size", &runtime.counters.heads);
    counter(&mut registry, "store_lists", "List requests to object stores", &runtime.counters.lists);
    counter(&mut registry, "store_bytes", "Bytes asked of object stores", &runtime.counters.bytes_requested);

    gauge(
        &mut registry,
        "queries_running",
        "Queries that run or wait for their turn",
        service.queries.running() as i64,
    );
    gauge(&mut registry, "admission_running", "Places taken", admission.running() as i64);
    gauge(&mut registry, "admission_waiting", "Queries that wait for a place", admission.waiting() as i64);
    gauge(
        &mut registry,
        "planning_waiting",
        "Statements that wait for being planned",
        admission.waiting_to_plan() as i64,
    );
    gauge(&mut registry, "executors", "Executors that take tasks", executors.len() as i64);
    let slots: u32 = executors.iter().map(|executor| executor.slots).sum();
    gauge(&mut registry, "executor_slots", "Task slots of all executors", i64::from(slots));
    gauge(&mut registry, "memory_reserved_bytes", "Bytes that queries hold", runtime.reserved() as i64);
    gauge(&mut registry, "spill_used_bytes", "Bytes of spill files", runtime.spilled() as i64);

    let mut text = String::new();
    match encode_registry(&mut text, &registry) {
        Ok(()) => text + more + "# EOF\n",
        Err(error) => format!("# metrics cannot be written: {error}\n"),
    }
}

fn counter(registry: &mut Registry, name: &str, help: &str, value: &AtomicU64) {
    let counter: Counter = Counter::default();
    counter.inc_by(value.load(Ordering::Relaxed));
    registry.register(name, help, counter);
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: i64) {
    let gauge: Gauge = Gauge::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}
