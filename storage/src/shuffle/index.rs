//! Which outputs are stored: one key of the metadata store for each.
//!
//! An output is stored when its entry is there, and not before. Every commit has the query's own key as its
//! precondition, so that nothing is stored for a query that is over: whoever ends a query deletes that key first, and
//! then finds all entries that will ever be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use polarway_metastore::{Expect, Key, KeyPrefix, MetaStore, MetaStoreError, Txn, TxnOutcome, Versioned};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::error::ShuffleError;
use super::output::OutputId;

/// The most keys that one transaction writes. etcd takes 128 operations.
const KEYS: usize = 100;

/// How often a transaction is tried whose outcome is not known, or that the store did not take.
const ATTEMPTS: u32 = 4;

const PAUSE: Duration = Duration::from_millis(250);

/// Where the record of a stored output is, and what can be told without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The name of the object that has the record, see [`crate::shuffle::ObjectName`].
    pub object: String,
    /// Where in the object the record is, in bytes.
    pub offset: u64,
    /// The length of the record, in bytes.
    pub length: u64,
    /// CRC-32C of the record.
    pub crc: u32,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex")]
    pub memo: Option<[u8; 16]>,
    /// The length of the output's files, in bytes.
    pub bytes: u64,
}

/// An entry, and the revision that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    pub entry: Entry,
    pub revision: u64,
}

/// How a commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    Committed,
    /// The query is over, or one of several is; those of the others are committed. What was committed of it before goes
    /// with it.
    RunOver,
}

/// Commits outputs, of one query or several. Of two entries of one output the last counts.
///
/// # Errors
/// [`ShuffleError::Meta`]; then some entries may have been committed.
pub async fn commit(meta: &dyn MetaStore, entries: &[(OutputId, Entry)]) -> Result<Commit, ShuffleError> {
    // In the order of ids, so that those of one query follow each other.
    let entries: BTreeMap<&OutputId, &Entry> = entries.iter().map(|(id, entry)| (id, entry)).collect();
    let entries: Vec<(&OutputId, &Entry)> = entries.into_iter().collect();
    let mut outcome = Commit::Committed;
    for of_run in entries.chunk_by(|(a, _), (b, _)| a.run == b.run) {
        for chunk in of_run.chunks(KEYS) {
            let Some((first, _)) = chunk.first() else { continue };
            let job = Key::Job { run: first.run.clone() }.encode();
            let mut txn = Txn::new().expect(job, Expect::Exists);
            for (id, entry) in chunk {
                txn = txn.put(id.key(), write(id, entry)?);
            }
            if let TxnOutcome::Conflict { .. } = persist(meta, &txn).await? {
                outcome = Commit::RunOver;
                break;
            }
        }
    }
    Ok(outcome)
}

/// The entry of an output, if it is stored.
///
/// # Errors
/// [`ShuffleError::Meta`], [`ShuffleError::Entry`].
pub async fn lookup(meta: &dyn MetaStore, id: &OutputId) -> Result<Option<Located>, ShuffleError> {
    let key = id.key();
    let found = meta.get(&key).await?;
    found.map(|found| read(&key, &found)).transpose()
}

/// The outputs of one attempt of a query that are stored. Entries that cannot be read count as absent.
///
/// # Errors
/// [`ShuffleError::Meta`].
pub async fn of_attempt(
    meta: &dyn MetaStore,
    run: &str,
    attempt: u32,
) -> Result<Vec<(OutputId, Located)>, ShuffleError> {
    list(meta, KeyPrefix::ShuffleOfAttempt { run: run.to_owned(), attempt }).await
}

/// The outputs of all attempts of a query that are stored. Entries that cannot be read count as absent.
///
/// # Errors
/// [`ShuffleError::Meta`].
pub async fn of_run(meta: &dyn MetaStore, run: &str) -> Result<Vec<(OutputId, Located)>, ShuffleError> {
    list(meta, KeyPrefix::ShuffleOf { run: run.to_owned() }).await
}

