//! Which leases were granted through a door. The time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::lease::{Lease, LeaseId};

/// A lease that nobody asks about is forgotten after so many times its time to live. Until then a store that was slow,
/// or that gives more time than it said, has the last word.
const FORGET_AFTER: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct DoorLeases {
    known: HashMap<LeaseId, Known>,
}

#[derive(Debug)]
struct Known {
    ttl: Duration,
    heard: Instant,
}

impl DoorLeases {
    pub(super) fn granted(&mut self, lease: Lease, now: Instant) {
        self.known.retain(|_, known| now.saturating_duration_since(known.heard) < known.ttl * FORGET_AFTER);
        self.known.insert(lease.id, Known { ttl: lease.ttl, heard: now });
    }

    pub(super) fn kept_alive(&mut self, lease: LeaseId, now: Instant) {
        if let Some(known) = self.known.get_mut(&lease) {
            known.heard = now;
        }
    }

    pub(super) fn ended(&mut self, lease: LeaseId) {
        self.known.remove(&lease);
    }

    pub(super) fn knows(&self, lease: LeaseId) -> bool {
        self.known.contains_key(&lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(5);

    fn lease(id: u64) -> Lease {
        Lease { id: LeaseId::new(id), ttl: TTL }
    }

    #[test]
    fn leases_that_nobody_asks_about_are_forgotten() {
        let (mut leases, start) = (DoorLeases::default(), Instant::now());
        leases.granted(lease(1), start);
        leases.granted(lease(2), start);
        leases.kept_alive(lease(2).id, start + TTL);
        leases.granted(lease(3), start + 3 * TTL);
        let known = [1, 2, 3, 4].map(|id| leases.knows(LeaseId::new(id)));
        assert_eq!(known, [false, true, true, false]);
        leases.ended(lease(2).id);
        assert!(!leases.knows(lease(2).id));
    }
}
