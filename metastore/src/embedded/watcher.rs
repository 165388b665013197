//! Watches: each reads the shared history at its own pace, so that no queue can overflow.

use std::collections::VecDeque;
use std::sync::{Arc, RwLock, Weak};

use futures::{StreamExt, stream};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep_until};

use super::mirror::{self, Mirror, Past};
use super::{Writer, settle};
use crate::error::{MetaStoreError, Result};
use crate::store::{Event, WatchStream};

/// Events that one watch takes out of the history at a time, give or take a transaction.
const BATCH: usize = 256;

struct Watcher {
    /// Not held, so that a store which nobody else has is closed.
    writer: Weak<Mutex<Writer>>,
    mirror: Arc<RwLock<Mirror>>,
    commits: watch::Receiver<u64>,
    prefix: String,
    /// The history has been read up to here.
    after: u64,
    ready: VecDeque<Event>,
}

pub(super) fn watch(
    writer: &Arc<Mutex<Writer>>,
    mirror: Arc<RwLock<Mirror>>,
    commits: watch::Receiver<u64>,
    prefix: &str,
    after: u64,
) -> Result<WatchStream> {
    let compacted = mirror::read(&mirror).compacted();
    if after < compacted {
        return Err(MetaStoreError::Compacted { at: compacted });
    }
    let (writer, prefix) = (Arc::downgrade(writer), prefix.to_owned());
    let watcher = Watcher { writer, mirror, commits, prefix, after, ready: VecDeque::new() };
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
            if self.after == before && !self.wait().await? {
                return Ok(None);
            }
        }
    }

    /// Waits for a commit, or for the next lease's end, which it makes. A lease that is granted meanwhile has no key
    /// before the next commit. False once the store is closed.
    async fn wait(&mut self) -> Result<bool> {
        let next_end = mirror::read(&self.mirror).leases.next_end();
        let ended = async {
            match next_end {
                Some(end) => sleep_until(Instant::from_std(end)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.commits.changed() => return Ok(changed.is_ok()),
            () = ended => {}
        }
        match self.writer.upgrade() {
            Some(writer) => settle(&writer, &self.mirror).await?,
            None => return Ok(false),
        }
        Ok(true)
    }
}
