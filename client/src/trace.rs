//! Which trace the calls of a client are part of.

use std::fmt;
use std::sync::Arc;

use tonic::metadata::{Ascii, MetadataValue};

type Current = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Tells the trace that a call is part of, so that the server carries it on.
#[derive(Clone)]
pub struct TraceContext(Current);

impl TraceContext {
    /// `current` is asked before each call, by the task that makes it, for the header `traceparent` of W3C Trace Context: the
    /// span that the call is made in. What is no header is left out.
    pub fn new(current: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(current))
    }

    pub(crate) fn header(&self) -> Option<MetadataValue<Ascii>> {
        (self.0)()?.parse().ok()
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TraceContext")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_48_what_is_no_header_is_left_out() {
        let of = |text: Option<&'static str>| TraceContext::new(move || text.map(str::to_owned)).header();
        assert_eq!(of(Some("00-1-2-01")).unwrap(), "00-1-2-01");
        assert!(of(None).is_none() && of(Some("a\nb")).is_none());
    }
}
