//! From the frames of a connection to the rows of a stream.

mod dead;
mod group;
mod intake;
#[cfg(test)]
mod tests;

pub use dead::{DeadLetters, dead_letter_schema};
pub use group::{Decoded, GroupDecoder};
pub use intake::{Intake, IntakeOptions};
