//! Acknowledgements: when they are due, and gathering what can be acknowledged into one message.

use std::sync::atomic::AtomicU64;

use futures::FutureExt;
use tokio::sync::mpsc::Sender;

use super::fault::Fault;
use super::groups::Groups;
use super::message::Ack;
use super::metrics::add;
use super::reader::hand_over;
use super::sink::Feed;
use crate::durability::Durability;

/// A group of frames that the feed has taken; where it must have arrived decides when it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Number of its last frame.
    pub upto: u64,
    /// Everything of the group lies before this place of the stream.
    pub place: u64,
    pub rows: u64,
    pub bad: u64,
}

/// What one acknowledgement says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reached {
    pub upto: u64,
    pub rows: u64,
    pub bad: u64,
}

/// Groups that have arrived and are not acknowledged yet.
#[derive(Debug, Default)]
struct Acks {
    pending: Option<Reached>,
}

impl Acks {
    /// Adds a group that has reached its durability; groups come in the order of their numbers.
    pub fn add(&mut self, group: Group) {
        let pending = self.pending.get_or_insert(Reached { upto: 0, rows: 0, bad: 0 });
        pending.upto = pending.upto.max(group.upto);
        pending.rows = pending.rows.saturating_add(group.rows);
        pending.bad = pending.bad.saturating_add(group.bad);
    }

    /// All that was added since the last call, as one acknowledgement.
    pub fn take(&mut self) -> Option<Reached> {
        self.pending.take()
    }
}

/// Acknowledges groups as they reach `durability`, until no more come, and counts the messages.
pub async fn acknowledge<T: From<Ack>>(
    feed: &dyn Feed,
    durability: Durability,
    groups: &Groups,
    out: &Sender<T>,
    count: &AtomicU64,
) -> Result<(), Fault> {
    let mut acks = Acks::default();
    let mut head = groups.next().await;
    while let Some(group) = head {
        feed.reached(group.place, durability).await?;
        acks.add(group);
        // All the others that are there ride along.
        let mut outcome = Ok(());
        head = loop {
            let Some(group) = groups.try_next() else { break None };
            match feed.reached(group.place, durability).now_or_never() {
                Some(Ok(())) => acks.add(group),
                Some(Err(fault)) => {
                    outcome = Err(fault);
                    break None;
                }
                None => break Some(group),
            }
        };
        if let Some(Reached { upto, rows, bad }) = acks.take() {
            // What may be taken back yet cannot be asked for.
            let token = (durability != Durability::Received).then(|| feed.token());
            hand_over(out, Ack { ack: upto, durability, rows, bad, token }.into()).await;
            add(count, 1);
        }
        outcome?;
        if head.is_none() {
            head = groups.next().await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn groups_between_two_acks_become_one() {
        let mut acks = Acks::default();
        assert_eq!(acks.take(), None);
        acks.add(Group { upto: 3, place: 30, rows: 10, bad: 0 });
        acks.add(Group { upto: 5, place: 50, rows: 4, bad: 2 });
        assert_eq!(acks.take(), Some(Reached { upto: 5, rows: 14, bad: 2 }));
        assert_eq!(acks.take(), None);
    }

    proptest! {
        #[test]
        fn however_they_are_batched_nothing_is_lost_and_numbers_grow(
            steps in prop::collection::vec((1u64..5, 0u64..100, 0u64..100, any::<bool>()), 0..50),
        ) {
            let mut acks = Acks::default();
            let (mut sent, mut upto, mut told) = ((0, 0), 0, (0, 0));
            let mut last = 0;
            let mut collect = |acks: &mut Acks| {
                let Some(ack) = acks.take() else { return true };
                told = (told.0 + ack.rows, told.1 + ack.bad);
                let grows = ack.upto > last;
                last = ack.upto;
                grows
            };
            for (step, rows, bad, take) in steps {
                upto += step;
                sent = (sent.0 + rows, sent.1 + bad);
                acks.add(Group { upto, place: 0, rows, bad });
                if take {
                    prop_assert!(collect(&mut acks));
                }
            }
            prop_assert!(collect(&mut acks));
            prop_assert_eq!((told, last), (sent, upto));
        }
    }
}
