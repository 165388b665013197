//! From SQL text to something that can run.

mod cache;
mod compile;
pub mod route;
mod statement;

pub use compile::{Compiled, Planner, PlannerOptions};
pub use statement::{Command, Explain, Statement, parse};
