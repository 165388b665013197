//! The sealed part of streams: files of rows, the manifest that lists them, and who may change it.

mod manifest;
mod owner;
mod store;

pub use manifest::{EventRange, Manifest, Segment};
pub use owner::{Committed, Ownership, StreamError};
pub use store::{SealedStore, Written};
