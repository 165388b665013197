//! Pull feeds against servers that follow a script.

#![allow(clippy::unwrap_used, clippy::panic)]

mod exchanges;
mod faults;
mod sinks;
mod support;
mod tls;
