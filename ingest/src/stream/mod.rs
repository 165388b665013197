//! A stream as its owner holds it.

mod producers;
mod record;
mod replay;
mod state;

pub use producers::Producers;
pub use record::{Draft, Record, RecordError, Sender};
pub use replay::{Replay, ReplayError};
pub use state::{Fate, FrameRows, Progress, State, Taken};
