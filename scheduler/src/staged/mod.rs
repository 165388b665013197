//! The staged route: Ballista splits a plan over the executors; this module sees to it that its answer is right or
//! that there is none.

pub mod ballista;
mod cluster;
mod driver;
mod executor_door;
mod graph;
#[cfg(test)]
mod graph_tests;
mod ids;
pub mod janitor;
mod jobs;
mod losses;
mod report;
pub mod results;
pub mod stored;
mod watchdog;

pub use driver::{StagedOptions, StagedRunner};
pub use executor_door::ExecutorDoor;
pub use report::JobReport;
