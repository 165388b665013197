//! The contract of a metadata store.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::error::Result;
use crate::lease::{Lease, LeaseId};
use crate::txn::{Txn, TxnOutcome};

/// A key's value and the revision of the transaction that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    pub value: Bytes,
    pub revision: u64,
}

/// The entries below a prefix as they were at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The store's revision. A watch that starts after it continues this snapshot without a gap.
    pub revision: u64,
    /// In ascending order of the keys' bytes.
    pub entries: Vec<(String, Versioned)>,
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The revision of the transaction; all events of one transaction carry the same.
    pub revision: u64,
    pub key: String,
    pub kind: EventKind,
}

/// What happened to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    Put(Bytes),
    Delete,
}

/// Events in the order in which they took place. After an error the stream ends; without one it ends when the
/// store is closed.
pub type WatchStream = BoxStream<'static, Result<Event>>;

/// A key-value store whose transactions are totally ordered.
///
/// Every transaction that changes something takes effect at once and as a whole, and gets a revision above all
/// before. Revisions may skip numbers and need not begin at zero: who shares the server moves them too. A call that
/// returns has seen, and is seen by, every call that returned before it started.
///
/// A key may be written under a lease, and is then deleted with it: when the lease is revoked, or when it has not
/// been kept alive for its time to live. All keys of a lease go in one revision, as if by a transaction that deletes
/// them in the order of their bytes. A key belongs to the lease of its last write, or to none. Time is counted by the
/// server; how a holder counts it is [`crate::LeaseKeeper`]'s matter, and who must not act on a lease that has ended
/// makes a key of the lease a precondition of the transaction.
#[async_trait]
pub trait MetaStore: Send + Sync + Debug {
    /// The value of `key`, if it has one.
    async fn get(&self, key: &str) -> Result<Option<Versioned>>;

    /// All keys that start with `prefix`, which may be empty and need not end at a separator.
    async fn list(&self, prefix: &str) -> Result<Snapshot>;

    /// Performs the writes if every precondition holds, and else none of them. Once it has been called it may
    /// take place even if the caller no longer waits for it.
    ///
    /// # Errors
    /// [`crate::MetaStoreError::EmptyKey`] and [`crate::MetaStoreError::DuplicateKey`] for a transaction that has
    /// no meaning; [`crate::MetaStoreError::LeaseNotFound`] if the preconditions hold and a write is under a lease that
    /// has ended; [`crate::MetaStoreError::TooManyOperations`] and [`crate::MetaStoreError::TooLarge`]
    /// for one that the store does not take; [`crate::MetaStoreError::OutcomeUnknown`] if it may have taken place all
    /// the same; anything else if the store fails.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome>;

    /// The changes after the revision `after_revision` to keys that start with `prefix`: past ones first, then
    /// new ones as they happen.
    ///
    /// The events of one transaction follow each other in the order of its writes. Who stops between two of them
    /// must resume after the revision before.
    ///
    /// # Errors
    /// [`crate::MetaStoreError::Compacted`] if that revision is too old. The stream itself gives
    /// [`crate::MetaStoreError::Lagged`] if it is read too slowly: a store keeps a bounded number of events.
    async fn watch(&self, prefix: &str, after_revision: u64) -> Result<WatchStream>;

    /// The revision of the last transaction that changed something.
    async fn revision(&self) -> Result<u64>;

    /// A lease that ends unless it is kept alive within its time to live, counted from a moment after this was
    /// called. The store may round `ttl` up to what it can count, and cuts it to [`crate::lease::LONGEST_TTL`]. If it
    /// fails a lease may have been granted that nobody knows: it ends by itself.
    async fn grant(&self, ttl: Duration) -> Result<Lease>;

    /// Begins a lease's time to live anew, from a moment after this was called.
    ///
    /// # Errors
    /// [`crate::MetaStoreError::LeaseNotFound`] if it has ended, which is for good.
    async fn keep_alive(&self, lease: LeaseId) -> Result<()>;

    /// Ends a lease and deletes its keys. One that has ended already is left as it is.
    async fn revoke(&self, lease: LeaseId) -> Result<()>;
}
