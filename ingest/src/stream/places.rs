//! From places in the stream to positions in the log.

use std::collections::VecDeque;

use crate::wal::Position;

/// Marks nearer to each other than this become one: the log gives room back in whole segments anyway.
const APART: u64 = 256 << 10;

/// Marks `(place, position)`: all rows before the place are before the position.
#[derive(Debug, Default)]
pub struct Places(VecDeque<(u64, Position)>);

impl Places {
    /// Both grow from call to call.
    pub fn note(&mut self, place: u64, position: Position) {
        let before = self.0.len().checked_sub(2).and_then(|index| self.0.get(index));
        let near = before.is_some_and(|(_, before)| position.0 - before.0 < APART);
        if near && let Some(last) = self.0.back_mut() {
            *last = (place, position);
        } else {
            self.0.push_back((place, position));
        }
    }

    /// The last position before which only rows before `place` are; forgets what lies before.
    pub fn up_to(&mut self, place: u64) -> Option<Position> {
        let mut found = None;
        while let Some((_, position)) = self.0.pop_front_if(|(end, _)| *end <= place) {
            found = Some(position);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_never_cut_into_rows_that_are_needed() {
        let mut places = Places::default();
        for record in 1..=10_000u64 {
            places.note(record * 10, Position(record * 1000));
        }
        assert!(places.0.len() < 100, "{} marks", places.0.len());
        for sealed in (0..100_000).step_by(3_333) {
            if let Some(position) = places.up_to(sealed) {
                assert!(position.0 <= sealed * 100);
            }
        }
        assert_eq!(places.up_to(100_000), Some(Position(10_000_000)));
        assert_eq!(places.up_to(100_000), None);
    }
}
