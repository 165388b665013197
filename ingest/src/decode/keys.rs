//! From the key of a field to the column it fills.

use std::collections::HashMap;

use super::cursor::Pattern;

/// Up to so many columns a scan over the names beats hashing the key.
const SCANNED: usize = 8;

/// Finds columns by key. A feed writes its fields in the same order row after row, so the field that followed a
/// column last time is tried first; that is a cache and changes no answer.
#[derive(Debug)]
pub(crate) struct Keys {
    names: Vec<Box<[u8]>>,
    /// For each column its key as compact JSON has it, quotes and colon included; none where the name cannot stand
    /// in JSON without escapes.
    quoted: Vec<Option<Pattern>>,
    /// For each column the one that followed last; the entry behind the last column is for the start of a row.
    next: Vec<usize>,
    by_name: HashMap<Box<[u8]>, usize>,
    /// The column found last, or the number of columns at the start of a row.
    last: usize,
}

impl Keys {
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let names: Vec<Box<[u8]>> = names.map(|name| name.as_bytes().into()).collect();
        let quoted = names.iter().map(|name| quoted(name)).collect();
        let by_name = names.iter().enumerate().map(|(column, name)| (name.clone(), column)).collect();
        let count = names.len();
        let next = (1..=count).chain([0]).collect();
        Self { names, quoted, next, by_name, last: count }
    }

    /// Tells that a row begins.
    #[inline]
    pub fn start_row(&mut self) {
        self.last = self.names.len();
    }

    /// The column expected next, and its key, quotes and colon included.
    #[inline]
    pub fn expected(&self) -> Option<(usize, &Pattern)> {
        let column = *self.next.get(self.last)?;
        Some((column, self.quoted.get(column)?.as_ref()?))
    }

    /// Tells that the expected column came.
    #[inline]
    pub fn hit(&mut self, column: usize) {
        self.last = column;
    }

    /// The column of `key`, found by name; the order is learnt from it.
    pub fn find(&mut self, key: &[u8]) -> Option<usize> {
        let column = if self.names.len() <= SCANNED {
            self.names.iter().position(|name| **name == *key)
        } else {
            self.by_name.get(key).copied()
        }?;
        if let Some(next) = self.next.get_mut(self.last) {
            *next = column;
        }
        self.last = column;
        Some(column)
    }
}

fn quoted(name: &[u8]) -> Option<Pattern> {
    if name.iter().any(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        return None;
    }
    Some(Pattern::new([b"\"", name, b"\":"].concat().into()))
}

#[cfg(test)]
mod tests {
    use super::Keys;

    #[test]
    fn the_order_of_the_feed_is_learnt() {
        let mut keys = Keys::new(["a", "b", "c"].into_iter());
        keys.start_row();
        assert_eq!(keys.expected().map(|(column, _)| column), Some(0));
        assert_eq!(keys.find(b"c"), Some(2));
        assert_eq!(keys.find(b"a"), Some(0));
        assert_eq!(keys.find(b"x"), None);
        keys.start_row();
        assert_eq!(keys.expected().map(|(column, _)| column), Some(2));
        keys.hit(2);
        assert_eq!(keys.expected().map(|(column, _)| column), Some(0));
    }

    #[test]
    fn names_that_need_escapes_are_found_by_name_only() {
        let mut keys = Keys::new(["a\"b"].into_iter());
        keys.start_row();
        assert!(keys.expected().is_none());
        assert_eq!(keys.find(b"a\"b"), Some(0));
    }
}
