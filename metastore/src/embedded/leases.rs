//! Who keeps which keys, and until when. The time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::lease::{LONGEST_TTL, Lease, LeaseId};

/// A lease without a duration would end before its holder knows of it.
const SHORTEST_TTL: Duration = Duration::from_millis(1);

/// Names of leases are made of how often the store has been opened and a number of this time, so that a holder from
/// before a restart is not taken for another.
const NUMBER_BITS: u32 = 32;

#[derive(Debug)]
pub(super) struct Leases {
    opened: u64,
    granted: u64,
    running: BTreeMap<LeaseId, Running>,
    /// The lease of each key that has one.
    of_key: BTreeMap<String, LeaseId>,
}

#[derive(Debug)]
struct Running {
    ttl: Duration,
    until: Instant,
    keys: BTreeSet<String>,
    /// Its keys are being deleted: it does not come back, whatever becomes of that.
    ending: bool,
}

impl Running {
    fn holds(&self, now: Instant) -> bool {
        !self.ending && now < self.until
    }
}

impl Leases {
    /// None, in a store that has been opened for the `opened`th time.
    pub(super) fn new(opened: u64) -> Self {
        Self { opened, granted: 0, running: BTreeMap::new(), of_key: BTreeMap::new() }
    }

    pub(super) fn grant(&mut self, ttl: Duration, now: Instant) -> Lease {
        let ttl = ttl.clamp(SHORTEST_TTL, LONGEST_TTL);
        self.granted += 1;
        let id = LeaseId::new(self.opened << NUMBER_BITS | self.granted);
        let running = Running { ttl, until: now + ttl, keys: BTreeSet::new(), ending: false };
        self.running.insert(id, running);
        Lease { id, ttl }
    }

    /// Whether the lease was still running, and so is for its time to live from now on.
    pub(super) fn keep_alive(&mut self, lease: LeaseId, now: Instant) -> bool {
        match self.running.get_mut(&lease) {
            Some(running) if running.holds(now) => {
                running.until = now + running.ttl;
                true
            }
            _ => false,
        }
    }

    pub(super) fn holds(&self, lease: LeaseId, now: Instant) -> bool {
        self.running.get(&lease).is_some_and(|running| running.holds(now))
    }

    /// A lease that is over and whose keys have not been deleted.
    pub(super) fn overdue(&self, now: Instant) -> Option<LeaseId> {
        self.running.iter().find(|(_, running)| !running.holds(now)).map(|(id, _)| *id)
    }

    /// When the next lease ends if nobody keeps it alive.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.running.values().map(|running| running.until).min()
    }

    /// The keys of a lease, in order, which is over from now on.
    pub(super) fn begin_end(&mut self, lease: LeaseId) -> Vec<String> {
        let Some(running) = self.running.get_mut(&lease) else { return Vec::new() };
        running.ending = true;
        running.keys.iter().cloned().collect()
    }

    /// Forgets a lease whose keys are gone.
    pub(super) fn end(&mut self, lease: LeaseId) {
        if let Some(running) = self.running.remove(&lease) {
            for key in running.keys {
                self.of_key.remove(&key);
            }
        }
    }

    /// The key was put under the lease, or put without one, or deleted.
    pub(super) fn assign(&mut self, key: &str, lease: Option<LeaseId>) {
        let before = match lease {
            Some(lease) => self.of_key.insert(key.to_owned(), lease),
            None => self.of_key.remove(key),
        };
        if let Some(running) = before.and_then(|before| self.running.get_mut(&before)) {
            running.keys.remove(key);
        }
        if let Some(running) = lease.and_then(|lease| self.running.get_mut(&lease)) {
            running.keys.insert(key.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(5);

    #[test]
    fn a_lease_runs_for_its_time_from_when_it_was_last_kept_alive() {
        let (mut leases, start) = (Leases::new(1), Instant::now());
        let lease = leases.grant(TTL, start).id;
        assert_eq!(leases.next_end(), Some(start + TTL));
        assert!(leases.keep_alive(lease, start + TTL / 2));
        assert_eq!(leases.next_end(), Some(start + TTL + TTL / 2));
        assert!(leases.holds(lease, start + TTL));
        assert_eq!(leases.overdue(start + TTL), None);
        let end = start + TTL + TTL / 2;
        assert!(!leases.holds(lease, end) && !leases.keep_alive(lease, end));
        assert_eq!(leases.overdue(end), Some(lease));
        leases.end(lease);
        assert_eq!((leases.overdue(end), leases.next_end()), (None, None));
    }

    #[test]
    fn a_lease_whose_end_has_begun_does_not_come_back() {
        let (mut leases, now) = (Leases::new(1), Instant::now());
        let lease = leases.grant(TTL, now).id;
        leases.assign("b", Some(lease));
        leases.assign("a", Some(lease));
        assert_eq!(leases.begin_end(lease), ["a", "b"]);
        assert!(!leases.keep_alive(lease, now) && !leases.holds(lease, now));
        // It is found again if the deletion failed.
        assert_eq!(leases.overdue(now), Some(lease));
        assert_eq!(leases.begin_end(lease), ["a", "b"]);
    }

    #[test]
    fn a_key_goes_with_the_lease_of_its_last_write() {
        let (mut leases, now) = (Leases::new(1), Instant::now());
        let (one, two) = (leases.grant(TTL, now).id, leases.grant(TTL, now).id);
        for key in ["moved", "freed", "kept"] {
            leases.assign(key, Some(one));
        }
        leases.assign("moved", Some(two));
        leases.assign("freed", None);
        leases.assign("kept", Some(one));
        assert_eq!(leases.begin_end(one), ["kept"]);
        assert_eq!(leases.begin_end(two), ["moved"]);
        leases.end(one);
        leases.end(two);
        assert!(leases.of_key.is_empty());
    }

    #[test]
    fn no_two_leases_have_one_name() {
        let now = Instant::now();
        let (mut before, mut after) = (Leases::new(1), Leases::new(2));
        let names = [before.grant(TTL, now).id, before.grant(TTL, now).id, after.grant(TTL, now).id];
        assert!(names[0] < names[1] && names[1] < names[2]);
        assert!(!after.keep_alive(names[0], now));
    }

    #[test]
    fn times_are_kept_within_bounds() {
        let (mut leases, now) = (Leases::new(1), Instant::now());
        assert_eq!(leases.grant(Duration::MAX, now).ttl, LONGEST_TTL);
        assert_eq!(leases.grant(Duration::ZERO, now).ttl, SHORTEST_TTL);
    }
}
