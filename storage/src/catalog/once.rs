//! Statements that change the catalog once, however often their client sends them.

use std::time::Duration;

use bytes::Bytes;
use polarway_common::{Error, ErrorKind};
use polarway_metastore::{Expect, Key, MetaStore, MetaStoreError, Precondition, Txn, TxnOutcome, Write};

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
    /// What is told of it when it comes again.
    outcome: String,
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
        Ok(Self { name: name.to_owned(), digest, step: 0, outcome: String::new() })
    }

    /// The same as a statement of the caller `caller`: whoever else chooses its name means another statement.
    #[must_use]
    pub fn of_caller(self, caller: &str) -> Self {
        match caller {
            "" => self,
            // No name of a caller has a blank, and no name that a client gives.
            caller => Self { name: format!("{caller} {}", self.name), ..self },
        }
    }

    /// One of the changes of a statement that makes several, counted in the order in which it makes them.
    #[must_use]
    pub fn step(&self, step: u32) -> Self {
        Self { step, ..self.clone() }
    }

    /// Where it is noted that the change was made.
    pub(crate) fn key(&self) -> String {
        Key::Statement { name: self.name.clone(), step: self.step }.encode()
    }

    /// The same with what is told when it comes again.
    #[must_use]
    pub fn with_outcome(&self, outcome: String) -> Self {
        Self { outcome, ..self.clone() }
    }

    fn note(&self) -> Bytes {
        [&self.digest[..], self.outcome.as_bytes()].concat().into()
    }

    /// What was told of the statement, if `note` is this statement's.
    ///
    /// # Errors
    /// `InvalidSetting` if it is another's of the same name.
    fn expect(&self, note: &[u8]) -> Result<String, Error> {
        if let Some(outcome) = note.strip_prefix(&self.digest) {
            return Ok(String::from_utf8_lossy(outcome).into_owned());
        }
        Err(Error::new(ErrorKind::InvalidSetting, "another statement was sent with the same idempotency key")
            .with_hint("give each statement a key of its own"))
    }

    /// Takes the statement's name away, so that its change is not made any more; what was told of it if it was made before.
    ///
    /// # Errors
    /// As [`Once::outcome`].
    pub async fn withdraw(&self, meta: &dyn MetaStore) -> Result<Option<String>, Error> {
        let lease = meta.grant(REMEMBERED_FOR).await?.id;
        let note = self.with_outcome(String::new()).note();
        let txn = Txn::new().expect(self.key(), Expect::Absent).put_leased(self.key(), note, lease);
        match meta.txn(txn).await?.committed() {
            Some(_) => Ok(None),
            None => Ok(self.outcome(meta).await?.filter(|told| !told.is_empty())),
        }
    }

    /// What was told of the statement's change, if it was made before.
    ///
    /// # Errors
    /// `InvalidSetting` if another statement had the same name; those of the metadata store.
    pub async fn outcome(&self, meta: &dyn MetaStore) -> Result<Option<String>, Error> {
        match meta.get(&self.key()).await? {
            Some(note) => self.expect(&note.value).map(Some),
            None => Ok(None),
        }
    }
}

/// What became of a change that is made once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnceOutcome {
    Made {
        revision: u64,
    },
    /// It was made before, with what was told of it then.
    MadeBefore(String),
    /// It was not made: this key was not as expected.
    Conflict {
        key: String,
    },
    /// No answer came: it may have been made, or may yet be.
    Unknown(Error),
}

/// Makes a change, if the statement that makes it has not made it before.
///
/// # Errors
/// As [`Once::outcome`].
pub async fn commit_once(
    meta: &dyn MetaStore,
    mut preconditions: Vec<Precondition>,
    mut writes: Vec<Write>,
    once: Option<&Once>,
) -> Result<OnceOutcome, Error> {
    if let Some(once) = once {
        let lease = meta.grant(REMEMBERED_FOR).await?.id;
        // Before all else: what was made before may be in the way of what comes after it.
        preconditions.insert(0, Precondition { key: once.key(), expect: Expect::Absent });
        writes.push(Write::PutLeased { key: once.key(), value: once.note(), lease });
    }
    let outcome = match meta.txn(Txn { preconditions, writes }).await {
        Err(error @ MetaStoreError::OutcomeUnknown { .. }) => return Ok(OnceOutcome::Unknown(error.into())),
        outcome => outcome?,
    };
    match (outcome, once) {
        (TxnOutcome::Committed { revision }, _) => Ok(OnceOutcome::Made { revision }),
        (TxnOutcome::Conflict { key }, None) => Ok(OnceOutcome::Conflict { key }),
        (TxnOutcome::Conflict { key }, Some(once)) => Ok(match once.outcome(meta).await? {
            Some(outcome) => OnceOutcome::MadeBefore(outcome),
            None => OnceOutcome::Conflict { key },
        }),
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
        assert_eq!(one.expect(&one.note()).unwrap(), "");
        assert_eq!(one.expect(&one.with_outcome("7 rows".into()).note()).unwrap(), "7 rows");
        assert_eq!(other.expect(&one.note()).unwrap_err().kind, ErrorKind::InvalidSetting);
        assert_ne!(one.key(), one.step(1).key());
    }
}
