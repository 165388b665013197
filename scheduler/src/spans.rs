//! What of a statement's way is traced, and what the log tells of it. Their names and fields are documented in
//! `docs/telemetry.md`.

use polarway_telemetry::{TARGET, adopt};
use tracing::{Span, field, info_span};

use crate::service::Request;

/// From a statement's arrival to where its result can be fetched.
pub fn plan(request: &Request) -> Span {
    let span = info_span!(
        target: TARGET,
        "plan",
        otel.kind = "server",
        query = request.query_id,
        user = request.caller.owner(),
        trace_id = field::Empty,
    );
    adopt(&span, request.trace.as_deref());
    span
}

/// From the beginning of a query to its last batch.
pub fn query(request: &Request, route: &str) -> Span {
    let span = info_span!(
        target: TARGET,
        "query",
        otel.kind = "server",
        otel.status_code = field::Empty,
        query = request.query_id,
        user = request.caller.owner(),
        route,
        rows = field::Empty,
        bytes = field::Empty,
        error = field::Empty,
        trace_id = field::Empty,
    );
    adopt(&span, request.trace.as_deref());
    span
}

/// While a query waits for its turn.
pub fn admission() -> Span {
    info_span!(target: TARGET, "admission")
}

/// One try to run a query in stages.
pub fn attempt(number: u32) -> Span {
    info_span!(target: TARGET, "attempt", number, job = field::Empty)
}

/// A statement that changes something.
pub fn command(request: &Request, tag: &str) -> Span {
    let span = info_span!(
        target: TARGET,
        "command",
        otel.kind = "server",
        statement = tag,
        query = request.query_id,
        user = request.caller.owner(),
        trace_id = field::Empty,
    );
    adopt(&span, request.trace.as_deref());
    span
}
