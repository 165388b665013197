//! The native part of the Python package `polarway`: the Rust client, whose calls tell a Python function when they are
//! done. What users see is written in Python around it.
//!
//! No call holds the interpreter's lock while it waits for the network or decodes.

mod call;
mod client;
mod columns;
mod fault;
mod gate;
mod parameters;
mod runtime;
mod stream;
mod trace;
mod upload;

use pyo3::prelude::*;

#[pymodule]
mod _polarway {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::call::Call;
    #[pymodule_export]
    use crate::client::NativeClient;
    #[pymodule_export]
    use crate::columns::{NativeBatch, NativeTable};
    #[pymodule_export]
    use crate::stream::NativeStream;

    /// Threads of ours are out of the interpreter before it ends.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let shut = wrap_pyfunction!(crate::gate::shut, module)?;
        module.py().import("atexit")?.call_method1("register", (shut,))?;
        Ok(())
    }
}
