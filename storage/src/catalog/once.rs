//! Statements that change the catalog once, however often their client sends them.

use std::time::Duration;

use bytes::Bytes;
use polarway_common::{Error, ErrorKind};
use polarway_metastore::Key;

/// How long it is remembered that a statement was carried out.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(15 * 60);

/// Longest name that a client may give a statement, in bytes.
const LONGEST: usize = 128;

/// A statement by the name that its client gave it; the same name comes again when the client does not know whether the
/// statement was carried out. The change and the note of it are one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    name: String,
    /// Tells statements of one name apart.
    digest: [u8; 16],
    step: u32,
}

impl Once {
    /// The statement `sql` by its name: up to 128 visible characters of ASCII.
    ///
    /// # Errors
    /// `InvalidSetting` if the name is none.
    pub fn new(name: &str, sql: &str) -> Result<Self, Error> {
        if name.is_empty() || name.len() > LONGEST || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::new(
                ErrorKind::InvalidSetting,
                "the idempotency key of a statement is not valid",
            )
            .with_hint(format!("a key has 1 to {LONGEST} visible characters of ASCII")));
        }
        let mut digest = [0; 16];
        digest.copy_from_slice(&blake3::hash(sql.as_bytes()).as_bytes()[..16]);
        Ok(Self { name: name.to_owned(), digest, step: 0 })
    }

    /// One of the changes of a statement that makes several, counted in the order in which it makes them.
    #[must_use]
    pub fn step(&self, step: u32) -> Self {
        Self { step, ..self.clone() }
    }

    /// Where it is noted that the change was made.
    pub(super) fn key(&self) -> String {
        Key::Statement { name: self.name.clone(), step: self.step }.encode()
    }

    pub(super) fn note(&self) -> Bytes {
        Bytes::copy_from_slice(&self.digest)
    }

    /// Whether `note` is this statement's.
    ///
    /// # Errors
    /// `InvalidSetting` if it is another's of the same name.
    pub(super) fn expect(&self, note: &[u8]) -> Result<(), Error> {
        if note == self.digest {
            return Ok(());
        }
        Err(Error::new(ErrorKind::InvalidSetting, "another statement was sent with the same idempotency key")
            .with_hint("give each statement a key of its own"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_anything_are_refused() {
        for name in ["", "a b", "ä", "a\n", &"x".repeat(129)] {
            assert_eq!(Once::new(name, "select 1").unwrap_err().kind, ErrorKind::InvalidSetting, "{name:?}");
        }
        assert!(Once::new(&"x".repeat(128), "select 1").is_ok());
    }

    #[test]
    fn a_name_stands_for_one_statement() {
        let (one, other) =
            (Once::new("a/b", "create schema s").unwrap(), Once::new("a/b", "drop schema s").unwrap());
        assert!(one.expect(&one.note()).is_ok());
        assert_eq!(other.expect(&one.note()).unwrap_err().kind, ErrorKind::InvalidSetting);
        assert_ne!(one.key(), one.step(1).key());
    }
}
