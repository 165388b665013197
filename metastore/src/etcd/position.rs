//! How far a watch has been read, so that another connection goes on where one broke off.
//!
//! etcd sends the events of one revision together, unless they are too many for one message; then it marks all messages
//! but the last as fragments. A revision whose last fragment has not been seen is asked for again as a whole, and as many
//! of its events are left out as were seen: their order is always the same.
//!
//! A watch begins *at* the last revision that was seen as a whole, and leaves out its events. To begin after it would
//! miss a deletion if etcd has compacted up to the very next revision: it removes deletions up to and including that
//! one, and refuses a watch only from before (mended in etcd 3.4.36 and 3.5.19). So what is asked for is refused exactly
//! if something after the last seen revision may be missing.

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    /// Everything up to this revision has been seen.
    whole: u64,
    /// A later revision of which events have been seen, perhaps not all, and how many.
    begun: Option<(u64, usize)>,
    /// So many events of that revision are repetitions.
    repeated: usize,
}

impl Position {
    /// Everything up to this revision has been seen.
    pub(super) fn after(revision: u64) -> Self {
        Self { whole: revision, begun: None, repeated: 0 }
    }

    pub(super) fn whole(&self) -> u64 {
        self.whole
    }

    /// From which revision to watch on another connection. etcd's first revision is 1, and zero means "from now on".
    pub(super) fn reopen(&mut self) -> i64 {
        self.repeated = self.begun.map_or(0, |(_, seen)| seen);
        i64::try_from(self.whole.max(1)).unwrap_or(i64::MAX)
    }

    /// An event of this revision arrived. False if it has been seen before.
    pub(super) fn arrived(&mut self, revision: u64) -> bool {
        if revision <= self.whole {
            return false;
        }
        match &mut self.begun {
            Some((begun, seen)) if *begun == revision => {
                if self.repeated > 0 {
                    self.repeated -= 1;
                    return false;
                }
                *seen += 1;
            }
            begun => {
                // The one before is complete: events come in the order of revisions.
                if let Some((before, _)) = begun.replace((revision, 1)) {
                    self.whole = self.whole.max(before);
                }
                self.repeated = 0;
            }
        }
        true
    }

    /// A message that is no fragment ended with this revision.
    pub(super) fn completed(&mut self, revision: u64) {
        if self.begun.is_none_or(|(begun, _)| begun <= revision) {
            self.whole = self.whole.max(revision);
            self.begun = None;
            self.repeated = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_seen_is_left_out() {
        let mut position = Position::after(5);
        assert_eq!(position.reopen(), 5);
        assert!(!position.arrived(4) && !position.arrived(5));
        assert!(position.arrived(6) && position.arrived(6));
        position.completed(6);
        assert_eq!(position.reopen(), 6);
        assert!(!position.arrived(6));
    }

    #[test]
    fn a_revision_that_broke_off_is_continued() {
        let mut position = Position::after(5);
        assert!(position.arrived(7) && position.arrived(7));
        assert_eq!(position.reopen(), 5);
        assert!(!position.arrived(7) && !position.arrived(7));
        assert!(position.arrived(7) && position.arrived(8));
        assert_eq!(position.whole(), 7);
    }

    #[test]
    fn a_message_without_events_moves_the_position() {
        let mut position = Position::after(0);
        assert_eq!(position.reopen(), 1);
        position.completed(9);
        assert_eq!(position.reopen(), 9);
        assert!(position.arrived(10));
        // Of before the revision that has begun, which it does not complete.
        position.completed(9);
        assert_eq!((position.reopen(), position.arrived(10)), (9, false));
    }

    proptest! {
        /// Wherever connections break off, every event arrives once and in order.
        #[test]
        fn nothing_is_lost_or_doubled(
            sizes in prop::collection::vec(1usize..5, 1..12),
            breaks in prop::collection::vec(0usize..12, 0..12),
            fragment in 1usize..4,
        ) {
            let all: Vec<(u64, usize)> = sizes
                .iter()
                .enumerate()
                .flat_map(|(index, size)| (0..*size).map(move |event| (index as u64 + 2, event)))
                .collect();
            let mut position = Position::after(1);
            let mut seen: Vec<(u64, usize)> = Vec::new();
            for limit in breaks.into_iter().map(Some).chain([None]) {
                let start = position.reopen().unsigned_abs();
                let mut messages = 0;
                'connection: for revision in all.chunk_by(|a, b| a.0 == b.0) {
                    if revision[0].0 < start {
                        continue;
                    }
                    let fragments = revision.chunks(fragment).count();
                    for (index, message) in revision.chunks(fragment).enumerate() {
                        if limit.is_some_and(|limit| messages >= limit) {
                            break 'connection;
                        }
                        messages += 1;
                        seen.extend(message.iter().filter(|event| position.arrived(event.0)));
                        if index + 1 == fragments {
                            position.completed(message[0].0);
                        }
                    }
                }
            }
            prop_assert_eq!(seen, all);
        }
    }
}
