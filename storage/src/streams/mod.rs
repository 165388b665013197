//! The sealed part of streams: files of rows, the manifest that lists them, and who may change it.

mod manifest;
mod node;
mod numbers;
mod owner;
mod owners;

pub use manifest::{EventRange, Manifest, Owed, Segment};
pub use node::Node;
pub use numbers::Numbers;
pub use owner::{Claimant, Committed, Owner, Ownership, Previous, StreamError};
pub use owners::Owners;
