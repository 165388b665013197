//! A write-ahead log: rows are acknowledged only once they are in it.
//!
//! One [`Wal`] holds the rows of one stream in one directory. [`Wal::append`] completes when the record
//! is on stable storage; [`Wal::open`] gives back every such record after a crash.
//!
//! # What a caller may rely on
//!
//! * **Acknowledged** (`Ok`): the record was followed by a successful `fdatasync` of its file, and the
//!   file's name by a successful `fsync` of the directory. Every later open replays it, exactly once and
//!   in order, until a [`Wal::trim`] above it.
//! * **Absent** ([`WalError::NotWritten`], [`WalError::Full`], [`WalError::Busy`],
//!   [`WalError::TooLarge`], [`WalError::Closed`]): the record will never be replayed, not even after a
//!   power loss that follows the error.
//! * **Unknown** ([`WalError::Uncertain`], [`WalError::Stopped`], or a crash before the answer): the
//!   record may be replayed, once. After `Uncertain`, the next append that succeeds in the same process
//!   settles it as absent; otherwise the next open settles it. See [`WalError::may_be_replayed`].
//! * **Order**: records that are replayed come back in the order in which they were enqueued. An error
//!   for one record says nothing about the records enqueued after it: they are tried on their own.
//! * **Replayed means durable**: when `open` returns, what it replayed survives a later power loss.
//!
//! The log trusts the storage in two things only. A sector write is all or nothing, and bytes of a
//! successful sync stay as they are. The checksums find where the second did not hold, with one
//! exception: damage inside the very last group of records can not be told from a torn write, so it is
//! cut off and reported in [`Recovered::torn_bytes`].
//!
//! # On disk
//!
//! A segment file is named by the [`Position`] of its first record, 20 digits and `.wal`. All integers
//! are little endian, all checksums CRC-32C.
//!
//! ```text
//! segment:  magic 8 | version u32 | base u64 | salt u64 | checksum u32 | records
//! record:   length u32 | back u32 | checksum u32 of salt, base, position, length and back
//!           | checksum u32 of all these and the payload | payload
//! ```
//!
//! `back` is how far before the record its group begins. A group is written only after the group before
//! it is durable, so each valid record proves that everything before its group was durable too. That is
//! what tells damage (durable bytes that changed) from a torn tail (a group that a power loss left in
//! part, in which later pages may well have reached the disk before earlier ones).

mod directory;
mod disk;
mod error;
mod log;
mod options;
mod payload;
mod position;
mod record;
mod recovery;
mod segment;
mod store;
mod ticket;
mod usage;
mod writer;

#[cfg(test)]
mod tests;

pub use error::WalError;
pub use log::{Permit, Wal};
pub use options::WalOptions;
pub use payload::Payload;
pub use position::Position;
pub use record::MAX_PAYLOAD;
pub use recovery::Recovered;
pub use ticket::Ticket;
