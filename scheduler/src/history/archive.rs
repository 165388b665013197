//! What schedulers have written down, as far as is known: what is shown of it, and what of it is not needed any more.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use polarway_common::{Caller, Namespace};
use polarway_metastore::Key;

use super::entry::Entry;

/// What tells a written text from all others. Those of earlier times come first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Milliseconds since 1970.
    pub at: u64,
    /// The scheduler, by its incarnation.
    pub scheduler: String,
    /// Whose queries they are.
    pub namespace: Namespace,
}

impl Name {
    pub fn key(&self) -> String {
        let (scheduler, namespace) = (self.scheduler.clone(), self.namespace.to_string());
        Key::History { at: self.at, scheduler, namespace }.encode()
    }

    pub fn of(key: &str) -> Option<Self> {
        match Key::decode(key) {
            Ok(Key::History { at, scheduler, namespace }) => {
                Some(Self { at, scheduler, namespace: Namespace::parse(&namespace).ok()? })
            }
            _ => None,
        }
    }
}

/// The queries of one text.
#[derive(Debug)]
pub struct Chunk {
    /// Those among them that are not in `entries`, too.
    count: usize,
    entries: Vec<Arc<Entry>>,
}

impl Chunk {
    pub fn new(count: usize, entries: Vec<Entry>) -> Self {
        Self { count, entries: entries.into_iter().map(Arc::new).collect() }
    }
}

/// See the module's page. Namespaces have an archive each: what one does changes nothing of another's.
#[derive(Debug, Default)]
pub struct Archive {
    /// None of them is empty.
    of: BTreeMap<Namespace, BTreeMap<Name, Chunk>>,
}

impl Archive {
    /// What was known before counts no longer.
    pub fn reset(&mut self, chunks: impl IntoIterator<Item = (Name, Chunk)>) {
        self.of.clear();
        chunks.into_iter().for_each(|(name, chunk)| self.put(name, chunk));
    }

    pub fn put(&mut self, name: Name, chunk: Chunk) {
        self.of.entry(name.namespace.clone()).or_default().insert(name, chunk);
    }

    pub fn remove(&mut self, name: &Name) {
        let Some(chunks) = self.of.get_mut(&name.namespace) else { return };
        chunks.remove(name);
        if chunks.is_empty() {
            self.of.remove(&name.namespace);
        }
    }

    /// Texts without which there still are `most` queries of a namespace once `next`, which has `count` of them, is written:
    /// so many of the oldest as one transaction takes.
    pub fn superfluous(&self, most: usize, next: &Name, count: usize, at_once: usize) -> Vec<Name> {
        let others = || {
            let chunks = self.of.get(&next.namespace).into_iter().flatten();
            chunks.filter(move |(name, _)| *name != next)
        };
        let mut left = count + others().map(|(_, chunk)| chunk.count).sum::<usize>();
        let goes = |(name, chunk): (&Name, &Chunk)| {
            left = left.checked_sub(chunk.count).filter(|left| *left >= most)?;
            Some(name.clone())
        };
        others().map_while(goes).take(at_once).collect()
    }

    /// The last `most` queries that `caller` may see, latest first. What a scheduler has told twice of a query counts
    /// once.
    pub fn last(&self, caller: &Caller, most: usize) -> Vec<Arc<Entry>> {
        let mut seen = HashSet::new();
        self.latest_first(caller)
            .filter(|(name, entry)| seen.insert((name.scheduler.as_str(), entry.query.id.as_str())))
            .take(most)
            .map(|(_, entry)| Arc::clone(entry))
            .collect()
    }

    /// The latest that is known of a query, unless it is somebody else's.
    pub fn get(&self, caller: &Caller, id: &str) -> Option<Arc<Entry>> {
        let found = self.latest_first(caller).find(|(_, entry)| entry.query.id == id);
        found.map(|(_, entry)| Arc::clone(entry))
    }

    fn latest_first<'a>(&'a self, caller: &'a Caller) -> impl Iterator<Item = (&'a Name, &'a Arc<Entry>)> {
        let chunks = self.of.get(caller.namespace()).into_iter().flat_map(|chunks| chunks.iter().rev());
        chunks
            .flat_map(|(name, chunk)| chunk.entries.iter().rev().map(move |entry| (name, entry)))
            .filter(move |(_, entry)| caller.may_touch(&entry.query.user))
    }
}

#[cfg(test)]
mod tests {
    use polarway_common::Role;

    use super::*;
    use crate::history::entry::tests::record;
    use crate::queries::Plans;

    fn name(at: u64, scheduler: &str) -> Name {
        Name { at, scheduler: scheduler.to_owned(), namespace: Namespace::default() }
    }

