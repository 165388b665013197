//! From SQL text to something that can run.

mod broadcast;
mod cache;
mod compile;
mod compiled;
mod describe;
mod need;
pub mod parameters;
pub mod route;
mod statement;
mod stream_statement;
mod writing;

pub use compile::{Planner, PlannerOptions};
pub use compiled::Compiled;
pub use describe::Description;
pub use statement::{Command, Explain, Statement, dialect_of, parse_in};
pub use stream_statement::{CreateStream, StreamStatement};
