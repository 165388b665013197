//! Records of an owner before this one: what of them is new.

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;

use super::producers::Producers;
use super::record::{Origin, Sender};
use super::state::FrameRows;

/// Where the rows of a record are from once it is handed over under `mark`.
pub fn handed(origin: Origin, rows: usize, mark: Sender) -> Origin {
    let Origin { sender, mut frames, mut marks } = origin;
    marks.push(mark);
    // What the server itself has numbered counts in one run of its feed alone.
    let sender = sender.filter(|sender| !sender.producer.contains(' '));
    match &sender {
        None => frames.clear(),
        // Written by an earlier version: the frames before the last are not known.
        Some(Sender { number, .. }) if frames.is_empty() => frames.push(FrameRows { number: *number, rows }),
        Some(_) => {}
    }
    Origin { sender, frames, marks }
}

/// Whether a frame of them has come since in another way than by `log`.
pub fn has_received(origin: &Origin, producers: &Producers, log: u64) -> bool {
    let (Some(sender), Some(owed)) = (&origin.sender, producers.owes(log)) else { return false };
    origin.frames.iter().any(|frame| owed.has_received(&sender.producer, frame.number))
}

/// The rows without those of frames that have come since in another way than by `log`. These frames go from `origin`, too.
///
/// # Errors
/// None in practice: the mask is as long as the batch.
pub fn without_received(
    rows: &RecordBatch,
    origin: &mut Origin,
    producers: &Producers,
    log: u64,
) -> Result<RecordBatch, ArrowError> {
    if !has_received(origin, producers, log) {
        return Ok(rows.clone());
    }
    let (Some(sender), Some(owed)) = (&origin.sender, producers.owes(log)) else { return Ok(rows.clone()) };
    let mut kept = Vec::with_capacity(rows.num_rows());
    origin.frames.retain(|frame| {
        let new = !owed.has_received(&sender.producer, frame.number);
        kept.extend(std::iter::repeat_n(new, frame.rows));
        new
    });
    filter_record_batch(rows, &BooleanArray::from(kept))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use polarway_storage::streams::{Manifest, Owed};

    use super::*;
    use crate::hot::samples::rows;

    fn mark() -> Sender {
        Sender { producer: Owed::producer(1).into(), number: 1 }
    }

    #[test]
    fn frames_that_were_sent_again_are_left_out() {
        let p: Arc<str> = "p".into();
        let frame = |number, rows| FrameRows { number, rows };
        let mut producers = Producers::sealed(&Manifest::default().taken_over("a", 1));
        producers.note(&Origin::sent(Some(&p), &[frame(2, 3), frame(9, 1)]));
        let frames = [frame(1, 2), frame(2, 3), frame(3, 0), frame(4, 4)];
        let mut origin = handed(Origin::sent(Some(&p), &frames), 9, mark());
        let left = without_received(&rows(0, 9), &mut origin, &producers, 1).unwrap();
        assert_eq!(left.num_rows(), 6);
        assert_eq!(left.slice(0, 2), rows(0, 2));
        assert_eq!(left.slice(2, 4), rows(5, 4));
        assert_eq!(origin.frames, [frame(1, 2), frame(3, 0), frame(4, 4)]);
        assert!(!has_received(&origin, &producers, 1));
        assert_eq!(origin.sender.map(|sender| sender.number), Some(4), "it is known all the same");
    }

    #[test]
    fn feeds_are_not_compared_and_records_without_frames_are_one() {
        let feed: Arc<str> = "polarway feed".into();
        let origin = handed(Origin::sent(Some(&feed), &[FrameRows { number: 7, rows: 9 }]), 9, mark());
        assert_eq!(origin, Origin { marks: vec![mark()], ..Origin::default() });
        let old =
            Origin { frames: vec![], ..Origin::sent(Some(&"p".into()), &[FrameRows { number: 7, rows: 2 }]) };
        assert_eq!(handed(old, 9, mark()).frames, [FrameRows { number: 7, rows: 9 }]);
    }
}
