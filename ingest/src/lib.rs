//! Streams: rows that arrive over WebSocket, can be queried at once, and are never lost once they are acknowledged.
//!
//! A connection ([`socket`]) brings frames, which are decoded ([`decode`]) and taken in ([`feed`]) by a stream
//! ([`stream`]). It holds the rows in memory ([`hot`]), writes them to its log ([`wal`]), and puts them into files
//! ([`seal`]) that its manifest lists. Rows that nobody sends are fetched ([`pull`]). A process of its own ([`node`]) serves its rows to others ([`remote`]).

pub mod decode;
mod durability;
pub mod feed;
pub mod handover;
pub mod host;
pub mod hot;
#[cfg(test)]
mod identified;
pub mod node;
pub mod ownership;
pub mod pull;
mod put;
pub mod remote;
pub mod seal;
pub mod socket;
pub mod stream;
pub mod wal;

pub use durability::Durability;
