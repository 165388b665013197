//! Leases: what keeps keys only as long as somebody keeps them alive.

use std::fmt;
use std::time::Duration;

/// The longest time that a lease lasts without being kept alive. Who asks for more gets this.
pub const LONGEST_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Names a lease. A store never gives the same name twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(u64);

impl LeaseId {
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A lease as it was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub id: LeaseId,
    /// How long it lasts after it was granted or last kept alive: not always what was asked for.
    pub ttl: Duration,
}
