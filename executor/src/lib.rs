//! The executor: runs tasks for schedulers, serves its shuffle files, and runs whole plans for the direct route.

mod budgets;
mod flight;
mod health;
mod heartbeat;
mod here;
mod launched;
mod ledger;
mod pool;
mod report;
mod result_file;
mod run;
mod service;
mod shuffle;
mod spans;
mod stored;
mod task;
mod verify;
mod waits;
mod workdir;

pub use run::{Shared, run};
