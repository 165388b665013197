//! When a holder renews its lease, and from when on it has lost it. The time is an argument.
//!
//! A store counts a lease's time to live from when it receives a request, which is after the holder sent it. So the
//! holder counts from when it sent the last request that was answered, less a margin: it gives up before the store
//! does, whatever the network and the store's clock did in between. What it decides once it does not take back: who
//! asked meanwhile may have acted on it.

use std::time::{Duration, Instant};

/// Renewed so many times within the time to live, so that one lost request costs nothing.
const RENEWALS: u32 = 3;

/// The part of the time to live by which the holder gives up early: for clocks that run at different speed, and for
/// what it takes from asking whether the lease is held to doing something about it.
const MARGIN: u32 = 8;

/// The pause after a failure, as a part of the time to live.
const PAUSE: u32 = 20;

#[derive(Debug)]
pub(super) struct Tenure {
    ttl: Duration,
    /// When the last request was sent that the store answered.
    proven: Instant,
    next_renewal: Instant,
    over: bool,
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Wait(Duration),
    /// Ask the store to keep the lease alive; after this time an answer comes too late or another try is due.
    Renew(Duration),
    Lost,
}

impl Tenure {
    /// Of a lease that was asked for at `sent` and granted.
    pub(super) fn new(ttl: Duration, sent: Instant) -> Self {
        Self { ttl, proven: sent, next_renewal: sent + ttl / RENEWALS, over: false }
    }

    /// From when on the holder no longer relies on the lease.
    fn end(&self) -> Instant {
        self.proven + (self.ttl - self.ttl / MARGIN)
    }

    pub(super) fn holds(&self, now: Instant) -> bool {
        !self.over && now < self.end()
    }

    pub(super) fn step(&mut self, now: Instant) -> Step {
        if !self.holds(now) {
            self.over = true;
            return Step::Lost;
        }
        match self.next_renewal.saturating_duration_since(now) {
            Duration::ZERO => Step::Renew((self.end() - now).min(self.ttl / RENEWALS)),
            wait => Step::Wait(wait.min(self.end() - now)),
        }
    }

    /// The store kept the lease alive when it was asked at `sent`. An answer that comes after the end changes nothing.
    pub(super) fn renewed(&mut self, sent: Instant, now: Instant) {
        if self.holds(now) {
            self.proven = self.proven.max(sent);
            self.next_renewal = self.proven + self.ttl / RENEWALS;
        }
    }

    /// The store did not answer, or not well.
    pub(super) fn failed(&mut self, now: Instant) {
        self.next_renewal = now + self.ttl / PAUSE;
    }

    /// The store says that the lease has ended, or the holder gives it up.
    pub(super) fn give_up(&mut self) {
        self.over = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(24);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_is_renewed_in_good_time() {
        let start = Instant::now();
        let mut tenure = Tenure::new(TTL, start);
        assert_eq!(tenure.step(start), Step::Wait(8 * SECOND));
        assert_eq!(tenure.step(start + 8 * SECOND), Step::Renew(8 * SECOND));
        tenure.renewed(start + 8 * SECOND, start + 9 * SECOND);
        assert_eq!(tenure.step(start + 9 * SECOND), Step::Wait(7 * SECOND));
    }

    #[test]
    fn its_time_counts_from_when_the_request_was_sent() {
        let start = Instant::now();
        let mut tenure = Tenure::new(TTL, start);
        tenure.renewed(start + 8 * SECOND, start + 20 * SECOND);
        assert!(tenure.holds(start + 28 * SECOND));
        // The store counts to 8 + 24 at least.
        assert!(!tenure.holds(start + 29 * SECOND));
    }

    #[test]
    fn without_answers_it_is_lost_before_the_store_ends_it() {
        let start = Instant::now();
        let mut tenure = Tenure::new(TTL, start);
        let mut now = start;
        let lost = loop {
            match tenure.step(now) {
                Step::Wait(pause) => now += pause,
                Step::Renew(within) => {
                    now += within;
                    tenure.failed(now);
                }
                Step::Lost => break now,
            }
        };
        assert_eq!(lost, start + 21 * SECOND);
        assert!(lost < start + TTL);
    }

    #[test]
    fn what_is_lost_stays_lost() {
        let start = Instant::now();
        let mut tenure = Tenure::new(TTL, start);
        // The process stood still, and the answer has been waiting for it.
        tenure.renewed(start + 8 * SECOND, start + 22 * SECOND);
        assert!(!tenure.holds(start + 22 * SECOND));
        assert_eq!(tenure.step(start + 22 * SECOND), Step::Lost);
        tenure.renewed(start + 22 * SECOND, start + 22 * SECOND);
        assert!(!tenure.holds(start + SECOND));

        let mut tenure = Tenure::new(TTL, start);
        tenure.give_up();
        assert_eq!(tenure.step(start), Step::Lost);
    }

    #[test]
    fn an_older_answer_takes_nothing_back() {
        let start = Instant::now();
        let mut tenure = Tenure::new(TTL, start);
        tenure.renewed(start + 10 * SECOND, start + 11 * SECOND);
        tenure.renewed(start + 5 * SECOND, start + 12 * SECOND);
        assert!(tenure.holds(start + 30 * SECOND));
    }
}
