//! Work that DataFusion gives to other tasks and threads belongs to the span that it was given away in.

use std::any::Any;

use datafusion::common::runtime::{JoinSetTracer, set_join_set_tracer};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tracing::{Instrument as _, Span};

type Made = Box<dyn Any + Send>;

struct InSpan;

impl JoinSetTracer for InSpan {
    fn trace_future(&self, work: BoxFuture<'static, Made>) -> BoxFuture<'static, Made> {
        work.instrument(Span::current()).boxed()
    }

    fn trace_block(&self, work: Box<dyn FnOnce() -> Made + Send>) -> Box<dyn FnOnce() -> Made + Send> {
        let span = Span::current();
        Box::new(move || span.in_scope(work))
    }
}

/// From now on spawned work stays in its span. A second call changes nothing.
pub fn stays_in_its_span() {
    if set_join_set_tracer(&InSpan).is_err() {
        tracing::debug!("spawned work was followed before");
    }
}
