//! The copy in memory: decides transactions, answers reads, keeps the latest events. Nothing here waits.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use super::HistoryLimit;
use super::leases::Leases;
use crate::lease::LeaseId;
use crate::store::{Event, EventKind, Snapshot, Versioned};
use crate::txn::{Txn, Write};

#[derive(Debug)]
pub(super) struct Mirror {
    revision: u64,
    entries: BTreeMap<String, Versioned>,
    /// The events after `compacted`, in order, by whole transactions.
    history: VecDeque<Event>,
    history_bytes: usize,
    /// The newest revision whose events are not kept.
    compacted: u64,
    limit: HistoryLimit,
    pub(super) leases: Leases,
}

/// What is to become of a transaction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Conflict { key: String },
    LeaseEnded(LeaseId),
    Unchanged { revision: u64 },
    Change(Changes),
}

/// A transaction's effect; it has at least one event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) revision: u64,
    pub(super) events: Vec<Event>,
    /// Which of the keys that are put go with a lease.
    pub(super) leased: BTreeMap<String, LeaseId>,
}

/// Where a reader of the history stands after reading.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Past {
    /// The events found, and the revision up to which (inclusive) the history has been read.
    Read { events: Vec<Event>, up_to: u64 },
    /// Events that are wanted are gone, up to this revision.
    Gone { compacted: u64 },
}

impl Mirror {
    pub(super) fn new(
        revision: u64,
        entries: Vec<(String, Versioned)>,
        limit: HistoryLimit,
        leases: Leases,
    ) -> Self {
        let entries = entries.into_iter().collect();
        let (history, history_bytes) = (VecDeque::new(), 0);
        Self { revision, entries, history, history_bytes, compacted: revision, limit, leases }
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn compacted(&self) -> u64 {
        self.compacted
    }

    pub(super) fn get(&self, key: &str) -> Option<Versioned> {
        self.entries.get(key).cloned()
    }

    pub(super) fn list(&self, prefix: &str) -> Snapshot {
        let entries = self
            .entries
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, versioned)| (key.clone(), versioned.clone()))
            .collect();
        Snapshot { revision: self.revision, entries }
    }

    pub(super) fn decide(&self, txn: Txn, now: Instant) -> Decision {
        let revision_of = |key: &str| self.entries.get(key).map(|versioned| versioned.revision);
        let failed = txn.preconditions.into_iter().find(|it| !it.expect.holds(revision_of(&it.key)));
        if let Some(precondition) = failed {
            return Decision::Conflict { key: precondition.key };
        }
        let leases = txn.writes.iter().filter_map(Write::lease);
        if let Some(ended) = leases.into_iter().find(|lease| !self.leases.holds(*lease, now)) {
            return Decision::LeaseEnded(ended);
        }
        let revision = self.revision + 1;
        let mut leased = BTreeMap::new();
        let mut events = Vec::new();
        for write in txn.writes {
            let (key, kind) = match write {
                Write::Put { key, value } => (key, EventKind::Put(value)),
                Write::PutLeased { key, value, lease } => {
                    leased.insert(key.clone(), lease);
                    (key, EventKind::Put(value))
                }
                Write::Delete { key } if self.entries.contains_key(&key) => (key, EventKind::Delete),
                Write::Delete { .. } => continue,
            };
            events.push(Event { revision, key, kind });
        }
        if events.is_empty() {
            Decision::Unchanged { revision: self.revision }
        } else {
            Decision::Change(Changes { revision, events, leased })
        }
    }

    /// What it takes to delete these keys, which are all there.
    pub(super) fn deletion(&self, keys: Vec<String>) -> Option<Changes> {
        let revision = self.revision + 1;
        let event = |key| Event { revision, key, kind: EventKind::Delete };
        let events: Vec<_> = keys.into_iter().map(event).collect();
        (!events.is_empty()).then_some(Changes { revision, events, leased: BTreeMap::new() })
    }

    pub(super) fn apply(&mut self, changes: Changes) {
        self.revision = changes.revision;
        for event in changes.events {
            self.leases.assign(&event.key, changes.leased.get(&event.key).copied());
            match &event.kind {
                EventKind::Put(value) => {
                    let versioned = Versioned { value: value.clone(), revision: changes.revision };
                    self.entries.insert(event.key.clone(), versioned);
                }
                EventKind::Delete => {
                    self.entries.remove(&event.key);
                }
            }
            self.history_bytes += size(&event);
            self.history.push_back(event);
        }
        self.compact();
    }

    /// Forgets whole transactions, the oldest first, until the history is within its bounds.
    fn compact(&mut self) {
        let exceeds = |mirror: &Self| {
            mirror.history.len() > mirror.limit.events || mirror.history_bytes > mirror.limit.bytes
        };
        while exceeds(self)
            && let Some(oldest) = self.history.front().map(|event| event.revision)
            && oldest < self.revision
        {
            while let Some(event) = self.history.pop_front_if(|event| event.revision == oldest) {
                self.history_bytes -= size(&event);
            }
            self.compacted = oldest;
        }
    }

    /// Reads events of keys that start with `prefix` after the revision `after`: whole transactions, and no
    /// further one when `enough` events have been found.
    pub(super) fn past(&self, prefix: &str, after: u64, enough: usize) -> Past {
        if after < self.compacted {
            return Past::Gone { compacted: self.compacted };
        }
        let start = self.history.partition_point(|event| event.revision <= after);
        let mut events: Vec<Event> = Vec::new();
        let mut up_to = after;
        for event in self.history.range(start..) {
            if event.revision != up_to && events.len() >= enough {
                return Past::Read { events, up_to };
            }
            up_to = event.revision;
            if event.key.starts_with(prefix) {
                events.push(event.clone());
            }
        }
        Past::Read { events, up_to: after.max(self.revision) }
    }
}

