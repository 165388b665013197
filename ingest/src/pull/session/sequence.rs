//! Numbers that ought to grow by one.

use std::collections::HashMap;

use super::super::gap::{Gap, GapKind};

/// Keys that are followed at once. Beyond it new ones are not: a feed must not fill the memory with keys.
const MOST_KEYS: usize = 1 << 16;

/// The last number of each key.
#[derive(Debug, Default)]
pub struct Sequences {
    last: HashMap<Box<[u8]>, Last>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    value: i64,
    micros: i64,
}

impl Sequences {
    /// Takes a number; the gap before it, if there is one. A number that comes again is none. One that goes back is,
    /// and counting goes on from there: a server that began anew would else never be followed again.
    pub fn see(&mut self, key: &[u8], value: i64, micros: i64) -> Option<Gap> {
        let now = Last { value, micros };
        let Some(last) = self.last.get_mut(key) else {
            if self.last.len() < MOST_KEYS {
                self.last.insert(key.into(), now);
            }
            return None;
        };
        let before = std::mem::replace(last, now);
        let expected = before.value.checked_add(1);
        if value == before.value || Some(value) == expected {
            return None;
        }
        let detail = match value.checked_sub(before.value) {
            Some(step) if step > 1 => format!("{} missing", step - 1),
            None if value > before.value => "more are missing than can be counted".to_owned(),
            _ => "the sequence went back".to_owned(),
        };
        Some(Gap {
            kind: GapKind::Sequence,
            key: (!key.is_empty()).then(|| String::from_utf8_lossy(key).into_owned()),
            expected,
            found: Some(value),
            from_micros: Some(before.micros),
            to_micros: micros,
            detail,
        })
    }

    /// Forgets all numbers.
    pub fn clear(&mut self) {
        self.last.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_are_gaps_and_repeats_are_not() {
        let mut sequences = Sequences::default();
        let mut see = |key: &str, value, micros| sequences.see(key.as_bytes(), value, micros);
        assert_eq!(see("a", 10, 1), None);
        assert_eq!(see("b", 500, 2), None);
        assert_eq!(see("a", 11, 3), None);
        assert_eq!(see("a", 11, 4), None);
        let gap = see("a", 15, 5).unwrap();
        assert_eq!(
            (gap.expected, gap.found, gap.from_micros, gap.to_micros),
            (Some(12), Some(15), Some(4), 5)
        );
        assert_eq!((gap.key.as_deref(), gap.detail.as_str()), (Some("a"), "3 missing"));
        assert_eq!(see("b", 501, 6), None);
        assert_eq!(see("a", 1, 7).unwrap().detail, "the sequence went back");
        assert_eq!(see("a", 2, 8), None);
        assert!(see("a", i64::MAX, 9).is_some());
        assert_eq!(see("a", i64::MIN, 10).unwrap().expected, None);
        assert_eq!(see("a", i64::MAX, 11).unwrap().detail, "more are missing than can be counted");
    }

    #[test]
    fn keys_are_bounded() {
        let mut sequences = Sequences::default();
        for key in 0..=u32::try_from(MOST_KEYS).unwrap() {
            sequences.see(&key.to_le_bytes(), 1, 0);
        }
        assert_eq!(sequences.last.len(), MOST_KEYS);
        sequences.clear();
        assert_eq!(sequences.see(b"", 7, 0), None);
        assert_eq!(sequences.see(b"", 9, 0).unwrap().key, None);
    }
}
