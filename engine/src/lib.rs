//! Running plans: what a scheduler (direct route) and an executor (tasks and plan tickets) share.

pub mod codec;
pub mod cooperative;
pub mod cpu;
pub mod errors;
pub mod flight;
pub mod memory;
pub mod output;
pub mod runtime;
pub mod settings;
