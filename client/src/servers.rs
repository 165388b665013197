//! The servers of one cluster, and which of them is used.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::Endpoint;

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Servers {
    all: Vec<Endpoint>,
    /// Index of the one that answered last.
    current: AtomicUsize,
    pub(crate) retry_for: Duration,
}

impl Servers {
    /// At least one; the first is used first.
    pub(crate) fn new(all: Vec<Endpoint>, current: usize, retry_for: Duration) -> Self {
        Self { all, current: AtomicUsize::new(current), retry_for }
    }

    pub(crate) fn current(&self) -> &Endpoint {
        &self.all[self.current.load(Ordering::Relaxed) % self.all.len()]
    }

    /// All of them, from the current one on.
    pub(crate) fn in_turn(&self) -> Vec<Endpoint> {
        let first = self.current.load(Ordering::Relaxed) % self.all.len();
        self.all[first..].iter().chain(&self.all[..first]).cloned().collect()
    }

    /// The one that comes after `server`.
    pub(crate) fn after(&self, server: &Endpoint) -> Endpoint {
        let at = self.all.iter().position(|known| known == server).unwrap_or_default();
        self.all[(at + 1) % self.all.len()].clone()
    }

    /// This one has answered.
    pub(crate) fn answered(&self, server: &Endpoint) {
        if let Some(at) = self.all.iter().position(|known| known == server) {
            self.current.store(at, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_take_turns() {
        let all: Vec<Endpoint> = ["a:1", "b:2", "c:3"].iter().map(|text| text.parse().unwrap()).collect();
        let servers = Servers::new(all.clone(), 0, Duration::ZERO);
        servers.answered(&all[1]);
        assert_eq!(servers.current(), &all[1]);
        assert_eq!(servers.in_turn(), [all[1].clone(), all[2].clone(), all[0].clone()]);
        assert_eq!(servers.after(&all[2]), all[0]);
    }
}