fn size(event: &Event) -> usize {
    let value = match &event.kind {
        EventKind::Put(value) => value.len(),
        EventKind::Delete => 0,
    };
    event.key.len() + value
}

/// A poisoned lock holds a whole state: `apply`, the only change, panics nowhere.
pub(super) fn read(mirror: &RwLock<Mirror>) -> RwLockReadGuard<'_, Mirror> {
    mirror.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write(mirror: &RwLock<Mirror>) -> RwLockWriteGuard<'_, Mirror> {
    mirror.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::txn::Expect;

    const LIMIT: HistoryLimit = HistoryLimit { events: 4, bytes: 100 };

    fn empty(revision: u64) -> Mirror {
        Mirror::new(revision, Vec::new(), LIMIT, Leases::new(1))
    }

    fn perform(mirror: &mut Mirror, txn: Txn) -> Decision {
        let now = Instant::now();
        let decision = mirror.decide(txn.clone(), now);
        if let Decision::Change(changes) = mirror.decide(txn, now) {
            mirror.apply(changes);
        }
        decision
    }

    fn revisions(past: Past) -> Vec<u64> {
        match past {
            Past::Read { events, .. } => events.into_iter().map(|event| event.revision).collect(),
            Past::Gone { compacted } => panic!("gone up to {compacted}"),
        }
    }

    #[test]
    fn old_transactions_are_forgotten_as_a_whole() {
        let mut mirror = empty(0);
        for round in 0..3 {
            perform(&mut mirror, Txn::new().put(format!("a{round}"), "x").put(format!("b{round}"), "x"));
        }
        assert_eq!(mirror.compacted(), 1);
        assert_eq!(mirror.past("", 0, 10), Past::Gone { compacted: 1 });
        assert_eq!(revisions(mirror.past("", 1, 10)), [2, 2, 3, 3]);
        assert_eq!(revisions(mirror.past("b", 2, 10)), [3]);
    }

    #[test]
    fn the_last_transaction_is_kept_whatever_its_size() {
        let mut mirror = empty(7);
        perform(&mut mirror, Txn::new().put("a", vec![0; 1000]));
        assert_eq!((mirror.compacted(), revisions(mirror.past("", 7, 1))), (7, vec![8]));
        perform(&mut mirror, Txn::new().put("b", "x"));
        assert_eq!((mirror.compacted(), mirror.history_bytes), (8, 2));
    }

    #[test]
    fn reading_stops_between_transactions() {
        let mut mirror = empty(0);
        perform(&mut mirror, Txn::new().put("a", "x").put("b", "x"));
        perform(&mut mirror, Txn::new().put("c", "x"));
        let Past::Read { events, up_to } = mirror.past("", 0, 1) else { panic!("gone") };
        assert_eq!((events.len(), up_to), (2, 1));
        assert_eq!(revisions(mirror.past("", up_to, 1)), [2]);
    }

    #[test]
    fn a_decision_changes_nothing() {
        let entries = vec![("a".into(), Versioned { value: "x".into(), revision: 2 })];
        let mirror = Mirror::new(3, entries, LIMIT, Leases::new(1));
        let txn = Txn::new().expect("a", Expect::Revision(2)).delete("a").delete("b");
        let outcome = mirror.decide(txn, Instant::now());
        let events = vec![Event { revision: 4, key: "a".into(), kind: EventKind::Delete }];
        assert_eq!(outcome, Decision::Change(Changes { revision: 4, events, leased: BTreeMap::new() }));
        assert_eq!((mirror.revision(), mirror.get("a").is_some()), (3, true));
    }

    proptest! {
        /// Whatever is written, the history replayed from a kept revision leads to the same entries.
        #[test]
        fn history_and_entries_agree(writes in prop::collection::vec((0u8..6, any::<bool>()), 0..40)) {
            let mut mirror = Mirror::new(
                0,
                Vec::new(),
                HistoryLimit { events: 1000, bytes: 100_000 },
                Leases::new(1),
            );
            for (index, (key, put)) in writes.into_iter().enumerate() {
                let key = format!("k{key}");
                let txn = Txn::new();
                perform(&mut mirror, if put { txn.put(key, format!("{index}")) } else { txn.delete(key) });
            }
            let Past::Read { events, up_to } = mirror.past("", 0, usize::MAX) else { panic!("gone") };
            prop_assert_eq!(up_to, mirror.revision());
            let mut replayed = BTreeMap::new();
            for event in events {
                match event.kind {
                    EventKind::Put(value) => {
                        replayed.insert(event.key, Versioned { value, revision: event.revision });
                    }
                    EventKind::Delete => {
                        replayed.remove(&event.key);
                    }
                }
            }
            prop_assert_eq!(replayed, mirror.entries);
        }
    }
}
