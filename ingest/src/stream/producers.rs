//! How far each producer's frames have come.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The last number of each producer that is in the stream. Numbers grow, so that one says it all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Producers(BTreeMap<Arc<str>, u64>);

impl Producers {
    /// Zero for a producer that has sent nothing.
    pub fn last(&self, producer: &str) -> u64 {
        self.0.get(producer).copied().unwrap_or_default()
    }

    /// A smaller number than the last changes nothing.
    pub fn advance(&mut self, producer: &Arc<str>, number: u64) {
        match self.0.get_mut(producer.as_ref()) {
            Some(last) => *last = number.max(*last),
            None => {
                self.0.insert(Arc::clone(producer), number);
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(producer, last)| (producer.as_ref(), *last))
    }
}

impl<S: Into<Arc<str>>> FromIterator<(S, u64)> for Producers {
    fn from_iter<I: IntoIterator<Item = (S, u64)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(producer, last)| (producer.into(), last)).collect())
    }
}
