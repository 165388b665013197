//! The catalog as DataFusion sees it, made from immutable snapshots.

mod arrow_files;
mod formats;
mod managed;
mod parquet_files;
mod paths;
mod providers;
mod streams;
mod system;
mod tables;

pub use formats::by_name as format_named;
pub use paths::{Bounds, Paths};
pub use providers::{Dependency, PlanScope, ProviderCache, Sources, no_streams, no_tables};
pub use system::SYSTEM;
pub use tables::{ColumnTypes, TableBuilder, plain_columns, split_name};
