//! Following a set of keys over whatever happens to the store: list, then watch, and list again when the watch ends.
//!
//! A watch that fails is not resumed where it was: a list costs little where there are few keys, and is right after a
//! compaction and after the store was restored from an older copy, too.

use std::sync::Arc;

use futures::StreamExt;

use crate::backoff::Backoff;
use crate::error::Result;
use crate::store::{Event, MetaStore, Versioned, WatchStream};

/// See the module's page.
pub struct Follower {
    store: Arc<dyn MetaStore>,
    prefix: String,
    events: Option<WatchStream>,
    backoff: Backoff,
}

/// What there is to know next.
pub enum Seen {
    /// All that there is now; what was seen before no longer counts.
    All(Vec<(String, Versioned)>),
    One(Event),
}

impl Follower {
    /// Follows all keys that start with `prefix`.
    pub fn new(store: Arc<dyn MetaStore>, prefix: String) -> Self {
        Self { store, prefix, events: None, backoff: Backoff::new() }
    }

    /// Lists, and watches from there.
    ///
    /// # Errors
    /// Those of [`MetaStore::list`] and [`MetaStore::watch`].
    pub async fn list(&mut self) -> Result<Vec<(String, Versioned)>> {
        self.events = None;
        let snapshot = self.store.list(&self.prefix).await?;
        self.events = Some(self.store.watch(&self.prefix, snapshot.revision).await?);
        Ok(snapshot.entries)
    }

    /// What comes next, as soon as the store tells it. May be dropped at any time.
    pub async fn next(&mut self) -> Seen {
        loop {
            if let Some(events) = &mut self.events {
                let problem = match events.next().await {
                    Some(Ok(event)) => {
                        self.backoff.reset();
                        return Seen::One(event);
                    }
                    Some(Err(error)) => error.to_string(),
                    None => "it was closed".to_owned(),
                };
                tracing::debug!(prefix = self.prefix, problem, "a watch ended; the keys are listed again");
                self.events = None;
                self.backoff.pause().await;
            }
            match self.list().await {
                Ok(entries) => return Seen::All(entries),
                Err(error) => {
                    tracing::debug!(prefix = self.prefix, %error, "keys cannot be followed; again");
                    self.backoff.pause().await;
                }
            }
        }
    }
}
