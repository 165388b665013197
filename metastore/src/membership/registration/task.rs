//! What keeps a registration: holds it, changes it, and gets it again.

use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::entry::{Entry, Held};
use super::{Standing, lock};
use crate::keeper::Lost;
use crate::membership::error::MembershipError;
use crate::membership::member::Member;

/// A wish to change what the process says of itself.
pub(super) struct Update {
    pub(super) change: Box<dyn FnOnce(&mut Member) + Send>,
    pub(super) reply: oneshot::Sender<Result<u64, MembershipError>>,
}

pub(super) struct Task {
    pub(super) entry: Entry,
    /// What the process says of itself, or will when it registers again.
    pub(super) member: Member,
    pub(super) held: Arc<Mutex<Option<Held>>>,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) updates: mpsc::Receiver<Update>,
    pub(super) stop: CancellationToken,
}

impl Task {
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.stay() => {}
        }
        if let Some(held) = self.lapse() {
            held.keeper.release().await;
        }
    }

    async fn stay(&mut self) {
        loop {
            self.hold().await;
            // The lease is given up if it is not lost yet.
            drop(self.lapse());
            tracing::warn!(name = self.member.name, "the registration of this member has lapsed");
            let held = self.regain().await;
            tracing::info!(name = self.member.name, lease = %held.keeper.lease(), "registered again");
            self.enter(held);
        }
    }

    fn enter(&self, held: Held) {
        let standing = held.standing();
        *lock(&self.held) = Some(held);
        self.standing.send_replace(standing);
    }

    fn lapse(&self) -> Option<Held> {
        let held = lock(&self.held).take();
        self.standing.send_replace(Standing::Lapsed);
        held
    }

    /// Holds the registration until it has lapsed.
    async fn hold(&mut self) {
        let tenure = lock(&self.held).as_ref().map(|held| (held.keeper.watch(), held.revision));
        let Some((mut lost, mut revision)) = tenure else { return };
        let mut entry = self.entry.follower();
        loop {
            tokio::select! {
                biased;
                () = told(&mut lost) => return,
                seen = entry.next() => {
                    if self.entry.is_overtaken(revision, &seen) {
                        return;
                    }
                }
                Some(update) = self.updates.recv() => match self.update(update, &mut lost).await {
                    Some(now) => revision = now,
                    None => return,
                },
            }
        }
    }

    /// Tells the revision after the update, unless the registration has lapsed.
    async fn update(&mut self, update: Update, lost: &mut watch::Receiver<Option<Lost>>) -> Option<u64> {
        let held = lock(&self.held).as_ref().map(|held| (held.keeper.lease(), held.revision));
        let (lease, revision) = held?;
        let written = match changed(&self.member, update.change) {
            Err(error) => Err(error),
            Ok(after) if after == self.member => Ok(revision),
            Ok(after) => {
                let written = tokio::select! {
                    biased;
                    () = told(lost) => Err(self.entry.lapsed()),
                    written = self.entry.replace(&after, lease, revision) => written,
                };
                if matches!(written, Ok(_) | Err(MembershipError::Lapsed { .. })) {
                    self.member = after;
                }
                written
            }
        };
        let now = match written {
            Ok(now) => Some(now),
            Err(MembershipError::Lapsed { .. }) => None,
            Err(_) => Some(revision),
        };
        if let Some(now) = now.filter(|now| *now != revision) {
            self.moved(now);
        }
        // Who asked may not wait any more.
        let _ = update.reply.send(written);
        now
    }

    fn moved(&self, revision: u64) {
        let mut held = lock(&self.held);
        if let Some(held) = held.as_mut() {
            held.revision = revision;
            self.standing.send_replace(held.standing());
        }
    }

    /// Registers again. What is to be changed meanwhile is part of it.
    async fn regain(&mut self) -> Held {
        loop {
            let wanted = self.member.clone();
            let update = tokio::select! {
                held = self.entry.regain(&wanted) => return held,
                Some(update) = self.updates.recv() => update,
            };
            let answer = changed(&self.member, update.change).and_then(|after| {
                self.member = after;
                Err(self.entry.lapsed())
            });
            let _ = update.reply.send(answer);
        }
    }
}

/// Completes when the lease is lost, or its keeper is gone.
async fn told(lost: &mut watch::Receiver<Option<Lost>>) {
    let _ = lost.wait_for(Option::is_some).await;
}

fn changed(member: &Member, change: impl FnOnce(&mut Member)) -> Result<Member, MembershipError> {
    let mut after = member.clone();
    change(&mut after);
    if after.is_same_process(member) {
        return Ok(after);
    }
    let identity = |member: &Member| format!("{}@{}", member.name, member.incarnation);
    Err(MembershipError::Renamed { before: identity(member), after: identity(&after) })
}
