//! Watches, which go on when a connection breaks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcd_client::{GetOptions, WatchOptions, WatchResponse};
use futures::{StreamExt, stream};
use tokio::time::sleep;

use super::position::Position;
use super::space::{Range, revision};
use super::{Client, Connection, Failed, fault};
use crate::error::{MetaStoreError, Result};
use crate::store::{Event, EventKind, WatchStream};

/// Before a watch is opened again that broke without having given anything; doubled each time, up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const DOUBLINGS: u32 = 5;

struct Watch {
    connection: Arc<Connection>,
    range: Range,
    position: Position,
    messages: etcd_client::WatchStream,
    ready: VecDeque<Event>,
    /// How often the watch has been opened since something arrived.
    fruitless: u32,
}

pub(super) async fn watch(connection: Arc<Connection>, prefix: &str, after: u64) -> Result<WatchStream> {
    let range = connection.space.range(prefix);
    let mut position = Position::after(after);
    let messages = open(&connection, &range, &mut position).await?;
    let watch = Watch { connection, range, position, messages, ready: VecDeque::new(), fruitless: 0 };
    let events = stream::try_unfold(watch, |mut watch| async move {
        let event = watch.next().await?;
        Ok(Some((event, watch)))
    });
    Ok(events.boxed())
}

impl Watch {
    async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            match self.messages.message().await {
                Ok(Some(message)) if !message.canceled() => self.take(&message)?,
                Ok(Some(message)) if message.compact_revision() > 0 => {
                    return Err(MetaStoreError::Lagged { at: revision(message.compact_revision()) });
                }
                Ok(Some(message)) => self.resume(message.cancel_reason()).await?,
                Ok(None) => self.resume("it was closed").await?,
                Err(error) => self.resume(&fault::text(&error)).await?,
            }
        }
    }

    fn take(&mut self, message: &WatchResponse) -> Result<()> {
        let mut last = None;
        for event in message.events() {
            let Some(found) = event.kv() else { continue };
            let at = revision(found.mod_revision());
            last = Some(at);
            if self.position.arrived(at) {
                let key = self.connection.space.decode(&self.connection.place, found.key())?;
                let kind = match found.version() {
                    0 => EventKind::Delete,
                    _ => EventKind::Put(Bytes::copy_from_slice(found.value())),
                };
                self.ready.push_back(Event { revision: at, key, kind });
            }
        }
        // A message without events tells how far etcd has come.
        let told =
            || message.header().filter(|_| !message.created()).map(|header| revision(header.revision()));
        if let (false, Some(up_to)) = (message.0.fragment, last.or_else(told)) {
            self.position.completed(up_to);
            self.fruitless = 0;
        }
        Ok(())
    }

    async fn resume(&mut self, reason: &str) -> Result<()> {
        tracing::debug!(reason, after = self.position.whole(), "a watch is opened again");
        if self.fruitless > 0 {
            sleep(FIRST_PAUSE * 2u32.pow((self.fruitless - 1).min(DOUBLINGS))).await;
        }
        self.fruitless += 1;
        let opened = open(&self.connection, &self.range, &mut self.position).await;
        self.messages = opened.map_err(|error| match error {
            // Only a watch that is opened by its caller is refused; one that has begun fell behind.
            MetaStoreError::Compacted { at } => MetaStoreError::Lagged { at },
            error => error,
        })?;
        Ok(())
    }
}

/// A watch that etcd has accepted.
async fn open(
    connection: &Connection,
    range: &Range,
    position: &mut Position,
) -> Result<etcd_client::WatchStream> {
    let start = position.reopen();
    let ask = |client: Client| {
        let (range, place) = (range.clone(), connection.place.clone());
        async move {
            let kept = is_kept(&client, &range, start).await?;
            let options = WatchOptions::new()
                .with_range(range.end)
                .with_start_revision(start)
                .with_fragment()
                .with_progress_notify();
            let opened = client.watch().watch(range.start, Some(options)).await;
            let mut messages = opened.map_err(Failed::Etcd)?;
            loop {
                let message = messages.message().await.map_err(Failed::Etcd)?;
                let message = message.ok_or_else(|| fault::unavailable(&place, "a watch was closed"))?;
                if message.canceled() {
                    return Err(canceled(&place, &message).into());
                }
                // If the revision is not kept, etcd says so a little later, and up to which it keeps none.
                if message.created() && kept {
                    return Ok(messages);
                }
            }
        }
    };
    connection.ask(ask).await
}

/// Whether what happened after this revision is kept: etcd accepts a watch before it looks. It also logs in anew if that
/// is due, which etcd does not ask of a watch: it refuses the watch as if we had no right to it.
async fn is_kept(client: &Client, range: &Range, start: i64) -> Result<bool, Failed> {
    let options = GetOptions::new().with_range(range.end.clone()).with_revision(start);
    let options = options.with_keys_only().with_limit(1);
    match client.kv().get(range.start.clone(), Some(options)).await {
        Ok(_) => Ok(true),
        Err(error) if fault::is_compacted(&error) => Ok(false),
        // etcd was restored from an older copy: what the watcher knows is not this store's past.
        Err(error) if fault::is_future(&error) => {
            Err(MetaStoreError::Compacted { at: revision(start) }.into())
        }
        Err(error) => Err(Failed::Etcd(error)),
    }
}

fn canceled(place: &str, message: &WatchResponse) -> MetaStoreError {
    let reason = message.cancel_reason();
    if message.compact_revision() > 0 {
        MetaStoreError::Compacted { at: revision(message.compact_revision()) }
    } else if reason.contains("permission denied") {
        MetaStoreError::NotAllowed { detail: reason.to_owned() }
    } else {
        fault::unavailable(place, format!("a watch was cancelled: {reason}"))
    }
}
