//! What a feed does when: decisions without effects. The time and the chance are arguments.

mod backoff;
mod event;
mod open;
mod sequence;
mod state;
#[cfg(test)]
mod tests;

pub use backoff::{Backoff, Jitter, RandomJitter};
pub use event::{Command, Event, Hangup, Now};
pub use sequence::Sequences;
pub use state::{Session, SessionOptions};
