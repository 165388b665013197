//! Queries that have ended, beyond the life of the scheduler that ran them.
//!
//! 1. A query ends: a reference to it, which the process holds anyway, goes into a queue ([`queue`]). Nothing is copied,
//!    written or waited for, and a full queue drops its oldest.
//! 2. Once a second one task ([`keeper`]) makes text of what is in the queue ([`entry`]) and writes it, as one value for each
//!    namespace and of a bounded size together, to the metadata store. The same transaction deletes the oldest values that are
//!    not needed for `telemetry.history` queries of a namespace: those of all schedulers count together, those of other
//!    namespaces do not.
//! 3. The same task follows what the schedulers have written, those that are gone among them ([`archive`]). So each can
//!    show all of it, to those who may see it ([`past`]).
//!
//! What was not written when a process was killed, and what it was running then, is not known, and nothing is said of it.

mod archive;
mod entry;
mod keeper;
mod past;
mod queue;
mod record;

pub use keeper::{forget, keep};
pub use past::Past;
pub use record::{QueryRecord, RecordedError, shortened, shortened_plans};
