//! A stream as its owner holds it.

mod arrivals;
mod cuts;
mod handed;
mod live;
mod options;
mod producers;
mod recent;
mod record;
mod replay;
mod retention;
mod state;
#[cfg(test)]
mod tests;

pub use arrivals::Recent as RecentRows;
pub use live::{Appended, Following, LOG_QUEUE, LOG_SEGMENT, Live, LiveError, View};
pub use options::{SealPolicy, StreamOptions};
pub use producers::Producers;
pub use recent::KeyOptions;
pub use record::{Draft, MAX_PRODUCER, Origin, Record, RecordError, Sender};
pub use replay::{Course, Replay, ReplayError, Step};
pub use retention::Retention;
pub use state::{Fate, FrameRows, Progress, State, Taken};
