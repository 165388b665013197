//! The benchmark harness behind `make bench`.
//!
//! One run makes the data with the product's own `polarway tpch`, starts our processes and each peer as child
//! processes, measures them in turn on the same files, and writes every raw sample with the facts of the machine
//! as JSON. The table in the documentation is rendered from that JSON and from nothing else.
//!
//! Layers, from the bottom:
//! - [`stats`], [`compare`], [`record`], [`report`]: plain data and decisions, tested without processes;
//! - [`process`], [`family`], [`machine`], [`data`]: what is needed of the operating system;
//! - [`peers`]: programs that speak a line protocol on their standard streams (DataFusion and Ballista are
//!   compiled in, the Python ones live in `benches/peers`);
//! - [`socket`]: a WebSocket client that costs next to nothing, for the suites of streams;
//! - [`collector`], [`scrape`], [`certificates`]: what stands around our processes where they are told to send traces, to be
//!   watched, and to speak TLS;
//! - [`engines`]: one face for everything that answers a query, ours through its Flight SQL door;
//! - [`suites`]: what is measured, one module a subject.

pub mod certificates;
pub mod cli;
pub mod clock;
pub mod collector;
pub mod compare;
pub mod data;
pub mod door;
pub mod engines;
pub mod failure;
pub mod family;
pub mod load;
pub mod machine;
pub mod peers;
pub mod process;
pub mod record;
pub mod report;
pub mod run;
pub mod scrape;
pub mod socket;
pub mod stats;
pub mod suites;
