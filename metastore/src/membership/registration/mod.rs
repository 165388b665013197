//! Being a member: registered under a lease, registered again when that is lost, and gone at once at the end.

mod entry;
mod task;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use polarway_common::{Clock, Supervisor, TaskKind};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::DropGuard;

use self::entry::{Entry, Held};
use self::task::{Task, Update};
use super::error::MembershipError;
use super::member::Member;
use crate::lease::LeaseId;
use crate::store::MetaStore;
use crate::txn::{Expect, Precondition};

/// Updates that wait for the one before.
const UPDATES: usize = 8;

/// Whether a process is registered, as far as it has noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its entry was written at this revision, under this lease.
    Registered { lease: LeaseId, revision: u64 },
    /// Others may take it for dead, and what it does may have been given to them.
    Lapsed,
}

/// The entry of a process among the members. Dropping it gives it up, as does the end of its supervisor; to be a member
/// while other tasks end, give it a supervisor of its own.
///
/// When the lease is lost, because the store was away or the process stood still, or when the entry was taken away, the
/// process registers again under a new lease, with the same incarnation, as soon as the store answers and the name is
/// free. What it did meanwhile is fenced: see [`Registration::fence`].
#[derive(Debug)]
pub struct Registration {
    name: String,
    key: String,
    ttl: Duration,
    held: Arc<Mutex<Option<Held>>>,
    standing: watch::Receiver<Standing>,
    updates: mpsc::Sender<Update>,
    stop: DropGuard,
}

impl Registration {
    /// Registers `member` under a lease of about `ttl`, and keeps it registered in background tasks.
    ///
    /// If another process has the name, this waits for it to go a little longer than `ttl`, after which the entry of one
    /// that died is gone, if its lease was of the same length.
    ///
    /// # Errors
    /// [`MembershipError::Taken`] if the other one stays, [`MembershipError::Stopping`] if `supervisor` stops
    /// meanwhile, [`MembershipError::Store`] if the store fails.
    pub async fn start(
        store: Arc<dyn MetaStore>,
        member: Member,
        ttl: Duration,
        clock: Arc<dyn Clock>,
        supervisor: &Supervisor,
    ) -> Result<Self, MembershipError> {
        let stop = supervisor.token().child_token();
        let name = member.name.clone();
        let entry = Entry::new(store, &member, ttl, clock, supervisor.clone());
        let first = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(MembershipError::Stopping { name }),
            first = entry.obtain(&member) => first?,
        };
        let key = entry.key().to_owned();
        let (sender, standing) = watch::channel(first.standing());
        let (updates, receiver) = mpsc::channel(UPDATES);
        let held = Arc::new(Mutex::new(Some(first)));
        let task = Task {
            entry,
            member,
            held: Arc::clone(&held),
            standing: sender,
            updates: receiver,
            stop: stop.clone(),
        };
        supervisor.spawn(format!("registration of `{name}`"), TaskKind::Background, async move {
            task.run().await;
            Ok(())
        });
        Ok(Self { name, key, ttl, held, standing, updates, stop: stop.drop_guard() })
    }

    /// Whether the registration is held at this moment, by the clock and not by what its task has noticed.
    pub fn is_registered(&self) -> bool {
        self.revision().is_some()
    }

    /// What has to hold of the store so that this registration has not lapsed, to be put into every transaction that
    /// must not take place once it has; `None` while it is not held.
    ///
    /// The transaction also conflicts if the entry was updated since: who finds that out asks for the fence again.
    pub fn fence(&self) -> Option<Precondition> {
        let expect = Expect::Revision(self.revision()?);
        Some(Precondition { key: self.key.clone(), expect })
    }

    /// Tells when the registration lapses, is held again, or has another revision because it was updated. It shows what
    /// is now: who finds another lease than before has missed that it had lapsed. The sender goes when the registration
    /// is given up.
    pub fn status(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Changes what the process says of itself, under the same lease, and tells the new revision. A change that is
    /// none writes nothing. Once this has been called the change may take place even if the caller no longer waits.
    ///
    /// # Errors
    /// [`MembershipError::Lapsed`] if the registration is not held, or not any more: then the change becomes part of the
    /// next one. After all other errors nothing has changed: [`MembershipError::Renamed`] if the change is one of
    /// name or incarnation, [`MembershipError::Stopping`] after the end of the supervisor,
    /// [`MembershipError::Store`] if the store refuses it; one that does not answer is asked again as long as the
    /// lease lasts.
    pub async fn update(
        &self,
        change: impl FnOnce(&mut Member) + Send + 'static,
    ) -> Result<u64, MembershipError> {
        let stopping = || MembershipError::Stopping { name: self.name.clone() };
        let (reply, answer) = oneshot::channel();
        let update = Update { change: Box::new(change), reply };
        self.updates.send(update).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    /// Gives the registration up, and waits until the store has deleted the entry, or has not answered within the time
    /// to live that was asked for: then the entry goes by itself. The end of the supervisor also waits for an attempt to
    /// register again that was under way.
    pub async fn leave(self) {
        let Self { name, ttl, mut standing, stop, .. } = self;
        drop(stop);
        let gone = async { while standing.changed().await.is_ok() {} };
        if timeout(ttl, gone).await.is_err() {
            tracing::warn!(
                name,
                "the metadata store does not answer; the entry of this member ends by itself"
            );
        }
    }

    fn revision(&self) -> Option<u64> {
        let held = lock(&self.held);
        held.as_ref().filter(|held| held.keeper.is_held()).map(|held| held.revision)
    }
}

fn lock(held: &Mutex<Option<Held>>) -> MutexGuard<'_, Option<Held>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
