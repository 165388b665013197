//! From the records of a log to the stream that they make up.

use arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use thiserror::Error;

use super::producers::Producers;
use super::record::{Origin, Record};
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

/// Which records of a log belong to its stream; see [`super::state`] for generations.
#[derive(Debug)]
pub struct Course {
    sealed: u64,
    /// Generation of the last record, and the place after its rows.
    last: Option<(u64, u64)>,
    /// Place of the first record, while none has joined the sealed rows.
    apart: Option<u64>,
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It does not belong to the stream: its rows were never acknowledged.
    Skip,
    /// It does, after rows from a place on were taken back.
    Add { back_to: Option<u64> },
}

impl Course {
    /// Of a stream whose rows before `sealed` are in files.
    pub fn new(sealed: u64) -> Self {
        Self { sealed, last: None, apart: None }
    }

    /// What becomes of the next record. It does not belong to the stream when a record before it is missing, or a later
    /// generation began where it lies.
    ///
    /// # Errors
    /// [`ReplayError::Gap`] when rows that may have been acknowledged are missing.
    pub fn step(&mut self, generation: u64, place: u64, rows: usize) -> Result<Step, ReplayError> {
        if self.last.is_none() && place > self.sealed {
            // Taken back before what stood before it was sealed and cut off; or there is a gap.
            self.apart.get_or_insert(place);
            return Ok(Step::Skip);
        }
        let (last, next) = self.last.unwrap_or((generation, place));
        if generation < last || (generation == last && place > next) {
            return Ok(Step::Skip);
        }
        if place > next {
            return Err(ReplayError::Gap { from: next, to: place });
        }
        self.last = Some((generation, place + rows as u64));
        Ok(Step::Add { back_to: (place < next).then_some(place) })
    }

    /// Generation of the last record.
    ///
    /// # Errors
    /// [`ReplayError::Gap`] when no record joins the sealed rows.
    pub fn finish(&self) -> Result<u64, ReplayError> {
        match (self.last, self.apart) {
            (None, Some(to)) => Err(ReplayError::Gap { from: self.sealed, to }),
            (last, _) => Ok(last.map_or(0, |(generation, _)| generation)),
        }
    }
}

/// Takes the records in the order of the log.
#[derive(Debug)]
pub struct Replay {
    sealed: u64,
    course: Course,
    hot: Hot,
    producers: Producers,
    /// Where what is in `hot` is from, by the place of the first row: a later generation may take it back.
    origins: Vec<(u64, Origin)>,
}

impl Replay {
    /// Rows before `sealed` have left memory, and `producers` are as they were then.
    pub fn new(schema: SchemaRef, sealed: u64, producers: Producers) -> Self {
        let (course, hot) = (Course::new(sealed), Hot::new(schema, sealed));
        Self { sealed, course, hot, producers, origins: vec![] }
    }

    /// Gives whether the record belongs to the stream.
    ///
    /// # Errors
    /// Those of [`Course::step`]; [`ReplayError::Rows`].
    pub fn take(&mut self, record: Record) -> Result<bool, ReplayError> {
        let Record { generation, place, mut origin, rows } = record;
        let Step::Add { back_to } = self.course.step(generation, place, rows.num_rows())? else {
            return Ok(false);
        };
        if let Some(place) = back_to {
            self.hot.truncate(place.max(self.sealed));
            self.origins.retain(|(at, _)| *at < place);
        }
        // Frames are compared only with those of logs that are not handed over yet.
        if self.producers.owed().is_empty() {
            origin.frames = vec![];
        }
        self.origins.push((place, origin));
        let after = place + rows.num_rows() as u64;
        if after > self.hot.end() {
            let skipped = (self.hot.end() - place) as usize;
            self.hot.append(rows.slice(skipped, rows.num_rows() - skipped))?;
        }
        Ok(true)
    }

    /// # Errors
    /// Those of [`Course::finish`].
    pub fn finish(mut self) -> Result<State, ReplayError> {
        let generation = self.course.finish()?;
        for (_, origin) in &self.origins {
            self.producers.note(origin);
        }
        Ok(State::new(self.hot, self.producers, generation))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::hot::samples::{rows, schema};
    use crate::stream::Sender;

    fn record(generation: u64, place: u64, count: usize, number: u64) -> Record {
        let sender = (number > 0).then(|| Sender { producer: "p".into(), number });
        Record {
            generation,
            place,
            origin: Origin { sender, ..Origin::default() },
            rows: rows(place + 1000 * generation, count),
        }
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
