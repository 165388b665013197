//! The sealed part of streams: files of rows, the manifest that lists them, and who may change it.

mod manifest;
mod node;
mod owner;
mod store;

pub use manifest::{EventRange, Manifest, Segment};
pub use node::Node;
pub use owner::{Committed, Owner, Ownership, StreamError};
pub use store::{SealedStore, Written};
