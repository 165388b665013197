//! What operators install: the Helm chart.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "operate/helm.rs"]
mod helm;
