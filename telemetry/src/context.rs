//! How a trace goes from process to process: the header `traceparent` of W3C Trace Context.

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::Request;
use tonic::metadata::MetadataMap;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

const HEADER: &str = "traceparent";
/// `00-`, 32 digits of the trace, 16 of the span, 2 of flags, with dashes between.
const LENGTH: usize = 55;

/// What a call says of the trace that it belongs to.
pub fn traceparent_of(headers: &MetadataMap) -> Option<String> {
    headers.get(HEADER)?.to_str().ok().filter(|text| trace_id(text).is_some()).map(str::to_owned)
}

/// Makes a span, which has just been made, part of a trace that came from elsewhere, or the beginning of one; and notes the
/// trace in its field `trace_id`, which the log shows.
pub fn adopt(span: &Span, parent: Option<&str>) {
    if span.is_disabled() {
        return;
    }
    if let Some(parent) = parent {
        let carrier = HashMap::from([(HEADER.to_owned(), parent.to_owned())]);
        // Without traces there is nothing to be part of.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&carrier));
    }
    let own = span.context().span().span_context().clone();
    if own.is_valid() {
        span.record("trace_id", own.trace_id().to_string());
    } else if let Some(id) = parent.and_then(trace_id) {
        span.record("trace_id", id);
    }
}

/// How others find the span that this is called in, if there are traces.
pub fn traceparent() -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut carrier);
    carrier.remove(HEADER).filter(|text| !text.is_empty())
}

/// What is sent to another process, with the trace that it belongs to.
pub fn signed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(value) = traceparent().and_then(|text| text.parse().ok()) {
        request.metadata_mut().insert(HEADER, value);
    }
    request
}

/// The trace in a header's value; none if that is not one.
fn trace_id(text: &str) -> Option<&str> {
    let digits = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte) || *byte == b'-';
    if text.len() < LENGTH || !text.bytes().take(LENGTH).all(|byte| digits(&byte)) {
        return None;
    }
    let mut parts = text.split('-').skip(1);
    let (trace, span) = (parts.next()?, parts.next()?);
    let is_one = |id: &str, length: usize| id.len() == length && id.bytes().any(|byte| byte != b'0');
    (is_one(trace, 32) && is_one(span, 16)).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_48_a_header_that_is_none_is_left_alone() {
        let of = |text: &str| {
            let mut headers = MetadataMap::new();
            headers.insert(HEADER, text.parse().unwrap());
            traceparent_of(&headers)
        };
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(of(good).as_deref(), Some(good));
        assert_eq!(trace_id(good), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        for wrong in [
            "",
            "x",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473600f067aa0ba902b7-0101",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert_eq!(traceparent_of(&MetadataMap::new()), None);
        // Nothing is traced here.
        assert_eq!(traceparent(), None);
    }
}
