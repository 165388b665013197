//! Watches: each reads the shared history at its own pace, so that no queue can overflow.

use std::collections::VecDeque;
use std::sync::{Arc, RwLock};

use futures::{StreamExt, stream};
use tokio::sync::watch;

use super::mirror::{self, Mirror, Past};
use crate::error::{MetaStoreError, Result};
use crate::store::{Event, WatchStream};

/// Events that one watch takes out of the history at a time, give or take a transaction.
const BATCH: usize = 256;

struct Watcher {
    mirror: Arc<RwLock<Mirror>>,
    commits: watch::Receiver<u64>,
    prefix: String,
    /// The history has been read up to here.
    after: u64,
    ready: VecDeque<Event>,
}

pub(super) fn watch(
    mirror: Arc<RwLock<Mirror>>,
    commits: watch::Receiver<u64>,
    prefix: &str,
    after: u64,
) -> Result<WatchStream> {
    let compacted = mirror::read(&mirror).compacted();
    if after < compacted {
        return Err(MetaStoreError::Compacted { at: compacted });
    }
    let watcher = Watcher { mirror, commits, prefix: prefix.to_owned(), after, ready: VecDeque::new() };
    let events = stream::try_unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await?;
        Ok(event.map(|event| (event, watcher)))
    });
    Ok(events.boxed())
}

impl Watcher {
    /// The next event, or `None` once the store is closed and everything has been read.
    async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            // Seen before the history is read: a commit in between is noticed below.
            self.commits.borrow_and_update();
            let before = self.after;
            match mirror::read(&self.mirror).past(&self.prefix, self.after, BATCH) {
                Past::Gone { compacted } => return Err(MetaStoreError::Lagged { at: compacted }),
                Past::Read { events, up_to } => {
                    self.ready.extend(events);
                    self.after = up_to;
                }
            }
            if self.after == before && self.commits.changed().await.is_err() {
                return Ok(None);
            }
        }
    }
}
