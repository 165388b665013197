//! How people reach a server: the shell, and drivers that others wrote.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "clients/adbc.rs"]
mod adbc;
// Examples are run as they are, beside their `main`.
#[allow(dead_code)]
#[path = "../../client/examples/batch_processing.rs"]
mod batch_processing;
#[path = "clients/flight_sql.rs"]
mod flight_sql;
#[path = "clients/handles.rs"]
mod handles;
#[path = "clients/python.rs"]
mod python;
#[allow(dead_code)]
#[path = "../../client/examples/quickstart.rs"]
mod quickstart;
#[path = "clients/rust.rs"]
mod rust;
#[path = "clients/shell.rs"]
mod shell;
#[allow(dead_code)]
#[path = "../../client/examples/tables.rs"]
mod tables;