async fn list(meta: &dyn MetaStore, prefix: KeyPrefix) -> Result<Vec<(OutputId, Located)>, ShuffleError> {
    let listed = meta.list(&prefix.encode()).await?;
    let located = listed.entries.iter().filter_map(|(key, found)| {
        let id = OutputId::parse(key)?;
        match read(key, found) {
            Ok(located) => Some((id, located)),
            Err(error) => {
                tracing::warn!(%error, "a stored shuffle output is passed over");
                None
            }
        }
    });
    Ok(located.collect())
}

/// Deletes the entry of an output that proved missing or damaged, if it still is the one of that revision. Says whether it was.
///
/// # Errors
/// [`ShuffleError::Meta`].
pub async fn discredit(meta: &dyn MetaStore, id: &OutputId, revision: u64) -> Result<bool, ShuffleError> {
    let key = id.key();
    let txn = Txn::new().expect(&key, Expect::Revision(revision)).delete(&key);
    Ok(persist(meta, &txn).await?.committed().is_some())
}

/// What was stored of a query, after its entries have gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    pub entries: usize,
    /// The names of all objects with bytes of these outputs; none where the entries do not tell them all, since an output
    /// of several objects names the last.
    pub objects: Option<BTreeSet<String>>,
}

/// Deletes all entries of a query that is over.
///
/// # Errors
/// [`ShuffleError::Meta`]; then some may be left.
pub async fn forget_run(meta: &dyn MetaStore, run: &str) -> Result<Forgotten, ShuffleError> {
    let listed = meta.list(&KeyPrefix::ShuffleOf { run: run.to_owned() }.encode()).await?;
    let object = |(key, found): &(String, Versioned)| {
        let Entry { object, offset, bytes, .. } = read(key, found).ok()?.entry;
        // The record follows all bytes of its object: with fewer before it than the output has, there is another one.
        (offset >= bytes).then_some(object)
    };
    let objects = listed.entries.iter().map(object).collect();
    let entries = listed.entries.len();
    delete(meta, listed.entries.into_iter().map(|(key, _)| key).collect()).await?;
    Ok(Forgotten { entries, objects })
}

async fn delete(meta: &dyn MetaStore, mut keys: Vec<String>) -> Result<(), ShuffleError> {
    keys.sort_unstable();
    keys.dedup();
    for chunk in keys.chunks(KEYS) {
        persist(meta, &chunk.iter().fold(Txn::new(), Txn::delete)).await?;
    }
    Ok(())
}

/// Performs a transaction that may take place twice, until its outcome is known.
async fn persist(meta: &dyn MetaStore, txn: &Txn) -> Result<TxnOutcome, ShuffleError> {
    let mut attempt = 1;
    loop {
        let error = match meta.txn(txn.clone()).await {
            Ok(outcome) => return Ok(outcome),
            Err(error) => error,
        };
        let may_help = error.is_retryable() || matches!(error, MetaStoreError::OutcomeUnknown { .. });
        if !may_help || attempt == ATTEMPTS {
            return Err(error.into());
        }
        tracing::debug!(%error, attempt, "a transaction of shuffle outputs is tried again");
        sleep(PAUSE * attempt).await;
        attempt += 1;
    }
}

fn write(id: &OutputId, entry: &Entry) -> Result<Vec<u8>, ShuffleError> {
    serde_json::to_vec(entry)
        .map_err(|error| ShuffleError::Entry { key: id.key(), detail: error.to_string() })
}

fn read(key: &str, found: &Versioned) -> Result<Located, ShuffleError> {
    match serde_json::from_slice(&found.value) {
        Ok(entry) => Ok(Located { entry, revision: found.revision }),
        Err(error) => Err(ShuffleError::Entry { key: key.to_owned(), detail: error.to_string() }),
    }
}

/// A memo as 32 digits.
mod hex {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(memo: &Option<[u8; 16]>, to: S) -> Result<S::Ok, S::Error> {
        match memo {
            Some(memo) => to.serialize_str(&format!("{:032x}", u128::from_be_bytes(*memo))),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<[u8; 16]>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match u128::from_str_radix(&text, 16) {
            Ok(number) if digits => Ok(Some(number.to_be_bytes())),
            _ => Err(D::Error::custom(format!("`{text}` is no memo"))),
        }
    }
}
