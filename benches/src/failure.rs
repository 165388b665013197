//! The harness's error: a sentence for the person who runs it.

use std::fmt;

/// Why a step of the harness did not work.
///
/// Deliberately not a [`std::error::Error`], so that `?` turns any such error into a `Failure`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(String);

pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Says what was being done when an error came up.
pub trait Context<T> {
    fn context<M: fmt::Display>(self, doing: impl FnOnce() -> M) -> Result<T>;
}

impl<T, E: Into<Failure>> Context<T> for std::result::Result<T, E> {
    fn context<M: fmt::Display>(self, doing: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| Failure(format!("{}: {}", doing(), error.into())))
    }
}

impl<T> Context<T> for Option<T> {
    fn context<M: fmt::Display>(self, doing: impl FnOnce() -> M) -> Result<T> {
        self.ok_or_else(|| Failure(doing().to_string()))
    }
}
