//! Removals that executors have not taken, because they were silent or unreachable when it was time. They are sent when
//! the executor is there again; one that starts anew has no use for them, but they do no harm.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::peers::PeerAddress;

/// Jobs that one executor owes; older ones are forgotten.
const MOST_JOBS: usize = 4096;

/// Executors that are away; those that have been away longest are forgotten.
const MOST_AWAY: usize = 64;

/// After this an executor that is away is not waited for.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Ids of jobs whose files are to be removed.
pub type Jobs = VecDeque<Arc<str>>;

#[derive(Debug)]
struct Account {
    seen: Instant,
    jobs: Jobs,
}

/// See the module's page.
#[derive(Debug, Default)]
pub struct Owed {
    executors: HashMap<PeerAddress, Account>,
}

impl Owed {
    /// To be called often: notes who is `present`. Gives what they owe, and forgets that they do.
    pub fn due(&mut self, present: &[PeerAddress], now: Instant) -> Vec<(PeerAddress, Jobs)> {
        let mut due = vec![];
        for address in present {
            let account = self.account(address, now);
            account.seen = now;
            if !account.jobs.is_empty() {
                due.push((address.clone(), std::mem::take(&mut account.jobs)));
            }
        }
        self.executors.retain(|_, account| now.saturating_duration_since(account.seen) < PATIENCE);
        while self.executors.len() > present.len() + MOST_AWAY {
            let longest = self.executors.iter().min_by_key(|(_, account)| account.seen);
            let Some(longest) = longest.map(|(address, _)| address.clone()) else { break };
            self.executors.remove(&longest);
        }
        due
    }

    /// A job's files are being removed on those who are `present`: those who are away owe it.
    pub fn missed(&mut self, present: &[PeerAddress], job: &Arc<str>) {
        for (address, account) in &mut self.executors {
            if !present.contains(address) {
                account.owe(job);
            }
        }
    }

    /// An executor did not take a removal.
    pub fn owe(&mut self, address: &PeerAddress, job: &Arc<str>, now: Instant) {
        self.account(address, now).owe(job);
    }

    fn account(&mut self, address: &PeerAddress, now: Instant) -> &mut Account {
        self.executors.entry(address.clone()).or_insert_with(|| Account { seen: now, jobs: Jobs::default() })
    }
}

impl Account {
    fn owe(&mut self, job: &Arc<str>) {
        if self.jobs.contains(job) {
            return;
        }
        self.jobs.push_back(Arc::clone(job));
        if self.jobs.len() > MOST_JOBS {
            self.jobs.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> PeerAddress {
        PeerAddress { host: "executor".to_owned(), port }
    }

    #[test]
    fn an_executor_that_was_away_gets_what_it_missed_once() {
        let (mut owed, now) = (Owed::default(), Instant::now());
        assert!(owed.due(&[at(1), at(2)], now).is_empty());
        for job in ["a", "b", "a"] {
            owed.missed(&[at(1)], &job.into());
        }
        owed.owe(&at(3), &"c".into(), now);
        assert!(owed.due(&[at(1)], now).is_empty());
        let mut due = owed.due(&[at(1), at(2), at(3)], now);
        due.sort();
        let jobs = |ids: &[&str]| ids.iter().map(|id| Arc::from(*id)).collect::<Jobs>();
        assert_eq!(due, [(at(2), jobs(&["a", "b"])), (at(3), jobs(&["c"]))]);
        assert!(owed.due(&[at(1), at(2), at(3)], now).is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut owed, now) = (Owed::default(), Instant::now());
        let executors: Vec<PeerAddress> = (0..1000).map(at).collect();
        owed.due(&executors, now);
        owed.due(&executors[..10], now + Duration::from_secs(1));
        assert_eq!(owed.executors.len(), 10 + MOST_AWAY);
        for job in 0..=MOST_JOBS {
            owed.owe(&at(1), &job.to_string().into(), now);
        }
        let due = owed.due(&[at(1)], now + 2 * PATIENCE);
        assert_eq!((due.len(), owed.executors.len()), (1, 1));
        assert_eq!(due[0].1.len(), MOST_JOBS);
        assert_eq!(due[0].1.front().map(|job| &**job), Some("1"));
    }
}
