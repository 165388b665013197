//! Running plans: what a scheduler (direct route) and an executor (tasks and plan tickets) share.

pub mod codec;
pub mod cooperative;
pub mod cpu;
pub mod errors;
pub mod extension;
pub mod flight;
pub mod guarded;
pub mod handover;
pub mod live;
pub mod measure;
pub mod memory;
pub mod offload;
pub mod output;
pub mod passing;
pub mod runtime;
pub mod settable;
pub mod settings;
pub mod spawned;
pub mod time_zone;
pub mod write;
