//! The way into the interpreter for threads of ours, which is shut before the interpreter ends: a thread that enters one
//! that is ending brings the process down.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

static SHUT: AtomicBool = AtomicBool::new(false);
/// Threads that are inside, or on their way.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// The process that they belong to; a fork has none of them.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// How long the end of the interpreter waits for code of Python's that does not come back, such as an iterator of rows.
const LIMIT: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(1);

/// A thread that may be in the interpreter until this is dropped.
pub struct Inside(());

/// The right to enter; none when the interpreter is about to end.
pub fn enter() -> Option<Inside> {
    INSIDE.fetch_add(1, Ordering::SeqCst);
    let inside = Inside(());
    // After the count: whoever shuts the gate in between waits for this thread, which turns back.
    (!SHUT.load(Ordering::SeqCst)).then_some(inside)
}

pub fn is_shut() -> bool {
    SHUT.load(Ordering::SeqCst)
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Notes that this process has threads of its own, and none of another's.
pub fn begin() {
    PROCESS.store(std::process::id(), Ordering::SeqCst);
    INSIDE.store(0, Ordering::SeqCst);
}

/// Lets no thread in any more, and waits for those that are inside. Python calls it before it ends.
#[pyfunction]
pub fn shut(py: Python<'_>) {
    SHUT.store(true, Ordering::SeqCst);
    if PROCESS.load(Ordering::SeqCst) != std::process::id() {
        return;
    }
    // They may need the interpreter's lock to come out.
    py.detach(|| {
        let began = Instant::now();
        while INSIDE.load(Ordering::SeqCst) > 0 && began.elapsed() < LIMIT {
            std::thread::sleep(LOOK);
        }
    });
}
