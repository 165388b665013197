//! The trace that a call belongs to, if the program that calls is traced by OpenTelemetry.

use pyo3::prelude::*;
use pyo3::types::PyDict;

const HEADER: &str = "traceparent";

tokio::task_local! {
    /// That of the call which a task works for.
    static OF_CALL: Option<String>;
}

/// Makes work part of the trace that the Python code is in which calls now.
pub fn within<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    OF_CALL.scope(of_caller(), work)
}

/// What a client's calls ask for.
pub fn current() -> Option<String> {
    OF_CALL.try_with(Clone::clone).ok().flatten()
}

fn of_caller() -> Option<String> {
    // Nobody's query fails for want of a trace.
    Python::attach(|py| traceparent(py).ok().flatten())
}

fn traceparent(py: Python<'_>) -> PyResult<Option<String>> {
    let modules = py.import("sys")?.getattr("modules")?;
    // A program that is traced has loaded it; no other has to.
    if !modules.contains("opentelemetry.trace")? {
        return Ok(None);
    }
    let carrier = PyDict::new(py);
    py.import("opentelemetry.propagate")?.call_method1("inject", (&carrier,))?;
    carrier.get_item(HEADER)?.map(|value| value.extract()).transpose()
}
