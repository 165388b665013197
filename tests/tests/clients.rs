//! How people reach a server: the shell, and drivers that others wrote.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "clients/adbc.rs"]
mod adbc;
#[path = "clients/flight_sql.rs"]
mod flight_sql;
#[path = "clients/handles.rs"]
mod handles;
#[path = "clients/python.rs"]
mod python;
#[path = "clients/shell.rs"]
mod shell;
