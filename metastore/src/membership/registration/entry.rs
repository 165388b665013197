//! How the entry of one name is got and changed.
//!
//! 1. Look who has the name. If it is another process, wait for it to go.
//! 2. Take a lease, and write the entry under it, on the condition that nothing has changed since (1).
//! 3. Whatever goes wrong: give the lease up, and begin again with (1).
//!
//! So a transaction of which it is not known whether it took place needs no care: at (1) this process finds its own entry
//! and takes it over, under the new lease. The revision is a new one, and fences that were made with the one before hold
//! no longer.

use std::sync::Arc;
use std::time::Duration;

use polarway_common::{Clock, Supervisor};
use tokio::time::{Instant, timeout_at};

use super::Standing;
use crate::backoff::Backoff;
use crate::error::MetaStoreError;
use crate::follow::{Follower, Seen};
use crate::keeper::LeaseKeeper;
use crate::lease::LeaseId;
use crate::membership::error::MembershipError;
use crate::membership::member::Member;
use crate::store::{EventKind, MetaStore};
use crate::txn::{Expect, Txn, TxnOutcome};

/// What a store may take beyond the time to live to end a lease: etcd looks for them from time to time.
const SLACK: Duration = Duration::from_secs(2);

/// An entry that is held.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) keeper: LeaseKeeper,
    pub(super) revision: u64,
}

impl Held {
    pub(super) fn standing(&self) -> Standing {
        Standing::Registered { lease: self.keeper.lease(), revision: self.revision }
    }
}

pub(super) struct Entry {
    store: Arc<dyn MetaStore>,
    name: String,
    incarnation: String,
    key: String,
    ttl: Duration,
    clock: Arc<dyn Clock>,
    supervisor: Supervisor,
}

/// Who has the name.
enum Holder {
    Nobody,
    /// By an entry of this revision.
    Ourselves(u64),
    /// With words for it.
    Another(String),
}

enum Claim {
    Held(Held),
    Taken(String),
    /// Something changed meanwhile: look again.
    Raced,
}