    /// Queries by id and user.
    fn chunk(queries: &[(&str, &str)]) -> Chunk {
        let entries = queries.iter().map(|(id, user)| Entry::of(record(id, user, 20), &Plans::default()));
        Chunk::new(queries.len(), entries.collect())
    }

    fn ids(entries: &[Arc<Entry>]) -> Vec<&str> {
        entries.iter().map(|entry| entry.query.id.as_str()).collect()
    }

    #[test]
    fn row_48_the_oldest_go_that_are_not_needed() {
        let mut archive = Archive::default();
        for at in 1..=4 {
            archive.put(name(at, "a"), chunk(&[("q-1", ""), ("q-2", "")]));
        }
        let goes = |most, count, at_once| {
            let names = archive.superfluous(most, &name(9, "b"), count, at_once);
            names.into_iter().map(|name| name.at).collect::<Vec<_>>()
        };
        assert_eq!(goes(8, 1, 9), [0; 0]);
        assert_eq!(goes(8, 2, 9), [1]);
        assert_eq!(goes(8, 3, 9), [1]);
        assert_eq!(goes(4, 3, 9), [1, 2, 3]);
        assert_eq!(goes(4, 3, 2), [1, 2]);
        assert_eq!(goes(1, 9, 9), [1, 2, 3, 4]);
        // What is written again does not delete itself.
        assert_eq!(archive.superfluous(1, &name(1, "a"), 2, 9), [2, 3, 4].map(|at| name(at, "a")));
    }

    #[test]
    fn row_48_the_latest_are_shown_first_and_once() {
        let mut archive = Archive::default();
        archive.put(name(2, "a"), chunk(&[("q-2", ""), ("q-3", "")]));
        archive.put(name(1, "a"), chunk(&[("q-1", ""), ("q-3", "")]));
        archive.put(name(3, "b"), chunk(&[("q-3", "")]));
        let anyone = Caller::anyone();
        assert_eq!(ids(&archive.last(&anyone, 9)), ["q-3", "q-3", "q-2", "q-1"]);
        assert_eq!(ids(&archive.last(&anyone, 2)), ["q-3", "q-3"]);
        archive.remove(&name(2, "a"));
        assert_eq!(archive.get(&anyone, "q-2"), None);
        archive.reset([(name(4, "c"), chunk(&[("q-4", "")]))]);
        assert_eq!(ids(&archive.last(&anyone, 9)), ["q-4"]);
    }

    #[test]
    fn row_48_what_belongs_to_another_is_not_shown() {
        let mut archive = Archive::default();
        archive.put(name(1, "a"), chunk(&[("q-1", "ana"), ("q-2", "bob"), ("q-3", "")]));
        let (ana, root) = (Caller::new("ana", Role::Write), Caller::new("root", Role::Admin));
        assert_eq!(ids(&archive.last(&ana, 9)), ["q-1"]);
        assert!(archive.get(&ana, "q-2").is_none() && archive.get(&ana, "q-3").is_none());
        assert_eq!(ids(&archive.last(&root, 9)), ["q-3", "q-2", "q-1"]);
        assert!(archive.get(&root, "q-2").is_some());
    }

    #[test]
    fn row_48_what_a_namespace_runs_pushes_out_nothing_of_another() {
        let acme = Namespace::parse("acme").unwrap();
        let of_acme = |at| Name { namespace: acme.clone(), ..name(at, "a") };
        let mut archive = Archive::default();
        archive.put(name(1, "a"), chunk(&[("q-1", "ana")]));
        archive.put(of_acme(2), chunk(&[("q-2", "acme/ana"), ("q-3", "acme/bob")]));
        assert_eq!(archive.superfluous(1, &of_acme(3), 9, 9), [of_acme(2)]);
        assert_eq!(archive.superfluous(1, &name(3, "a"), 1, 9), [name(1, "a")]);
        let ana = Caller::new("ana", Role::Read);
        assert_eq!(ids(&archive.last(&ana, 9)), ["q-1"]);
        assert_eq!(ids(&archive.last(&ana.of(acme.clone()), 9)), ["q-2"]);
        let boss = Caller::new("boss", Role::Admin).of(acme.clone());
        assert_eq!(ids(&archive.last(&boss, 9)), ["q-3", "q-2"]);
        archive.remove(&of_acme(2));
        assert!(archive.last(&boss, 9).is_empty() && archive.of.len() == 1);
    }

    #[test]
    fn names_are_keys() {
        let one = Name { namespace: Namespace::parse("acme").unwrap(), ..name(7, "0f/1") };
        assert_eq!(Name::of(&one.key()), Some(one));
        assert_eq!(Name::of("job/1"), None);
        assert_eq!(Name::of("history/00000000000000000007/a/No%20namespace"), None);
    }
}
