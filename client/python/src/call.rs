//! Work in the background that tells a Python function what came of it.

use polarway_common::Error;
use pyo3::prelude::*;
use tokio::task::AbortHandle;

use crate::fault::Fault;
use crate::{gate, runtime, trace};

/// Work that was started and may be stopped.
#[pyclass(frozen, module = "polarway._polarway")]
pub struct Call(AbortHandle);

#[pymethods]
impl Call {
    /// Stops the work, and with it the query that it runs or reads on the cluster. Its function is not called any more,
    /// unless that is under way already.
    fn cancel(&self) {
        self.0.abort();
    }
}

/// A function of Python's that is told what came of a call, or let go where that is allowed: what it holds on to, such as a
/// connection, is not to wait for the next call.
struct Done(Option<Py<PyAny>>);

impl Done {
    fn tell<T: for<'py> IntoPyObject<'py>>(mut self, outcome: Result<T, Error>) {
        let Some(done) = self.0.take() else { return };
        // An interpreter that is shutting down has nobody to tell.
        let Some(_inside) = gate::enter() else {
            // To drop it would be to enter.
            std::mem::forget(done);
            return;
        };
        Python::try_attach(|py| {
            let told = match outcome {
                Ok(value) => done.call1(py, (value, py.None())),
                Err(error) => done.call1(py, (py.None(), Fault::from(error))),
            };
            if let Err(error) = told {
                error.write_unraisable(py, Some(done.bind(py)));
            }
            drop(done);
        });
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        let Some(done) = self.0.take() else { return };
        match gate::enter() {
            Some(_inside) => {
                Python::try_attach(|_| drop(done));
            }
            None => std::mem::forget(done),
        }
    }
}

/// Runs `work` and calls `done(value, None)` or `done(None, fault)` from another thread.
///
/// # Errors
/// `RuntimeError` if the system gives no threads.
pub fn start<T>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
    done: Py<PyAny>,
) -> PyResult<Call>
where
    T: for<'py> IntoPyObject<'py> + Send + 'static,
{
    let runtime =
        runtime::get().map_err(|error| pyo3::exceptions::PyRuntimeError::new_err(error.to_string()))?;
    let done = Done(Some(done));
    let work = trace::within(work);
    let task = runtime.spawn(async move { done.tell(work.await) });
    Ok(Call(task.abort_handle()))
}
