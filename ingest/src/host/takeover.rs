//! Streams that come from another process, or go to one.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;

use polarway_common::Error;
use polarway_storage::streams::{Node, Owner, Ownership, StreamError};

use super::{Host, Known, logged};
use crate::ownership::{Group, Stream};

impl Host {
    /// The streams that are open here, with the epochs in which they were claimed.
    pub(crate) fn opened(&self) -> HashMap<String, u64> {
        self.open.read().iter().map(|(id, open)| (id.clone(), open.live.epoch())).collect()
    }

    /// Claims streams that go together, all of which the process `gone` had or nobody, and opens them. False if another
    /// process has claimed them, or that one has come back.
    ///
    /// # Errors
    /// When they cannot be claimed or opened. Those that are claimed are this process's: see [`Host::reopen`].
    pub(crate) async fn take_over(&self, gone: &str, mut streams: Vec<Known>) -> Result<bool, Error> {
        // A stream takes rows once what goes with it is open.
        streams.sort_by_key(|known| known.definition.companion_of().is_none());
        let id = |known: &Known| known.definition.id.clone();
        let claims: Vec<_> = streams.iter().map(|known| (id(known), self.sealed_store(&id(known)))).collect();
        let taken = Ownership::take_over(&self.options.meta, &claims, &self.claimant()?, gone).await?;
        let Some(taken) = taken else { return Ok(false) };
        for (known, ownership) in streams.into_iter().zip(taken) {
            let epoch = ownership.epoch();
            let Known { schema, name, definition } = known.clone();
            self.start(schema, name, definition, Some(ownership)).await?;
            self.taken_over.fetch_add(1, Ordering::Relaxed);
            tracing::info!(stream = logged(&known.schema, &known.name), epoch, gone, "taken over");
            self.fetch(&known);
        }
        Ok(true)
    }

    /// Opens a stream that is this process's and was not opened when it came.
    ///
    /// # Errors
    /// When it cannot be opened, or is another's by now.
    pub(crate) async fn reopen(&self, known: Known) -> Result<(), Error> {
        let Known { schema, name, definition } = known.clone();
        self.start(schema, name, definition, None).await?;
        self.fetch(&known);
        Ok(())
    }

    /// Starts the feed that a stream has or belongs to, if it can be.
    fn fetch(&self, Known { schema, name, definition }: &Known) {
        let of = definition.companion_of().unwrap_or(name);
        if let Some(stream) = self.by_name(schema, of)
            && let Err(error) = self.start_feed(&stream)
        {
            tracing::warn!(stream = stream.name, %error, "is not fetched");
        }
    }

    /// Closes a stream that another process has: its senders are told where.
    pub(crate) async fn give_up(&self, id: &str, owner: &Owner) {
        let Some(open) = self.open.read().get(id).cloned() else { return };
        let at = match Node::named(self.options.meta.as_ref(), &owner.node).await {
            Ok(node) => node.map(|node| node.ws),
            Err(error) => {
                tracing::debug!(stream = open.name, %error, "its senders are not told where it is");
                None
            }
        };
        tracing::warn!(
            stream = open.name,
            owner = owner.node,
            epoch = owner.epoch,
            "has another owner by now"
        );
        self.moved.write().insert(id.to_owned());
        self.open.write().remove(id);
        if let Err(error) = open.live.give_up(at).await {
            tracing::warn!(stream = open.name, %error, "not closed as it should be");
        }
        open.stop_feed().await;
    }

    /// Who has which streams, by a read that is as late as this call.
    pub(crate) async fn owners(&self) -> Result<BTreeMap<String, Owner>, StreamError> {
        Owner::all(self.options.meta.as_ref()).await
    }
}

/// Puts streams together that have to be with one process.
pub(crate) fn groups(known: &[Known], owners: &BTreeMap<String, Owner>) -> Vec<Group> {
    let stream = |known: &Known| {
        let id = known.definition.id.clone();
        Stream { owner: owners.get(&id).map(|owner| owner.node.clone()), id }
    };
    let mut groups: BTreeMap<(&str, &str), Group> = BTreeMap::new();
    let (with, alone): (Vec<_>, Vec<_>) =
        known.iter().partition(|known| known.definition.companion_of().is_some());
    for known in alone {
        groups.insert((&known.schema, &known.name), Group { streams: vec![stream(known)] });
    }
    for known in with {
        let of = known.definition.companion_of().unwrap_or(&known.name);
        let group = groups.entry((&known.schema, of)).or_insert_with(|| Group { streams: vec![] });
        group.streams.push(stream(known));
    }
    groups.into_values().collect()
}
