//! The harness of the multi-process tests: it starts the `polarway` binary as a user would, talks to it over the
//! network, and compares its answers with those of one DataFusion process over the same files.

// A harness fails by panicking: the test runner shows the message and the processes' logs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

pub mod arrow_frame;
pub mod binary;
pub mod chaos;
pub mod cluster;
pub mod compare;
pub mod dial;
pub mod etcd;
pub mod feed;
pub mod files;
pub mod flight;
pub mod forbidden;
pub mod http;
pub mod lossy;
pub mod namespace;
pub mod oracle;
pub mod otlp;
pub mod pki;
pub mod ports;
pub mod process;
pub mod python;
pub mod s3;
pub mod sender;
pub mod session;
pub mod small_disk;
pub mod store_fault;
pub mod tap;
pub mod tpcds;
pub mod tpch;
pub mod usage;
pub mod wait;

pub use cluster::{Cluster, Setup};
pub use compare::{Order, assert_same, difference};
pub use dial::Dial;
pub use oracle::Oracle;
pub use sender::Sender;
pub use session::{Answer, Session};
pub use wait::until;
