//! The catalog as DataFusion sees it, made from immutable snapshots.

mod arrow_files;
mod formats;
mod providers;
mod streams;
mod system;
mod tables;

pub use providers::{Dependency, PlanScope, ProviderCache, Sources, no_streams};
pub use system::SYSTEM;
pub use tables::{ColumnTypes, TableBuilder, plain_columns, split_name};
