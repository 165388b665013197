//! Polarway's metadata: a small, strictly ordered key-value store that the catalog and the cluster's shared facts
//! live in.
//!
//! [`MetaStore`] is the contract, with etcd's semantics: one revision that grows with every transaction that
//! changes something, transactions with preconditions, watches that miss nothing, and leases. [`EmbeddedMetaStore`]
//! keeps it within one process; [`remote`] reaches it from other processes; [`EtcdMetaStore`] is etcd itself.
//! [`conformance`] is the contract as tests, for every implementation. [`keys`] lists all that is ever stored,
//! [`LeaseKeeper`] holds a lease, and [`membership`] makes of leases who is in the cluster.

mod backoff;
mod configured;
pub mod conformance;
pub mod embedded;
pub mod error;
pub mod etcd;
pub mod follow;
pub mod keeper;
pub mod keys;
pub mod lease;
pub mod membership;
mod patience;
mod percent;
pub mod remote;
mod status;
pub mod store;
mod traced;
pub mod txn;

pub use configured::configured;
pub use embedded::EmbeddedMetaStore;
pub use error::{MetaStoreError, Result};
pub use etcd::{EtcdConfig, EtcdMetaStore};
pub use keeper::{LeaseKeeper, Lost};
pub use keys::{Key, KeyPrefix};
pub use lease::{Lease, LeaseId};
pub use membership::{Member, Members, MembershipError, Registration};
pub use patience::Patience;
pub use remote::{MetaDoor, RemoteMetaStore, Rights};
pub use store::{Event, EventKind, MetaStore, Snapshot, Versioned, WatchStream};
pub use traced::TracedMetaStore;
pub use txn::{Expect, Precondition, Txn, TxnOutcome, Write};
