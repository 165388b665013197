//! How far each producer's frames have come.

use std::collections::BTreeMap;
use std::sync::Arc;

use polarway_storage::streams::{Manifest, Owed};

use super::record::{Origin, Sender};

/// The last number of each producer that is in the stream. Numbers grow, so that one says it all, unless there is a log of
/// an owner before this one that is not handed over: then it is also known which numbers have come since.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Producers {
    last: BTreeMap<Arc<str>, u64>,
    owed: Vec<Owed>,
}

impl Producers {
    /// As they were when the last rows were sealed.
    pub fn sealed(manifest: &Manifest) -> Self {
        let mut producers: Self =
            manifest.producers.iter().map(|(name, last)| (name.as_str(), *last)).collect();
        producers.owed.clone_from(&manifest.owed);
        producers
    }

    /// Zero for a producer that has sent nothing.
    pub fn last(&self, producer: &str) -> u64 {
        self.last.get(producer).copied().unwrap_or_default()
    }

    /// Notes that rows are there.
    pub fn note(&mut self, origin: &Origin) {
        let Origin { sender, frames, marks } = origin;
        for Sender { producer, number } in sender.iter().chain(marks) {
            self.advance(producer, *number);
        }
        let Some(Sender { producer, .. }) = sender else { return };
        let through = |log: u64| marks.iter().any(|mark| Owed::log_of(&mark.producer) == Some(log));
        for owed in self.owed.iter_mut().filter(|owed| !through(owed.log)) {
            frames.iter().for_each(|frame| owed.note(producer, frame.number));
        }
    }

    /// A smaller number than the last changes nothing.
    fn advance(&mut self, producer: &Arc<str>, number: u64) {
        match self.last.get_mut(producer.as_ref()) {
            Some(last) => *last = number.max(*last),
            None => {
                self.last.insert(Arc::clone(producer), number);
            }
        }
    }

    /// What is owed by a log, if it is.
    pub fn owes(&self, log: u64) -> Option<&Owed> {
        self.owed.iter().find(|owed| owed.log == log)
    }

    /// What is owed by all logs.
    pub fn owed(&self) -> &[Owed] {
        &self.owed
    }

    /// The rows of a log are all there.
    pub fn settle(&mut self, log: u64) {
        self.owed.retain(|owed| owed.log != log);
        self.last.remove(Owed::producer(log).as_str());
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.last.iter().map(|(producer, last)| (producer.as_ref(), *last))
    }
}

impl<S: Into<Arc<str>>> FromIterator<(S, u64)> for Producers {
    fn from_iter<I: IntoIterator<Item = (S, u64)>>(entries: I) -> Self {
        let last = entries.into_iter().map(|(producer, last)| (producer.into(), last)).collect();
        Self { last, owed: vec![] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::FrameRows;

    #[test]
    fn what_comes_by_a_log_is_not_noted_against_it() {
        let manifest = Manifest::default().taken_over("a", 1).taken_over("b", 2);
        let mut producers = Producers::sealed(&manifest);
        let frames = [FrameRows { number: 5, rows: 1 }, FrameRows { number: 7, rows: 0 }];
        let sent = Origin::sent(Some(&"p".into()), &frames);
        let mark = |log, number| Sender { producer: Owed::producer(log).into(), number };
        producers.note(&Origin { marks: vec![mark(1, 3)], ..sent.clone() });
        let has = |producers: &Producers, log, number| producers.owes(log).unwrap().has_received("p", number);
        assert!(!has(&producers, 1, 5) && has(&producers, 2, 5) && has(&producers, 2, 7));
        assert_eq!((producers.last("p"), producers.last(&Owed::producer(1))), (7, 3));
        producers.note(&sent);
        assert!(has(&producers, 1, 5) && !has(&producers, 1, 6));
        producers.settle(1);
        assert_eq!((producers.owed().len(), producers.last(&Owed::producer(1))), (1, 0));
    }
}
