//! Why no mapper can be made.

use thiserror::Error;

use crate::decode::{Reason, UnsupportedType};

/// A feed whose options do not fit its columns.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MapError {
    #[error(transparent)]
    Column(#[from] UnsupportedType),
    #[error("the constant does not fit: {0}")]
    Constant(Reason),
}
