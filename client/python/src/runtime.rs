//! The threads that calls run on.
//!
//! A process that was forked has none of its parent's threads, so it gets a runtime of its own; the parent's is left where
//! it is, since to drop it would be to wait for threads that are not there.

use std::sync::{Arc, Mutex, PoisonError};

use polarway_common::Error;
use tokio::runtime::{Builder, Runtime};

use crate::gate;

static RUNTIME: Mutex<Option<(u32, Arc<Runtime>)>> = Mutex::new(None);

/// Threads of one process. Calls mostly wait, and decode a little.
const THREADS: usize = 2;

/// The runtime of this process, started at its first call.
///
/// # Errors
/// `Internal` if the system gives no threads, and when the interpreter is about to end: nobody would be told of a call.
pub fn get() -> Result<Arc<Runtime>, Error> {
    if gate::is_shut() {
        return Err(Error::internal("the interpreter is at its end"));
    }
    let mut current = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    let here = std::process::id();
    if let Some((process, runtime)) = &*current
        && *process == here
    {
        return Ok(Arc::clone(runtime));
    }
    let built =
        Builder::new_multi_thread().worker_threads(THREADS).thread_name("polarway").enable_all().build();
    let built = built.map_err(|error| Error::internal(format!("no threads for the client: {error}")))?;
    let runtime = Arc::new(built);
    gate::begin();
    if let Some((_, of_parent)) = current.replace((here, Arc::clone(&runtime))) {
        std::mem::forget(of_parent);
    }
    Ok(runtime)
}
