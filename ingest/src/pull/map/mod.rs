//! Messages of a feed become rows of typed columns.
//!
//! The places that a feed's options name are compiled into a tree once. A message is walked along it once, which
//! notes where the values stand; no value tree is built, and no row allocates. Then the conditions say what kind of
//! message it is, and the values noted are read into the columns by the same strict rules as pushed rows
//! ([`decode`](crate::decode)), and by the coercions that the mapping declares.

mod condition;
mod error;
mod filler;
mod keeper;
mod mapper;
mod sequence;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

pub use error::MapError;
pub use mapper::{Mapped, Mapper};
