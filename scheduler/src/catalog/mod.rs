//! The catalog as DataFusion sees it, made from immutable snapshots.

mod arrow_files;
mod formats;
mod providers;
mod tables;

pub use providers::{Dependency, PlanScope, ProviderCache};
pub use tables::{ColumnTypes, TableBuilder, split_name};
