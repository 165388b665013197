//! What waits to be written down.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;
use polarway_common::Namespace;

/// Of each namespace the latest so many of what was put into it. Who puts never waits for who takes.
#[derive(Debug)]
pub struct Queue<T> {
    most: usize,
    /// None of them is empty.
    waiting: Mutex<BTreeMap<Namespace, VecDeque<T>>>,
}

impl<T> Queue<T> {
    pub fn new(most: usize) -> Self {
        Self { most, waiting: Mutex::default() }
    }

    /// Gives what there is no room for any more.
    pub fn put(&self, of: &Namespace, one: T) -> Option<T> {
        if self.most == 0 {
            return Some(one);
        }
        let mut all = self.waiting.lock();
        let waiting = all.entry(of.clone()).or_default();
        let dropped = if waiting.len() >= self.most { waiting.pop_front() } else { None };
        waiting.push_back(one);
        dropped
    }

    /// Namespaces of which something waits, at most so many, beginning after `last`: so all have their turn.
    pub fn whose(&self, last: &Namespace, most: usize) -> Vec<Namespace> {
        let all = self.waiting.lock();
        let (later, earlier): (Vec<_>, Vec<_>) = all.keys().cloned().partition(|of| of > last);
        later.into_iter().chain(earlier).take(most).collect()
    }

    /// The one of a namespace that has waited longest.
    pub fn take(&self, of: &Namespace) -> Option<T> {
        let mut all = self.waiting.lock();
        let waiting = all.get_mut(of)?;
        let one = waiting.pop_front();
        if waiting.is_empty() {
            all.remove(of);
        }
        one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_of(queue: &Queue<i32>, of: &Namespace) -> Vec<i32> {
        std::iter::from_fn(|| queue.take(of)).collect()
    }

    #[test]
    fn row_48_a_full_queue_drops_its_oldest() {
        let (queue, of) = (Queue::new(3), Namespace::default());
        let dropped: Vec<_> = (1..=5).filter_map(|number| queue.put(&of, number)).collect();
        assert_eq!(dropped, [1, 2]);
        assert_eq!(all_of(&queue, &of), [3, 4, 5]);
        assert_eq!(Queue::new(0).put(&of, 1), Some(1));
    }

    #[test]
    fn row_48_namespaces_wait_by_themselves_and_in_turn() {
        let queue = Queue::new(3);
        let [acme, beta, carl] = ["acme", "beta", "carl"].map(|name| Namespace::parse(name).unwrap());
        assert_eq!(queue.put(&acme, 0), None);
        assert_eq!((1..=5).filter_map(|number| queue.put(&beta, number)).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(queue.put(&carl, 6), None);
        assert_eq!(queue.whose(&acme, 2), [beta.clone(), carl.clone()]);
        assert_eq!(queue.whose(&beta, 9), [carl.clone(), acme.clone(), beta.clone()]);
        assert_eq!((all_of(&queue, &acme), all_of(&queue, &beta)), (vec![0], vec![3, 4, 5]));
        assert_eq!(queue.whose(&acme, 9), [carl]);
    }
}
