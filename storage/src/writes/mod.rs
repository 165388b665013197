//! What statements write: where they may, how files come to be seen all at once, and what is known of writes that are
//! under way, so that whoever outlives their process can end them.

mod access;
mod record;
mod stage;

pub use access::{Place, WritableStore, WriteAccess};
pub(crate) use record::dropped;
pub use record::{Left, OpenWrite, WriteRecord, WriteState, Writes, now_millis, taken_over};
pub(crate) use stage::STAGING;
pub use stage::{StagedFile, Staging, expect_own, publish, remove_staging, staging_directory};
