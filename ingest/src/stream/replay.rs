//! From the records of a log to the stream that they make up.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use thiserror::Error;

use super::producers::Producers;
use super::record::{Record, Sender};
use super::state::State;
use crate::hot::Hot;

/// Why a log does not make up a stream.
#[derive(Debug, Error)]
pub enum ReplayError {
    #[error("rows {from} to {to} of the stream are neither sealed nor in the log")]
    Gap { from: u64, to: u64 },
    #[error("the log's rows do not fit the stream: {0}")]
    Rows(#[from] DataFusionError),
}

/// Takes the records in the order of the log; see [`super::state`] for generations.
#[derive(Debug)]
pub struct Replay {
    sealed: u64,
    hot: Hot,
    producers: Producers,
    /// Who sent what is in `hot`, by the place of the first row: a later generation may take it back.
    senders: Vec<(u64, Sender)>,
    /// Generation of the last record, and the place after its rows.
    last: Option<(u64, u64)>,
    /// Place of the first record, while none has joined the sealed rows.
    apart: Option<u64>,
}

impl Replay {
    /// Rows before `sealed` have left memory, and `producers` are as they were then.
    pub fn new(schema: SchemaRef, sealed: u64, producers: Producers) -> Self {
        Self { sealed, hot: Hot::new(schema, sealed), producers, senders: vec![], last: None, apart: None }
    }

    /// Gives whether the record belongs to the stream; it does not when its rows were never acknowledged and a record
    /// before it is missing, or a later generation began where it lies.
    ///
    /// # Errors
    /// [`ReplayError::Gap`] when rows that may have been acknowledged are missing.
    pub fn take(&mut self, record: Record) -> Result<bool, ReplayError> {
        let Record { generation, place, sender, rows } = record;
        if self.last.is_none() && place > self.sealed {
            // Taken back before what stood before it was sealed and cut off; or there is a gap.
            self.apart.get_or_insert(place);
            return Ok(false);
        }
        let (last, next) = self.last.unwrap_or((generation, place));
        if generation < last || (generation == last && place > next) {
            return Ok(false);
        }
        if place > next {
            return Err(ReplayError::Gap { from: next, to: place });
        }
        if place < next {
            self.hot.truncate(place.max(self.sealed));
            self.senders.retain(|(at, _)| *at < place);
        }
        let after = place + rows.num_rows() as u64;
        self.last = Some((generation, after));
        if let Some(sender) = sender {
            self.senders.push((place, sender));
        }
        if after > self.hot.end() {
            let skipped = (self.hot.end() - place) as usize;
            self.hot.append(rows.slice(skipped, rows.num_rows() - skipped))?;
        }
        Ok(true)
    }

    /// # Errors
    /// [`ReplayError::Gap`] when no record joins the sealed rows.
    pub fn finish(mut self) -> Result<State, ReplayError> {
        if let (None, Some(to)) = (self.last, self.apart) {
            return Err(ReplayError::Gap { from: self.sealed, to });
        }
        for (_, Sender { producer, number }) in &self.senders {
            self.producers.advance(&Arc::clone(producer), *number);
        }
        let generation = self.last.map_or(0, |(generation, _)| generation);
        Ok(State::new(self.hot, self.producers, generation))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::hot::samples::{rows, schema};

    fn record(generation: u64, place: u64, count: usize, number: u64) -> Record {
        let sender = (number > 0).then(|| Sender { producer: "p".into(), number });
        Record { generation, place, sender, rows: rows(place + 1000 * generation, count) }
    }

    fn replay(sealed: u64, records: &[Record]) -> Result<(State, Vec<bool>), ReplayError> {
        let mut replay = Replay::new(schema(), sealed, Producers::from_iter([("p", 1)]));
        let taken = records.iter().map(|record| replay.take(record.clone())).collect::<Result<_, _>>()?;
        Ok((replay.finish()?, taken))
    }

    fn ids(state: &State) -> Vec<i64> {
        let snapshot = state.snapshot(0, u64::MAX);
        let parts = snapshot.runs.iter().filter_map(|run| run.part(0, u64::MAX));
        parts.flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
    }

    #[test]
    fn rows_come_back_in_their_places() {
        let (state, _) = replay(0, &[record(0, 0, 3, 2), record(0, 3, 0, 3), record(0, 3, 2, 4)]).unwrap();
        assert_eq!(ids(&state), [0, 1, 2, 3, 4]);
        assert_eq!((state.last_durable("p"), state.progress().durable), (4, 5));
    }

    #[test]
    fn sealed_rows_do_not_come_back() {
        let log = [record(3, 2, 3, 2), record(3, 5, 3, 3), record(3, 8, 2, 4)];
        let (state, taken) = replay(6, &log).unwrap();
        assert_eq!(ids(&state), [3006, 3007, 3008, 3009]);
        assert_eq!((state.hot().start(), taken), (6, vec![true; 3]));
        assert_eq!(state.progress().generation, 3);
        let (state, _) = replay(10, &log).unwrap();
        assert_eq!((ids(&state), state.hot().end(), state.last_durable("p")), (vec![], 10, 4));
    }

    #[test]
    fn a_later_generation_takes_back_what_was_not_acknowledged() {
        // The second record failed, the third was written all the same, and a client sent them again.
        let log = [record(0, 0, 2, 2), record(0, 4, 2, 4), record(1, 2, 2, 3), record(1, 4, 1, 4)];
        let (state, taken) = replay(0, &log).unwrap();
        assert_eq!(taken, [true, false, true, true]);
        assert_eq!(ids(&state), [0, 1, 1002, 1003, 1004]);
        // The second record was of uncertain fate, and is there.
        let log = [record(0, 0, 2, 2), record(0, 2, 2, 9), record(1, 2, 1, 3)];
        let (state, _) = replay(0, &log).unwrap();
        assert_eq!(ids(&state), [0, 1, 1002]);
        assert_eq!(state.last_durable("p"), 3);
    }

    #[test]
    fn what_was_taken_back_may_outlive_what_stood_before_it() {
        let log = [record(0, 4, 2, 4), record(1, 2, 2, 3), record(1, 4, 1, 4)];
        let (state, taken) = replay(2, &log).unwrap();
        assert_eq!(taken, [false, true, true]);
        assert_eq!((ids(&state), state.last_durable("p")), (vec![1002, 1003, 1004], 4));
    }

    #[test]
    fn missing_rows_are_an_error() {
        assert!(matches!(replay(3, &[record(0, 4, 1, 0)]), Err(ReplayError::Gap { from: 3, to: 4 })));
        let log = [record(0, 0, 2, 0), record(1, 3, 1, 0)];
        assert!(matches!(replay(0, &log), Err(ReplayError::Gap { from: 2, to: 3 })));
    }
}
