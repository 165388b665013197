//! Following who has which stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use polarway_common::{Supervisor, TaskKind};
use polarway_metastore::follow::{Follower, Seen};
use polarway_metastore::{EventKind, Key, KeyPrefix, MetaStore};
use tokio::sync::watch;

use super::owner::{Owner, StreamError, read};

/// Owners by the streams' identities, kept up to date by a watch. While the store is away the last ones stay.
#[derive(Debug, Clone)]
pub struct Owners(watch::Receiver<Arc<BTreeMap<String, Owner>>>);

impl Owners {
    /// Lists the owners, and follows them in a background task until `supervisor` stops or nobody asks any more.
    ///
    /// # Errors
    /// [`StreamError::Meta`] if they cannot be listed. From then on errors of the store are ridden out.
    pub async fn follow(meta: Arc<dyn MetaStore>, supervisor: &Supervisor) -> Result<Self, StreamError> {
        let mut keys = Follower::new(meta, KeyPrefix::StreamOwners.encode());
        let mut owners = BTreeMap::new();
        apply(&mut owners, Seen::All(keys.list().await?));
        let (sender, receiver) = watch::channel(Arc::new(owners.clone()));
        let token = supervisor.token();
        let following = async move {
            loop {
                let seen = keys.next().await;
                apply(&mut owners, seen);
                sender.send_if_modified(|known| {
                    let changed = **known != owners;
                    if changed {
                        *known = Arc::new(owners.clone());
                    }
                    changed
                });
                if sender.is_closed() {
                    return;
                }
            }
        };
        supervisor.spawn("owners of streams", TaskKind::Background, async move {
            tokio::select! {
                () = following => {}
                () = token.cancelled() => {}
            }
            Ok(())
        });
        Ok(Self(receiver))
    }

    /// As they are now.
    pub fn current(&self) -> Arc<BTreeMap<String, Owner>> {
        Arc::clone(&self.0.borrow())
    }

    /// Tells of every change, or of the last one to who is slow.
    pub fn watch(&self) -> watch::Receiver<Arc<BTreeMap<String, Owner>>> {
        self.0.clone()
    }
}

fn apply(owners: &mut BTreeMap<String, Owner>, seen: Seen) {
    match seen {
        Seen::All(entries) => {
            owners.clear();
            for (key, found) in entries {
                put(owners, &key, &found.value);
            }
        }
        Seen::One(event) => match event.kind {
            EventKind::Put(value) => put(owners, &event.key, &value),
            EventKind::Delete => {
                if let Ok(Key::StreamOwner { id }) = Key::decode(&event.key) {
                    owners.remove(&id);
                }
            }
        },
    }
}

fn put(owners: &mut BTreeMap<String, Owner>, key: &str, value: &[u8]) {
    match (Key::decode(key), read::<Owner>(value)) {
        (Ok(Key::StreamOwner { id }), Ok(owner)) => {
            owners.insert(id, owner);
        }
        (_, Err(error)) => tracing::warn!(key, %error, "an owner that cannot be read is left as it was"),
        (_, Ok(_)) => {}
    }
}
