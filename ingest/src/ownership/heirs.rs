//! Who takes the streams of a process that is gone, and when. Decides; does nothing.
//!
//! Everyone decides by the same rule over what it sees, so that one process claims and the others do not try:
//!
//! 1. A process that owns streams and is not a member is *gone* from when that is seen. One that comes back is not.
//! 2. After the grace its streams are due. Of the processes that take streams, each stream has an order of its own, by a
//!    hash of both names: the first takes it.
//! 3. Should the first not do so, the next one's turn comes a grace later, and so on.
//!
//! What two see may differ for a moment. Then both may try, and the transaction decides.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Streams that have to be with one process: a stream, and those that take its refused rows and its gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The stream itself is the first.
    pub streams: Vec<Stream>,
}

/// A stream and the name of the process that has it, if anybody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    pub id: String,
    pub owner: Option<String>,
}

/// Streams to be claimed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakeOver {
    /// Who had them. Some may have had no owner at all.
    pub gone: String,
    pub streams: Vec<String>,
}

/// See the module's page.
#[derive(Debug)]
pub struct Heirs {
    me: String,
    grace: Duration,
    /// Since when processes are gone.
    gone: BTreeMap<String, Instant>,
}

impl Heirs {
    /// Of the process `me`; one that is gone has `grace` to come back.
    pub fn new(me: String, grace: Duration) -> Self {
        Self { me, grace, gone: BTreeMap::new() }
    }

    /// Notes at `now` who has streams and who is a member. Whether anybody is gone.
    pub fn note<'a>(
        &mut self,
        now: Instant,
        owners: impl IntoIterator<Item = &'a str>,
        members: &BTreeSet<String>,
    ) -> bool {
        let gone: BTreeSet<&str> = owners.into_iter().filter(|owner| !members.contains(*owner)).collect();
        self.gone.retain(|name, _| gone.contains(name.as_str()));
        for name in gone {
            self.gone.entry(name.to_owned()).or_insert(now);
        }
        !self.gone.is_empty()
    }

    /// What this process has to take at `now`, and when there may be more to take. `taking` are the members that take
    /// streams.
    pub fn decide(
        &self,
        now: Instant,
        groups: &[Group],
        taking: &BTreeSet<String>,
    ) -> (Vec<TakeOver>, Option<Instant>) {
        let (mut due, mut next) = (vec![], None::<Instant>);
        for group in groups {
            for (gone, turn) in self.turns(group, taking) {
                if turn > now {
                    next = Some(next.map_or(turn, |next| next.min(turn)));
                    continue;
                }
                // A stream without an owner is left over from the group's making.
                let of = |stream: &&Stream| stream.owner.as_ref().is_none_or(|owner| *owner == gone);
                let streams = group.streams.iter().filter(of).map(|stream| stream.id.clone()).collect();
                due.push(TakeOver { gone, streams });
            }
        }
        (due, next)
    }

    /// Who of a group's owners is gone, and when it is this process's turn.
    fn turns(&self, group: &Group, taking: &BTreeSet<String>) -> Vec<(String, Instant)> {
        let owners: BTreeSet<&String> =
            group.streams.iter().filter_map(|stream| stream.owner.as_ref()).collect();
        let gone = owners.into_iter().filter_map(|owner| self.gone.get_key_value(owner));
        let Some(rank) = self.rank(group, taking) else { return vec![] };
        gone.map(|(name, since)| (name.clone(), *since + self.grace * (1 + rank))).collect()
    }

    /// How many others come before this process; none if it takes no streams.
    fn rank(&self, group: &Group, taking: &BTreeSet<String>) -> Option<u32> {
        let first = group.streams.first()?;
        // Who has the stream has to have what goes with it.
        if let Some(owner) = first.owner.as_ref().filter(|owner| taking.contains(*owner)) {
            return (*owner == self.me).then_some(0);
        }
        let mine = taking.get(&self.me).map(|me| (score(me, &first.id), me))?;
        let before = taking.iter().filter(|name| (score(name, &first.id), *name) > mine).count();
        Some(u32::try_from(before).unwrap_or(u32::MAX))
    }
}

