//! Groups on their way from the reader to the acknowledger.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::acks::Group;

/// A queue that never makes the reader wait: when it is full, a group joins the one before it, and both are acknowledged
/// together. Rows may wait long for their durability, those of `object_store` until they are sealed, and meanwhile more have
/// to come.
#[derive(Debug)]
pub struct Groups {
    limit: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Group>,
    closed: bool,
}

impl Groups {
    /// With at most `limit` groups.
    pub fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default(), changed: Notify::new() }
    }

    pub fn add(&self, group: Group) {
        let mut state = self.state.lock();
        let is_full = state.waiting.len() >= self.limit;
        match state.waiting.back_mut().filter(|_| is_full) {
            Some(back) => {
                let (rows, bad) = (back.rows.saturating_add(group.rows), back.bad.saturating_add(group.bad));
                *back = Group { rows, bad, ..group };
            }
            None => state.waiting.push_back(group),
        }
        self.changed.notify_one();
    }

    /// No more come.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_one();
    }

    /// The next group; none when no more come. There may be one who waits.
    pub async fn next(&self) -> Option<Group> {
        loop {
            {
                let mut state = self.state.lock();
                if let Some(group) = state.waiting.pop_front() {
                    return Some(group);
                }
                if state.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// The next group if it is there.
    pub fn try_next(&self) -> Option<Group> {
        self.state.lock().waiting.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(upto: u64) -> Group {
        Group { upto, place: upto * 10, rows: 2, bad: 1 }
    }

    #[tokio::test]
    async fn a_full_queue_puts_groups_together_and_loses_none() {
        let groups = Groups::new(3);
        (1..=10).for_each(|upto| groups.add(group(upto)));
        assert_eq!(groups.next().await, Some(group(1)));
        assert_eq!(groups.try_next(), Some(group(2)));
        assert_eq!(groups.next().await, Some(Group { upto: 10, place: 100, rows: 16, bad: 8 }));
        assert_eq!(groups.try_next(), None);
        groups.add(group(11));
        groups.close();
        assert_eq!(groups.next().await, Some(group(11)));
        assert_eq!(groups.next().await, None);
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let groups = Groups::new(1);
        let (next, ()) = tokio::join!(groups.next(), async { groups.add(group(1)) });
        assert_eq!(next, Some(group(1)));
        let (next, ()) = tokio::join!(groups.next(), async { groups.close() });
        assert_eq!(next, None);
    }
}
