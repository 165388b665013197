//! Messages from and to what a store takes and gives.

use std::time::Duration;

use prost::Message;

use super::failure::Failure;
use super::messages::{
    Change, Condition, Effect, Entry, Expected, GetAnswer, GrantAnswer, LeaseAnswer, Leased, ListAnswer,
    Nothing, Outcome, RevisionAnswer, TxnAnswer, TxnRequest,
};
use crate::error::{MetaStoreError, Result};
use crate::lease::{Lease, LeaseId};
use crate::store::{Event, EventKind, Snapshot, Versioned};
use crate::txn::{Expect, Precondition, Txn, TxnOutcome, Write};

/// The answer to one call of the store.
pub(super) trait Answer: Message + Default + 'static {
    type Value;

    fn of(result: Result<Self::Value>) -> Self;

    fn into_result(self) -> Result<Self::Value>;
}

impl Answer for GetAnswer {
    type Value = Option<Versioned>;

    fn of(result: Result<Self::Value>) -> Self {
        match result {
            Ok(found) => {
                Self { failure: None, entry: found.map(|versioned| Entry::of(String::new(), versioned)) }
            }
            Err(error) => Self { failure: Some(error.into()), entry: None },
        }
    }

    fn into_result(self) -> Result<Self::Value> {
        failed(self.failure)?;
        Ok(self.entry.map(|entry| entry.into_pair().1))
    }
}

impl Answer for ListAnswer {
    type Value = Snapshot;

    fn of(result: Result<Self::Value>) -> Self {
        match result {
            Ok(Snapshot { revision, entries }) => {
                let entries = entries.into_iter().map(|(key, versioned)| Entry::of(key, versioned)).collect();
                Self { failure: None, revision, entries }
            }
            Err(error) => Self { failure: Some(error.into()), ..Self::default() },
        }
    }

    fn into_result(self) -> Result<Self::Value> {
        failed(self.failure)?;
        let entries = self.entries.into_iter().map(Entry::into_pair).collect();
        Ok(Snapshot { revision: self.revision, entries })
    }
}

impl Answer for RevisionAnswer {
    type Value = u64;

    fn of(result: Result<Self::Value>) -> Self {
        match result {
            Ok(revision) => Self { failure: None, revision },
            Err(error) => Self { failure: Some(error.into()), revision: 0 },
        }
    }

    fn into_result(self) -> Result<Self::Value> {
        failed(self.failure)?;
        Ok(self.revision)
    }
}

impl Answer for TxnAnswer {
    type Value = TxnOutcome;

    fn of(result: Result<Self::Value>) -> Self {
        let outcome = match result {
            Ok(TxnOutcome::Committed { revision }) => Outcome::Committed(revision),
            Ok(TxnOutcome::Conflict { key }) => Outcome::Conflict(key),
            Err(error) => Outcome::Failure(error.into()),
        };
        Self { outcome: Some(outcome) }
    }

    fn into_result(self) -> Result<Self::Value> {
        match self.outcome {
            Some(Outcome::Committed(revision)) => Ok(TxnOutcome::Committed { revision }),
            Some(Outcome::Conflict(key)) => Ok(TxnOutcome::Conflict { key }),
            Some(Outcome::Failure(failure)) => Err(failure.into()),
            None => Err(MetaStoreError::OutcomeUnknown {
                place: "of another version".to_owned(),
                detail: "its answer cannot be read".to_owned(),
            }),
        }
    }
}

impl Answer for GrantAnswer {
    type Value = Lease;

    fn of(result: Result<Self::Value>) -> Self {
        match result {
            Ok(Lease { id, ttl }) => {
                // Rounded down: who holds it must not count longer than the store.
                let ttl_millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
                Self { failure: None, lease: id.get(), ttl_millis }
            }
            Err(error) => Self { failure: Some(error.into()), ..Self::default() },
        }
    }

