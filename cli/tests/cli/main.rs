//! The `polarway` binary as its users meet it.

// The exemption for tests does not reach the helpers beside them.
#![allow(clippy::unwrap_used, clippy::panic)]

mod demo;
mod health;
mod servers;
mod shell;
mod support;
