//! Following who is in the cluster.

use std::sync::Arc;

use polarway_common::{Supervisor, TaskKind};
use tokio::sync::watch;

use super::error::MembershipError;
use super::member::Member;
use super::view::{Change, Observed, View};
use crate::follow::{Follower, Seen};
use crate::keys::{Key, KeyPrefix};
use crate::store::{Event, EventKind, MetaStore, Versioned};

/// The members of the cluster, kept up to date by a watch. Clones share it.
///
/// While the store is away the last view stays. Once the supervisor has stopped, it stays for good.
#[derive(Debug, Clone)]
pub struct Members {
    view: watch::Receiver<Arc<View>>,
}

impl Members {
    /// Lists the members, and follows them in a background task until `supervisor` stops or nobody asks any more.
    ///
    /// # Errors
    /// [`MembershipError::Store`] if they cannot be listed. From then on errors of the store are ridden out.
    pub async fn follow(store: Arc<dyn MetaStore>, supervisor: &Supervisor) -> Result<Self, MembershipError> {
        let mut keys = Follower::new(store, KeyPrefix::Members.encode());
        let mut view = View::new();
        view.reset(readable(keys.list().await?));
        let (sender, receiver) = watch::channel(Arc::new(view));
        let token = supervisor.token();
        supervisor.spawn("members", TaskKind::Background, async move {
            tokio::select! {
                () = follow(keys, &sender) => {}
                () = sender.closed() => {}
                () = token.cancelled() => {}
            }
            Ok(())
        });
        Ok(Self { view: receiver })
    }

    /// Who is there now.
    pub fn current(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// Tells of every new view, or of the last one to who is slow: [`View::changes_since`] says what has changed.
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }
}

async fn follow(mut keys: Follower, sender: &watch::Sender<Arc<View>>) {
    loop {
        let seen = keys.next().await;
        let mut view = View::clone(&sender.borrow());
        let changes = match seen {
            Seen::All(entries) => view.reset(readable(entries)),
            Seen::One(event) => observed(event).map(|observed| view.apply(observed)).unwrap_or_default(),
        };
        if !changes.is_empty() {
            changes.iter().for_each(tell);
            sender.send_replace(Arc::new(view));
        }
    }
}

/// What an event says of a name. A value that cannot be read says that there is nobody to work with.
fn observed(event: Event) -> Option<Observed> {
    let Ok(Key::Member { name }) = Key::decode(&event.key) else {
        tracing::warn!(key = event.key, "a key of no member is left out");
        return None;
    };
    let member = match event.kind {
        EventKind::Put(value) => read(&event.key, &value),
        EventKind::Delete => None,
    };
    Some(member.map_or(Observed::Gone { name }, |member| Observed::Present(Arc::new(member))))
}

fn readable(entries: Vec<(String, Versioned)>) -> Vec<Member> {
    entries.into_iter().filter_map(|(key, found)| read(&key, &found.value)).collect()
}

fn read(key: &str, value: &[u8]) -> Option<Member> {
    Member::decode(key, value)
        .inspect_err(|error| tracing::warn!(%error, "an entry of a member is left out"))
        .ok()
}

fn tell(change: &Change) {
    match change {
        Change::Joined(member) => {
            let Member { name, role, address, .. } = &**member;
            tracing::info!(name, ?role, %address, "a member joined");
        }
        Change::Left(member) => {
            let Member { name, role, address, .. } = &**member;
            tracing::info!(name, ?role, %address, "a member left");
        }
        Change::Updated { after, .. } => {
            tracing::debug!(name = after.name, state = ?after.state, "a member changed");
        }
    }
}
