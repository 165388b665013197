//! Our keys within etcd's: all begin with one prefix.

use bytes::Bytes;
use etcd_client::KeyValue;

use crate::error::{MetaStoreError, Result};
use crate::store::Versioned;

#[derive(Debug)]
pub(super) struct KeySpace {
    prefix: String,
}

/// Keys from `start` to before `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: Vec<u8>,
    pub(super) end: Vec<u8>,
}

impl KeySpace {
    /// The prefix must not be empty.
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub(super) fn encode(&self, key: &str) -> Vec<u8> {
        [self.prefix.as_bytes(), key.as_bytes()].concat()
    }

    pub(super) fn encoded_len(&self, key: &str) -> usize {
        self.prefix.len() + key.len()
    }

    /// # Errors
    /// [`MetaStoreError::Corrupt`] for a key that we cannot have written.
    pub(super) fn decode(&self, place: &str, key: &[u8]) -> Result<String> {
        let ours = key.strip_prefix(self.prefix.as_bytes()).and_then(|key| std::str::from_utf8(key).ok());
        ours.map(str::to_owned).ok_or_else(|| MetaStoreError::Corrupt {
            place: place.to_owned(),
            detail: format!("`{}` is no key of ours", String::from_utf8_lossy(key)),
        })
    }

    /// All keys that start with `prefix`.
    pub(super) fn range(&self, prefix: &str) -> Range {
        let start = self.encode(prefix);
        let mut end = start.clone();
        // No byte of UTF-8 is the highest, so that the last one can always be raised.
        if let Some(last) = end.last_mut() {
            *last = last.saturating_add(1);
        }
        Range { start, end }
    }
}

impl Range {
    /// What follows after `key`.
    pub(super) fn after(&self, key: &[u8]) -> Self {
        Self { start: [key, &[0]].concat(), end: self.end.clone() }
    }
}

/// etcd's revisions are positive.
pub(super) fn revision(number: i64) -> u64 {
    number.unsigned_abs()
}

pub(super) fn versioned(found: &KeyValue) -> Versioned {
    Versioned { value: Bytes::copy_from_slice(found.value()), revision: revision(found.mod_revision()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_key_reads_back(key: String) {
            let space = KeySpace::new("polarway/");
            prop_assert_eq!(space.encode(&key).len(), space.encoded_len(&key));
            prop_assert_eq!(space.decode("x", &space.encode(&key)).unwrap(), key);
        }

        #[test]
        fn a_range_holds_what_starts_with_its_prefix(prefix: String, key: String, tail: String) {
            let space = KeySpace::new("p/");
            let range = space.range(&prefix);
            for key in [key, format!("{prefix}{tail}")] {
                let encoded = space.encode(&key);
                prop_assert_eq!(range.start <= encoded && encoded < range.end, key.starts_with(&prefix));
                let rest = range.after(&encoded);
                prop_assert!(encoded < rest.start && rest.start <= [&encoded[..], &[0]].concat());
            }
        }
    }

    #[test]
    fn keys_of_others_are_told_from_ours() {
        let space = KeySpace::new("p/");
        for key in [&b"q/a"[..], b"p", b"p/\xff"] {
            assert!(matches!(space.decode("x", key), Err(MetaStoreError::Corrupt { .. })));
        }
    }
}
