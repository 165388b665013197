//! What becomes of the log of an owner that was replaced: its unsealed rows are put to the owner that came after, once.
//!
//! 1. The claim by which another process took the stream noted in the manifest that this log is *owed*, and from which
//!    place on its rows are not sealed. Nothing of that can change any more: the old owner's commits are refused.
//! 2. The process that has the log reads the records from that place on ([`Suffix`]) and numbers them from one on. Since
//!    the log is not written any more, they have the same numbers whenever it is read.
//! 3. It asks the owner how many it has, and sends the rest. The owner takes each as it takes rows of a sender, and with it
//!    the record's number, into one record of its own log: so none is taken twice, whoever dies and however often it is
//!    sent ([`crate::stream::Live::take_in`]). Frames that their producer has sent again meanwhile are left out.
//! 4. When the owner has them all, it seals them and commits a manifest that does not owe the log any more.
//! 5. The log is removed. One that is not owed needs none of this.

mod sender;
mod suffix;
mod taker;
#[cfg(test)]
mod tests;

pub use sender::{HandoverError, OldLog, OldLogs, Outcome, directory_of};
pub use suffix::Suffix;
pub(crate) use taker::Parts;
pub use taker::{NumberedRecord, Receiving, RemoteTaker, Taker};
