//! Queries that are composed step by step, and run as one statement.

mod batch;
mod expr;
mod frame;
mod items;
mod join;
mod operators;
mod plan;
mod read;
mod rows;
mod sql_text;
mod steps;
mod write;

pub use expr::{Expr, col, lit, null, raw};
pub use frame::{Frame, Grouped};
pub use items::{Column, Named, SortKey};
pub use join::{JoinKind, On};
pub use write::Written;
