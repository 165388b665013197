//! What a server tells of itself while it works: its log, and traces.
//!
//! A trace goes over OTLP to a collector, if one is configured. It begins where a request carries a `traceparent` (W3C Trace
//! Context), or else with the request itself, for so many of them; processes of the cluster carry it on in the same form. The
//! spans are those of `tracing` under [`TARGET`], and their fields are in the log, too: a line that was written within a
//! query has its id, and the trace's.

mod context;
mod init;

pub use context::{adopt, signed, traceparent, traceparent_of};
pub use init::{Telemetry, init};
pub use polarway_common::trace::TARGET;
