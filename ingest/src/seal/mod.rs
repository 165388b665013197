//! From rows in memory to files of sealed rows.

mod file;
mod split;

pub use file::{FileOptions, SealError, SealedFile, seal};
pub use split::{Layout, ticks_per_second};
