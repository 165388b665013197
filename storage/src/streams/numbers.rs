//! Sets of the numbers that producers give to their frames.

use serde::{Deserialize, Serialize};

/// Beyond it the gap below the highest numbers is no longer told apart. Producers that count leave one gap for each time
/// they go on somewhere else.
const MAX_RANGES: usize = 64;

/// A set of numbers, kept as ranges: both ends included, in ascending order, none touching the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Numbers(Vec<(u64, u64)>);

impl Numbers {
    pub fn contains(&self, number: u64) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < number);
        self.0.get(at).is_some_and(|(first, _)| *first <= number)
    }

    pub fn insert(&mut self, number: u64) {
        // The first range that the number is in, or touches, or stands before.
        let at = self.0.partition_point(|(_, last)| last.saturating_add(1) < number);
        match self.0.get_mut(at) {
            Some((first, last)) if *first <= number.saturating_add(1) => {
                *first = number.min(*first);
                *last = number.max(*last);
                self.join(at);
            }
            _ => self.0.insert(at, (number, number)),
        }
        if self.0.len() > MAX_RANGES
            && let Some((_, last)) = self.0.pop()
            && let Some(below) = self.0.last_mut()
        {
            below.1 = last;
        }
    }

    /// Joins a range with the next if they touch by now.
    fn join(&mut self, at: usize) {
        if let (Some((_, last)), Some((next, end))) = (self.0.get(at).copied(), self.0.get(at + 1).copied())
            && last.saturating_add(1) >= next
        {
            self.0.remove(at + 1);
            if let Some(range) = self.0.get_mut(at) {
                range.1 = end.max(last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(numbers in prop::collection::vec(0u64..120, 0..80)) {
            let mut set = Numbers::default();
            let mut expected = BTreeSet::new();
            for number in numbers {
                set.insert(number);
                expected.insert(number);
                let touching = set.0.windows(2).any(|pair| pair[0].1 + 1 >= pair[1].0);
                prop_assert!(!touching, "{set:?}");
            }
            for number in 0..121 {
                prop_assert_eq!(set.contains(number), expected.contains(&number), "{} in {:?}", number, set);
            }
        }
    }

    #[test]
    fn its_size_is_bounded_and_low_numbers_stay_exact() {
        let mut set = Numbers::default();
        (1..=1000).for_each(|number| set.insert(number * 10));
        assert_eq!(set.0.len(), MAX_RANGES);
        assert!(set.contains(10) && !set.contains(15) && set.contains(10_000) && !set.contains(10_001));
        assert!(set.contains(9_995), "not told apart any more");
        set.insert(u64::MAX);
        assert!(set.contains(u64::MAX) && !set.contains(5));
    }
}
