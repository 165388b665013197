//! What tasks write for the tasks of later stages.
//!
//! Stages that are split by hash have a writer of our own; the files have the layout of Ballista's sort shuffle, so that
//! its readers and services serve them. Ballista's writer keeps a task's whole input and gathers each partition's rows
//! at the end, row by row from all of it. Ours distributes each batch while it is in the processor's caches, keeps
//! encoded bytes only, and is done with writing when the input is.

mod buckets;
mod chunks;
mod compact;
mod engine;
mod fetching;
mod layout;
mod stage;

pub use engine::StageEngine;
