//! The scheduler: SQL front door, catalog, planning, routing, admission, and Ballista for the jobs it owns.

mod admission;
mod catalog;
mod ddl;
mod direct;
mod explain;
mod front;
mod handles;
mod history;
mod http;
mod limits;
mod members;
mod metrics;
mod opaque;
mod page;
mod peers;
mod plan;
mod prepare;
mod pump;
mod queries;
mod run;
mod service;
mod session;
mod spans;
mod staged;
mod streams;
mod submit;
mod write;

pub use run::{Shared, open_meta, run};
