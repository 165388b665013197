//! Scans of rows that an ingest process holds in memory.
//!
//! A scan is a `DataSourceExec` over a [`LiveSource`]: Ballista gives each task its share of such a node, and would read
//! all partitions of a leaf of another kind in each task. What stands for a file is a [`HotSlice`], a range of a
//! stream's rows and who holds them; where the rows come from is decided by the process that runs the scan
//! ([`HotRows`]). [`ExtensionCodec`](crate::extension::ExtensionCodec) sends scans to other processes, the predicate and the columns with them.

mod access;
mod nodes;
mod put;
mod remote;
mod select;
mod slice;
mod source;
#[cfg(test)]
mod tests;
mod token;
mod views;

pub use access::{HotQuery, HotRows, LiveAccess};
pub use nodes::{NodeChannels, call_failed};
pub use put::{PutAnswers, PutFrames, PutOptions, until_revoked};
pub use remote::{RemoteRows, query_of};
pub use select::select;
pub use slice::HotSlice;
pub use source::{LiveSource, live_scan};
pub use token::{ReadToken, ReadTokens, TokenError};
pub use views::{Held, SealedFile, StreamHost, StreamStatus, StreamView};