    fn into_result(self) -> Result<Self::Value> {
        failed(self.failure)?;
        Ok(Lease { id: LeaseId::new(self.lease), ttl: Duration::from_millis(self.ttl_millis) })
    }
}

impl Answer for LeaseAnswer {
    type Value = ();

    fn of(result: Result<Self::Value>) -> Self {
        Self { failure: result.err().map(Failure::from) }
    }

    fn into_result(self) -> Result<Self::Value> {
        failed(self.failure)
    }
}

fn failed(failure: Option<Failure>) -> Result<()> {
    failure.map_or(Ok(()), |failure| Err(failure.into()))
}

impl Entry {
    fn of(key: String, versioned: Versioned) -> Self {
        Self { key, value: versioned.value, revision: versioned.revision }
    }

    fn into_pair(self) -> (String, Versioned) {
        (self.key, Versioned { value: self.value, revision: self.revision })
    }
}

impl Change {
    fn of(write: Write) -> Self {
        let (key, effect) = match write {
            Write::Put { key, value } => (key, Effect::Put(value)),
            Write::PutLeased { key, value, lease } => {
                (key, Effect::PutLeased(Leased { value, lease: lease.get() }))
            }
            Write::Delete { key } => (key, Effect::Delete(Nothing {})),
        };
        Self { key, effect: Some(effect), revision: 0 }
    }

    fn into_write(self) -> Option<Write> {
        Some(match self.effect? {
            Effect::Put(value) => Write::Put { key: self.key, value },
            Effect::PutLeased(Leased { value, lease }) => {
                Write::PutLeased { key: self.key, value, lease: LeaseId::new(lease) }
            }
            Effect::Delete(Nothing {}) => Write::Delete { key: self.key },
        })
    }

    pub(super) fn of_event(event: Event) -> Self {
        let effect = match event.kind {
            EventKind::Put(value) => Effect::Put(value),
            EventKind::Delete => Effect::Delete(Nothing {}),
        };
        Self { key: event.key, effect: Some(effect), revision: event.revision }
    }

    /// The event, or `None` if it is of a kind that this version does not know.
    pub(super) fn into_event(self) -> Option<Event> {
        let kind = match self.effect? {
            // Events do not say which lease a key goes with.
            Effect::Put(value) | Effect::PutLeased(Leased { value, .. }) => EventKind::Put(value),
            Effect::Delete(Nothing {}) => EventKind::Delete,
        };
        Some(Event { revision: self.revision, key: self.key, kind })
    }
}

impl Condition {
    fn of(precondition: Precondition) -> Self {
        let expected = match precondition.expect {
            Expect::Absent => Expected::Presence(false),
            Expect::Exists => Expected::Presence(true),
            Expect::Revision(revision) => Expected::Revision(revision),
        };
        Self { key: precondition.key, expected: Some(expected) }
    }

    fn into_precondition(self) -> Option<Precondition> {
        let expect = match self.expected? {
            Expected::Presence(false) => Expect::Absent,
            Expected::Presence(true) => Expect::Exists,
            Expected::Revision(revision) => Expect::Revision(revision),
        };
        Some(Precondition { key: self.key, expect })
    }
}

impl From<Txn> for TxnRequest {
    fn from(txn: Txn) -> Self {
        Self {
            preconditions: txn.preconditions.into_iter().map(Condition::of).collect(),
            writes: txn.writes.into_iter().map(Change::of).collect(),
        }
    }
}

impl TxnRequest {
    /// The transaction, or `None` if this version does not know all that it asks for.
    pub(super) fn into_txn(self) -> Option<Txn> {
        let preconditions = self.preconditions.into_iter().map(Condition::into_precondition);
        let writes = self.writes.into_iter().map(Change::into_write);
        Some(Txn {
            preconditions: preconditions.collect::<Option<_>>()?,
            writes: writes.collect::<Option<_>>()?,
        })
    }
}