impl Entry {
    pub(super) fn new(
        store: Arc<dyn MetaStore>,
        member: &Member,
        ttl: Duration,
        clock: Arc<dyn Clock>,
        supervisor: Supervisor,
    ) -> Self {
        let (name, incarnation) = (member.name.clone(), member.incarnation.clone());
        Self { store, name, incarnation, key: member.key().encode(), ttl, clock, supervisor }
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn lapsed(&self) -> MembershipError {
        MembershipError::Lapsed { name: self.name.clone() }
    }

    /// Follows the entry, and others whose names begin alike.
    pub(super) fn follower(&self) -> Follower {
        Follower::new(Arc::clone(&self.store), self.key.clone())
    }

    /// Gets the entry for the first time.
    pub(super) async fn obtain(&self, member: &Member) -> Result<Held, MembershipError> {
        let deadline = Instant::now() + self.ttl + SLACK;
        let mut backoff = Backoff::new();
        loop {
            let holder = match self.claim(member).await {
                Ok(Claim::Held(held)) => return Ok(held),
                Ok(Claim::Taken(holder)) => {
                    tracing::info!(name = self.name, holder, "the name of this member is taken; waiting");
                    if timeout_at(deadline, self.gone()).await.is_ok() {
                        continue;
                    }
                    holder
                }
                Ok(Claim::Raced) => "processes that come and go".to_owned(),
                Err(MembershipError::Store(MetaStoreError::OutcomeUnknown { .. }))
                    if Instant::now() < deadline =>
                {
                    backoff.pause().await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if Instant::now() >= deadline {
                return Err(MembershipError::Taken { name: self.name.clone(), holder });
            }
            backoff.pause().await;
        }
    }

    /// Gets the entry again, however long it takes.
    pub(super) async fn regain(&self, member: &Member) -> Held {
        let mut backoff = Backoff::new();
        loop {
            match self.claim(member).await {
                Ok(Claim::Held(held)) => return held,
                Ok(Claim::Taken(holder)) => {
                    tracing::warn!(name = self.name, holder, "another process has taken this one's name");
                    self.gone().await;
                    backoff.reset();
                }
                Ok(Claim::Raced) => backoff.pause().await,
                Err(error) => {
                    tracing::debug!(name = self.name, %error, "not registered yet");
                    backoff.pause().await;
                }
            }
        }
    }

    async fn claim(&self, member: &Member) -> Result<Claim, MembershipError> {
        let expect = match self.holder().await? {
            Holder::Nobody => Expect::Absent,
            Holder::Ourselves(revision) => Expect::Revision(revision),
            Holder::Another(holder) => return Ok(Claim::Taken(holder)),
        };
        let value = member.encode()?;
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        let task = format!("lease of member `{}`", self.name);
        let keeper = LeaseKeeper::start(store, self.ttl, clock, &self.supervisor, task).await?;
        let txn = Txn::new().expect(&self.key, expect).put_leased(&self.key, value, keeper.lease());
        match self.store.txn(txn).await {
            Ok(TxnOutcome::Committed { revision }) => Ok(Claim::Held(Held { keeper, revision })),
            // The process stood still between the two calls.
            Ok(TxnOutcome::Conflict { .. }) | Err(MetaStoreError::LeaseNotFound { .. }) => Ok(Claim::Raced),
            Err(error) => Err(error.into()),
        }
    }

    async fn holder(&self) -> Result<Holder, MembershipError> {
        let Some(found) = self.store.get(&self.key).await? else { return Ok(Holder::Nobody) };
        Ok(match Member::decode(&self.key, &found.value) {
            Ok(member) if member.incarnation == self.incarnation => Holder::Ourselves(found.revision),
            Ok(Member { address, incarnation, .. }) => {
                Holder::Another(format!("the process at {address}, incarnation `{incarnation}`"))
            }
            Err(error) => Holder::Another(format!("an entry that tells no address ({error})")),
        })
    }

    /// Waits until nobody has the name.
    async fn gone(&self) {
        let mut entry = self.follower();
        loop {
            let gone = match entry.next().await {
                Seen::All(entries) => entries.iter().all(|(key, _)| *key != self.key),
                Seen::One(event) => event.key == self.key && event.kind == EventKind::Delete,
            };
            if gone {
                return;
            }
        }
    }

    /// Whether what is seen shows that the entry of `revision` has been replaced or deleted.
    pub(super) fn is_overtaken(&self, revision: u64, seen: &Seen) -> bool {
        match seen {
            Seen::All(entries) => {
                let ours = entries.iter().find(|(key, _)| *key == self.key);
                ours.is_none_or(|(_, found)| found.revision != revision)
            }
            // Our own writes come here, too, after they were answered.
            Seen::One(event) => event.key == self.key && event.revision > revision,
        }
    }

    /// Writes `member` in the place of the entry of `revision`, and tells the new revision.
    pub(super) async fn replace(
        &self,
        member: &Member,
        lease: LeaseId,
        revision: u64,
    ) -> Result<u64, MembershipError> {
        let value = member.encode()?;
        let expect = Expect::Revision(revision);
        let mut backoff = Backoff::new();
        loop {
            let txn = Txn::new().expect(&self.key, expect).put_leased(&self.key, value.clone(), lease);
            let written = match self.store.txn(txn).await {
                Ok(TxnOutcome::Committed { revision }) => Ok(Some(revision)),
                // If it was sent before, it may be that which is in its own way.
                Ok(TxnOutcome::Conflict { .. }) => self
                    .store
                    .get(&self.key)
                    .await
                    .map(|found| found.filter(|found| found.value == value).map(|found| found.revision)),
                Err(error) => Err(error),
            };
            match written {
                Ok(Some(revision)) => return Ok(revision),
                Ok(None) | Err(MetaStoreError::LeaseNotFound { .. }) => return Err(self.lapsed()),
                Err(error)
                    if error.is_retryable() || matches!(error, MetaStoreError::OutcomeUnknown { .. }) =>
                {
                    tracing::debug!(name = self.name, %error, "a change of this member is written again");
                    backoff.pause().await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