/// A number that any process computes alike: FNV-1a over both names, mixed so that its upper bits depend on all of them.
fn score(node: &str, stream: &str) -> u64 {
    let bytes = node.bytes().chain([0]).chain(stream.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(4);

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn group(id: &str, owners: &[Option<&str>]) -> Group {
        let stream = |(index, owner): (usize, &Option<&str>)| Stream {
            id: if index == 0 { id.to_owned() } else { format!("{id}/{index}") },
            owner: owner.map(str::to_owned),
        };
        Group { streams: owners.iter().enumerate().map(stream).collect() }
    }

    fn heirs(me: &str) -> Heirs {
        Heirs::new(me.to_owned(), GRACE)
    }

    #[test]
    fn streams_of_who_lives_are_left_alone() {
        let now = Instant::now();
        let mut heirs = heirs("b");
        assert!(!heirs.note(now, ["a", "b"], &names(&["a", "b"])));
        assert_eq!(heirs.decide(now, &[group("s", &[Some("a")])], &names(&["a", "b"])), (vec![], None));
    }

    #[test]
    fn who_comes_back_within_the_grace_keeps_its_streams() {
        let now = Instant::now();
        let (mut heirs, groups) = (heirs("b"), [group("s", &[Some("a")])]);
        let alone = names(&["b"]);
        assert!(heirs.note(now, ["a"], &alone));
        assert_eq!(heirs.decide(now, &groups, &alone), (vec![], Some(now + GRACE)));
        // The time counts from when it was first missed.
        assert!(heirs.note(now + GRACE / 2, ["a"], &alone));
        assert_eq!(heirs.decide(now + GRACE / 2, &groups, &alone).1, Some(now + GRACE));
        assert!(!heirs.note(now + GRACE, ["a"], &names(&["a", "b"])));
        assert_eq!(heirs.decide(now + GRACE, &groups, &names(&["a", "b"])), (vec![], None));
        // And begins anew when it is gone again.
        heirs.note(now + GRACE * 2, ["a"], &alone);
        assert_eq!(heirs.decide(now + GRACE * 2, &groups, &alone), (vec![], Some(now + GRACE * 3)));
        let (due, next) = heirs.decide(now + GRACE * 3, &groups, &alone);
        assert_eq!((due, next), (vec![TakeOver { gone: "a".into(), streams: vec!["s".into()] }], None));
    }

    #[test]
    fn one_takes_each_stream_and_the_next_follows_if_it_does_not() {
        let now = Instant::now();
        let taking = names(&["b", "c", "d"]);
        let all: Vec<Heirs> = taking
            .iter()
            .map(|me| {
                let mut heirs = heirs(me);
                heirs.note(now, ["a"], &taking);
                heirs
            })
            .collect();
        let mut shares = BTreeMap::<usize, usize>::new();
        for number in 0..300 {
            let groups = [group(&format!("stream {number}"), &[Some("a")])];
            let due = |at: Instant| -> Vec<usize> {
                let takes = |heirs: &Heirs| !heirs.decide(at, &groups, &taking).0.is_empty();
                all.iter().enumerate().filter(|(_, heirs)| takes(heirs)).map(|(index, _)| index).collect()
            };
            let first = due(now + GRACE);
            assert_eq!((due(now).len(), first.len()), (0, 1));
            assert_eq!((due(now + GRACE * 2).len(), due(now + GRACE * 3).len()), (2, 3));
            *shares.entry(first[0]).or_default() += 1;
        }
        assert!(shares.len() == 3 && shares.values().all(|share| (60..=140).contains(share)), "{shares:?}");
    }

    #[test]
    fn what_goes_with_a_stream_goes_with_it() {
        let now = Instant::now();
        let taking = names(&["b", "c"]);
        let due = |me: &str, group: &Group| {
            let mut heirs = heirs(me);
            heirs.note(now, ["a"], &taking);
            heirs.decide(now + GRACE, std::slice::from_ref(group), &taking).0
        };
        let take = |streams: &[&str]| {
            let streams = streams.iter().map(|id| (*id).to_owned()).collect();
            vec![TakeOver { gone: "a".into(), streams }]
        };
        // Also what nobody has taken yet.
        let whole = group("s", &[Some("a"), Some("a"), None]);
        let taken = [due("b", &whole), due("c", &whole)].concat();
        assert_eq!(taken, take(&["s", "s/1", "s/2"]));
        // Who has the stream takes the rest, whoever would come first otherwise.
        for owner in ["b", "c"] {
            let other = if owner == "b" { "c" } else { "b" };
            let part = group("s", &[Some(owner), Some("a")]);
            assert_eq!((due(owner, &part), due(other, &part)), (take(&["s/1"]), vec![]));
        }
    }

    #[test]
    fn who_takes_no_streams_takes_none() {
        let now = Instant::now();
        let mut leaving = heirs("b");
        leaving.note(now, ["a"], &names(&["b", "c"]));
        let groups = [group("s", &[Some("a")]), Group { streams: vec![] }];
        assert_eq!(leaving.decide(now + GRACE * 9, &groups, &names(&["c"])), (vec![], None));
    }
}
