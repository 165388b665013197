//! A metadata store that is reached over gRPC: [`MetaDoor`] offers a store of this process to others, and
//! [`RemoteMetaStore`] is that store there.
//!
//! Failures of the store travel within the answers, so that each arrives as what it was. A gRPC status that is not
//! OK means that something between the two went wrong.

mod client;
mod convert;
mod events;
mod failure;
mod fault;
mod leases;
mod messages;
mod method;
mod rights;
mod server;

#[cfg(test)]
mod tests;

pub use client::RemoteMetaStore;
pub use rights::Rights;
pub use server::MetaDoor;

pub use crate::patience::Patience;

/// The name of the gRPC service.
pub const SERVICE: &str = "polarway.v1.MetaStore";

/// The most bytes a request may have, which bounds what a transaction can write.
pub const REQUEST_BYTES: usize = 16 << 20;

/// The most bytes an answer may have, which bounds what a list can give.
pub const ANSWER_BYTES: usize = 64 << 20;

mod path {
    pub(super) const GET: &str = "/polarway.v1.MetaStore/Get";
    pub(super) const LIST: &str = "/polarway.v1.MetaStore/List";
    pub(super) const TXN: &str = "/polarway.v1.MetaStore/Txn";
    pub(super) const REVISION: &str = "/polarway.v1.MetaStore/Revision";
    pub(super) const WATCH: &str = "/polarway.v1.MetaStore/Watch";
    pub(super) const GRANT: &str = "/polarway.v1.MetaStore/Grant";
    pub(super) const KEEP_ALIVE: &str = "/polarway.v1.MetaStore/KeepAlive";
    pub(super) const REVOKE: &str = "/polarway.v1.MetaStore/Revoke";
}
