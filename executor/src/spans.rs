//! What of an executor's work is traced. Names and fields are documented in `docs/telemetry.md`.

use ballista_core::serde::scheduler::TaskDefinition;
use polarway_engine::settings::trace;
use polarway_telemetry::{TARGET, adopt, traceparent_of};
use tonic::metadata::MetadataMap;
use tracing::{Span, debug_span, field, info_span};

use crate::ledger::TaskId;

/// A task, once it has its slots.
pub fn task(id: &TaskId, task: &TaskDefinition) -> Span {
    let span = info_span!(
        target: TARGET,
        "task",
        otel.status_code = field::Empty,
        job = id.job,
        stage = id.stage,
        task = id.task,
        trace_id = field::Empty,
    );
    adopt(&span, trace(&task.session_config));
    span
}

/// A whole query, or a part of a result, that somebody fetches with a ticket.
pub fn fetch(headers: &MetadataMap) -> Span {
    let span = info_span!(target: TARGET, "fetch", otel.kind = "server", trace_id = field::Empty);
    adopt(&span, traceparent_of(headers).as_deref());
    span
}

/// A task's request to another executor for a part of an earlier stage's output.
pub fn shuffle_fetch(task: &Span, job: &str, stage: usize, peer: &str) -> Span {
    debug_span!(
        target: TARGET,
        parent: task,
        "fetch shuffle",
        otel.kind = "client",
        otel.status_code = field::Empty,
        job,
        stage,
        peer,
    )
}
