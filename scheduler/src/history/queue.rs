//! What waits to be written down.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// The latest so many of what was put into it. Who puts never waits for who takes.
#[derive(Debug)]
pub struct Queue<T> {
    most: usize,
    waiting: Mutex<VecDeque<T>>,
}

impl<T> Queue<T> {
    pub fn new(most: usize) -> Self {
        Self { most, waiting: Mutex::default() }
    }

    /// Gives what there is no room for any more.
    pub fn put(&self, one: T) -> Option<T> {
        if self.most == 0 {
            return Some(one);
        }
        let mut waiting = self.waiting.lock();
        let dropped = if waiting.len() >= self.most { waiting.pop_front() } else { None };
        waiting.push_back(one);
        dropped
    }

    /// The one that has waited longest.
    pub fn take(&self) -> Option<T> {
        self.waiting.lock().pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_48_a_full_queue_drops_its_oldest() {
        let queue = Queue::new(3);
        let dropped: Vec<_> = (1..=5).filter_map(|number| queue.put(number)).collect();
        assert_eq!(dropped, [1, 2]);
        let taken: Vec<_> = std::iter::from_fn(|| queue.take()).collect();
        assert_eq!(taken, [3, 4, 5]);
        assert_eq!(Queue::new(0).put(1), Some(1));
    }
}
