//! TLS: what a process shows and whom it trusts, read anew when its files change, and connections that clients dial.
//!
//! Without configuration all of it is plain TCP, through the same types. [`Tls`] is a process's side of it: processes know
//! each other by certificates of one authority with one name in them, whatever the address. [`Trust`] and [`Connector`] are
//! a client's, which knows a server by the name that it dials.

mod connector;
mod failure;
mod files;
mod material;
mod process;
mod stream;
#[cfg(test)]
mod tests;
mod trust;

pub use connector::Connector;
pub use failure::{ConnectError, handshake_failure};
pub use process::{Accepted, Protocol, Tls, went_away};
pub use stream::MaybeTls;
pub use trust::{ClientFiles, Trust};
