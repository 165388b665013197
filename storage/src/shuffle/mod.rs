//! Shuffle output in an object store.
//!
//! Executors write what a task gives to the next stage as local files, and readers fetch it from them. Beside that,
//! and never in its way, finished outputs are packed into large objects, so that they outlive their producer:
//!
//! 1. An [`Output`] is handed to the [`Uploader`]. The [`Packer`] decides which outputs share an object.
//! 2. The objects of a pack are put: the bytes first, at their end a [`Record`] of each output, which says where
//!    its bytes are and has a checksum of every segment.
//! 3. An [`Entry`] of each output is committed to the metadata store. From then on the output is stored; it is
//!    refused when the query is over, and then the objects are deleted again.
//! 4. [`StoredOutputs`] finds an output's entry, reads its record, and reads any range of its files. What proves
//!    missing or damaged loses its entry, so that nobody else tries it.
//!
//! Objects are never listed to read an output. They are deleted by the prefix of their query.

mod assemble;
mod backoff;
mod check;
mod error;
mod fault;
pub mod index;
mod name;
mod output;
mod pack;
mod plan;
mod reader;
mod record;
mod requests;
mod store;
mod transfer;
mod uploader;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use backoff::Retry;
pub use error::ShuffleError;
pub use fault::{Fault, classify};
pub use index::{Commit, Entry, Located};
pub use name::{ObjectName, is_plain};
pub use output::{FileKind, FileName, Output, OutputFile, OutputId};
pub use pack::{Limits, Packer};
pub use plan::{Pack, PackObject, Piece};
pub use reader::{StoredOutput, StoredOutputs};
pub use record::{MAX_SEGMENT, Record, RecordError, Segment, StoredFile};
pub use requests::Requests;
pub use store::ShuffleStore;
pub use uploader::{UploadMetrics, UploadSettings, Uploader};
