//! Transactions: what must hold, and what is written then.

use std::collections::HashSet;

use bytes::Bytes;

use crate::error::{MetaStoreError, Result};
use crate::lease::LeaseId;

/// Writes that take place together if all preconditions hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    pub preconditions: Vec<Precondition>,
    pub writes: Vec<Write>,
}

/// What must hold of a key for a transaction to take place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Precondition {
    pub key: String,
    pub expect: Expect,
}

/// The state in which a key is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// It has no value.
    Absent,
    /// It has a value.
    Exists,
    /// It has the value that the transaction of this revision wrote.
    Revision(u64),
}

impl Expect {
    /// Whether a key that was last written at `revision`, or has no value, is as expected.
    pub fn holds(self, revision: Option<u64>) -> bool {
        match self {
            Expect::Absent => revision.is_none(),
            Expect::Exists => revision.is_some(),
            Expect::Revision(expected) => revision == Some(expected),
        }
    }
}

/// One change. To delete a key that has no value changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Under no lease, also if the key has one so far.
    Put {
        key: String,
        value: Bytes,
    },
    /// The key is deleted when the lease ends.
    PutLeased {
        key: String,
        value: Bytes,
        lease: LeaseId,
    },
    Delete {
        key: String,
    },
}

impl Write {
    pub fn key(&self) -> &str {
        match self {
            Write::Put { key, .. } | Write::PutLeased { key, .. } | Write::Delete { key } => key,
        }
    }

    /// The lease that the key is to belong to.
    pub fn lease(&self) -> Option<LeaseId> {
        match self {
            Write::PutLeased { lease, .. } => Some(*lease),
            Write::Put { .. } | Write::Delete { .. } => None,
        }
    }
}

/// How a transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TxnOutcome {
    /// It took place. The revision is its own, or that of the store if it changed nothing.
    Committed { revision: u64 },
    /// It did not take place, because of the precondition on this key (the first in order that does not hold).
    Conflict { key: String },
}

impl TxnOutcome {
    /// The revision, if the transaction took place.
    pub fn committed(&self) -> Option<u64> {
        match self {
            TxnOutcome::Committed { revision } => Some(*revision),
            TxnOutcome::Conflict { .. } => None,
        }
    }
}

impl Txn {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn expect(mut self, key: impl Into<String>, expect: Expect) -> Self {
        self.preconditions.push(Precondition { key: key.into(), expect });
        self
    }

    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.writes.push(Write::Put { key: key.into(), value: value.into() });
        self
    }

    /// A write that lasts as long as the lease.
    #[must_use]
    pub fn put_leased(mut self, key: impl Into<String>, value: impl Into<Bytes>, lease: LeaseId) -> Self {
        self.writes.push(Write::PutLeased { key: key.into(), value: value.into(), lease });
        self
    }

    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.writes.push(Write::Delete { key: key.into() });
        self
    }

    /// Refuses what no store can give a meaning to.
    ///
    /// # Errors
    /// [`MetaStoreError::EmptyKey`] or [`MetaStoreError::DuplicateKey`].
    pub fn check(&self) -> Result<()> {
        let preconditions = self.preconditions.iter().map(|precondition| precondition.key.as_str());
        if preconditions.chain(self.writes.iter().map(Write::key)).any(str::is_empty) {
            return Err(MetaStoreError::EmptyKey);
        }
        let mut seen = HashSet::new();
        match self.writes.iter().map(Write::key).find(|key| !seen.insert(*key)) {
            Some(key) => Err(MetaStoreError::DuplicateKey { key: key.to_owned() }),
            None => Ok(()),
        }
    }
}
