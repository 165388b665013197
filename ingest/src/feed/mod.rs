//! From the frames of a connection to the rows of a stream.

mod dead;
mod group;
mod intake;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use polarway_common::{Error, ErrorKind};

use crate::decode::{DecodeOptions, Decoder};

pub use dead::{DeadLetters, dead_letter_schema};
pub use group::{Decoded, GroupDecoder};
pub use intake::{Intake, IntakeOptions};

/// Whether frames can carry rows of these columns.
///
/// # Errors
/// `Unsupported`, with the column.
pub fn accepts(schema: &SchemaRef) -> Result<(), Error> {
    Decoder::new(Arc::clone(schema), DecodeOptions::default())
        .map(drop)
        .map_err(|error| Error::new(ErrorKind::Unsupported, error.to_string()))
}
