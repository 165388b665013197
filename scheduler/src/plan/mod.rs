//! From SQL text to something that can run.

mod broadcast;
mod cache;
mod compile;
mod compiled;
pub mod route;
mod statement;
mod stream_statement;

pub use compile::{Planner, PlannerOptions};
pub use compiled::Compiled;
pub use statement::{Command, Explain, Statement, parse_in};
pub use stream_statement::{CreateStream, StreamStatement};
