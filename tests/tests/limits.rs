//! What bounds a server: cancellation, admission, memory, concurrency, and where it may read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "limits/admission.rs"]
mod admission;
#[path = "limits/cancel.rs"]
mod cancel;
#[path = "limits/concurrency.rs"]
mod concurrency;
#[path = "limits/memory.rs"]
mod memory;
#[path = "limits/paths.rs"]
mod paths;
#[path = "limits/waiting.rs"]
mod waiting;
