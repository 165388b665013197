//! Where the rows of a stream are cut into portions to be sealed.

use std::collections::VecDeque;
use std::time::Instant;

use super::producers::Producers;
use crate::wal::Position;

/// A place before which all rows are in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    pub place: u64,
    /// As they were at the place.
    pub producers: Producers,
    /// Up to where the log is told by the place and the producers.
    pub position: Option<Position>,
    /// When it was made; later rows are younger.
    pub at: Instant,
}

/// Cuts that are not sealed yet, in the order of their places. What is sealed at once is copied, sorted and held as a file in
/// memory, so that its size is bounded however fast rows come.
#[derive(Debug, Default)]
pub struct Cuts(VecDeque<Cut>);

impl Cuts {
    pub fn add(&mut self, cut: Cut) {
        self.0.push_back(cut);
    }

    pub fn last(&self) -> Option<u64> {
        self.0.back().map(|cut| cut.place)
    }

    /// The first cut behind `place`.
    pub fn first_after(&self, place: u64) -> Option<Cut> {
        self.0.iter().find(|cut| cut.place > place).cloned()
    }

    /// Forgets cuts up to `place`.
    pub fn up_to(&mut self, place: u64) {
        while self.0.pop_front_if(|cut| cut.place <= place).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_come_in_their_order_and_go_when_sealed() {
        let mut cuts = Cuts::default();
        let cut = |place| Cut { place, producers: Producers::default(), position: None, at: Instant::now() };
        assert_eq!((cuts.last(), cuts.first_after(0)), (None, None));
        [10, 20, 30].map(cut).into_iter().for_each(|cut| cuts.add(cut));
        assert_eq!(cuts.first_after(10).map(|cut| cut.place), Some(20));
        cuts.up_to(20);
        assert_eq!((cuts.last(), cuts.first_after(0).map(|cut| cut.place)), (Some(30), Some(30)));
    }
}
