//! What the metadata store holds of writes that are under way.
//!
//! A record is made before the first byte is written, and a commit has the record's revision as its precondition: whoever
//! takes the write of a dead process over writes the record, and that process, should it come back, commits nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use polarway_common::{Error, ErrorKind};
use polarway_metastore::{Expect, Key, KeyPrefix, MetaStore, Precondition, Txn, TxnOutcome, Write};
use serde::{Deserialize, Serialize};

use super::access::Place;

/// A write that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteRecord {
    /// The process that carries it out, by its incarnation.
    pub owner: String,
    pub state: WriteState,
}

/// How far a write is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum WriteState {
    /// Tasks write files of the table `table`, each under its own name.
    WritingTable { table: String },
    /// Tasks write files that wait to be seen in `place`.
    WritingFiles { place: Place },
    /// It has taken place: what stands in the object `list` is to be seen, whoever does it.
    Publishing { place: Place, list: String },
    /// What is left of it is removed after `at`, in milliseconds since 1970: tasks of it may still be ending.
    Over { at: u64, left: Left },
}

/// What may be left of a write, or of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Left {
    /// Files of the write below a table that its manifest does not name.
    InTable { table: String },
    /// What waits in a place.
    InPlace { place: Place },
    /// Files of a table that its manifest does not name, and no write that is under way.
    Unnamed { table: String },
    /// A table that lasts as long as a handle.
    Leased { table: String, handle: String },
    /// A table that was dropped.
    Table { table: String },
}

/// A record as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenWrite {
    pub id: String,
    pub revision: u64,
    pub record: WriteRecord,
}

/// The records of writes.
#[derive(Debug, Clone)]
pub struct Writes {
    meta: Arc<dyn MetaStore>,
    owner: String,
    /// Revisions of our own records.
    ours: Arc<Mutex<HashMap<String, u64>>>,
}

impl Writes {
    /// Records of a process that is known by `owner`.
    pub fn new(meta: Arc<dyn MetaStore>, owner: &str) -> Self {
        Self { meta, owner: owner.to_owned(), ours: Arc::default() }
    }

    pub fn meta(&self) -> &Arc<dyn MetaStore> {
        &self.meta
    }

    pub fn is_ours(&self, id: &str) -> bool {
        self.ours.lock().contains_key(id)
    }

    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Notes that a write begins; gives its name.
    ///
    /// # Errors
    /// Those of the metadata store.
    pub async fn begin(&self, state: WriteState) -> Result<String, Error> {
        let id = uuid::Uuid::now_v7().simple().to_string();
        let txn = Txn::new().expect(key(&id), Expect::Absent).put(key(&id), self.value(state)?);
        // Before it is there, so that nobody of this process takes it for another's.
        self.ours.lock().insert(id.clone(), 0);
        match self.meta.txn(txn).await? {
            TxnOutcome::Committed { revision } => {
                self.ours.lock().insert(id.clone(), revision);
                Ok(id)
            }
            TxnOutcome::Conflict { .. } => Err(Error::internal("two writes have one name")),
        }
    }

    /// What a commit of the write needs, and the change of its record that goes with it.
    ///
    /// # Errors
    /// `StoreUnavailable` if it is this process's no more.
    pub fn change(&self, id: &str, state: WriteState) -> Result<(Precondition, Write), Error> {
        let revision = self.ours.lock().get(id).copied().ok_or_else(|| taken_over(id))?;
        let key = key(id);
        let expected = Precondition { key: key.clone(), expect: Expect::Revision(revision) };
        Ok((expected, Write::Put { key, value: self.value(state)? }))
    }

    /// Notes at which revision [`Writes::change`] took place.
    pub fn changed(&self, id: &str, revision: u64) {
        self.ours.lock().insert(id.to_owned(), revision);
    }

    /// Leaves a write to whoever finds its record.
    pub fn abandon(&self, id: &str) {
        self.ours.lock().remove(id);
    }

    /// The note that files of a table are to be removed `after` now that are not its own any more.
    ///
    /// # Errors
    /// `Internal` when it cannot be written.
    pub fn note_unnamed(&self, table: &str, after: Duration) -> Result<Write, Error> {
        later(Left::Unnamed { table: table.to_owned() }, after)
    }

    /// Notes that a write is over, and what may be left of it from `after` now on. What cannot be noted is found when this
    /// process is gone.
    pub async fn over(&self, id: &str, left: Left, after: Duration) {
        let noted = async {
            let state = WriteState::Over { at: now_millis() + after.as_millis() as u64, left };
            let (expected, write) = self.change(id, state)?;
            self.meta
                .txn(Txn { preconditions: vec![expected], writes: vec![write] })
                .await
                .map_err(Error::from)
        };
        if let Err(error) = noted.await {
            tracing::warn!(write = id, %error, "the end of a write was not noted");
        }
        self.ours.lock().remove(id);
    }

    /// The record of a write, if it is not over and done.
    ///
    /// # Errors
    /// Those of the metadata store.
    pub async fn get(&self, id: &str) -> Result<Option<OpenWrite>, Error> {
        let Some(found) = self.meta.get(&key(id)).await? else { return Ok(None) };
        Ok(Some(OpenWrite { id: id.to_owned(), revision: found.revision, record: read(id, &found.value)? }))
    }

    /// All records.
    ///
    /// # Errors
    /// Those of the metadata store.
    pub async fn all(&self) -> Result<Vec<OpenWrite>, Error> {
        let listed = self.meta.list(&KeyPrefix::Writes.encode()).await?;
        let mut all = vec![];
        for (text, found) in listed.entries {
            let Ok(Key::Write { id }) = Key::decode(&text) else { continue };
            match read(&id, &found.value) {
                Ok(record) => all.push(OpenWrite { id, revision: found.revision, record }),
                Err(error) => tracing::warn!(%error, "left alone"),
            }
        }
        Ok(all)
    }

    /// Takes a write over; false if somebody changed its record meanwhile.
    ///
    /// # Errors
    /// Those of the metadata store.
    pub async fn take(&self, open: &OpenWrite, state: WriteState) -> Result<Option<u64>, Error> {
        let txn = Txn::new()
            .expect(key(&open.id), Expect::Revision(open.revision))
            .put(key(&open.id), self.value(state)?);
        Ok(self.meta.txn(txn).await?.committed())
    }

    /// Notes that a table's handle is gone: the table is not there any more, and its files are removed `after` now.
    ///
    /// # Errors
    /// Those of the metadata store.
    pub async fn end_table(&self, open: &OpenWrite, table: &str, after: Duration) -> Result<(), Error> {
        let at = now_millis() + after.as_millis() as u64;
        let state = WriteState::Over { at, left: Left::Table { table: table.to_owned() } };
        let writes =
            vec![Write::Put { key: key(&open.id), value: self.value(state)? }, crate::tables::end(table)];
        let unchanged = Precondition { key: key(&open.id), expect: Expect::Revision(open.revision) };
        self.meta.txn(Txn { preconditions: vec![unchanged], writes }).await?;
        Ok(())
    }

    /// Forgets a write, if its record is still of this revision.
    ///
    /// # Errors
    /// Those of the metadata store.
    pub async fn forget(&self, id: &str, revision: u64) -> Result<(), Error> {
        let txn = Txn::new().expect(key(id), Expect::Revision(revision)).delete(key(id));
        self.meta.txn(txn).await?;
        self.ours.lock().remove(id);
        Ok(())
    }

    fn value(&self, state: WriteState) -> Result<Bytes, Error> {
        encode(&WriteRecord { owner: self.owner.clone(), state })
    }
}

/// The note that goes with a table's end: its files are removed `after` now.
pub(crate) fn dropped(table: &str, after: Duration) -> Result<Write, Error> {
    later(Left::Table { table: table.to_owned() }, after)
}

fn later(left: Left, after: Duration) -> Result<Write, Error> {
    let state = WriteState::Over { at: now_millis() + after.as_millis() as u64, left };
    let id = uuid::Uuid::now_v7().simple().to_string();
    Ok(Write::Put { key: key(&id), value: encode(&WriteRecord { owner: String::new(), state })? })
}

pub fn now_millis() -> u64 {
    polarway_common::clock::unix_millis(std::time::SystemTime::now())
}

fn encode(record: &WriteRecord) -> Result<Bytes, Error> {
    let value = serde_json::to_vec(record);
    value.map(Bytes::from).map_err(|error| Error::internal(format!("a write cannot be noted: {error}")))
}

fn read(id: &str, value: &[u8]) -> Result<WriteRecord, Error> {
    serde_json::from_slice(value)
        .map_err(|error| Error::internal(format!("the record of the write `{id}` cannot be read: {error}")))
}

fn key(id: &str) -> String {
    Key::Write { id: id.to_owned() }.encode()
}

/// What a process is told that had the write `id` before.
pub fn taken_over(id: &str) -> Error {
    Error::new(ErrorKind::StoreUnavailable, format!("the write {id} was taken over by another process"))
        .with_hint("run the statement again")
}

#[cfg(test)]
mod tests {
    use polarway_metastore::EmbeddedMetaStore;

    use super::*;

    #[tokio::test]
    async fn a_write_that_was_taken_over_commits_nothing() {
        let meta: Arc<dyn MetaStore> = Arc::new(EmbeddedMetaStore::in_memory().unwrap());
        let (one, other) = (Writes::new(Arc::clone(&meta), "one"), Writes::new(Arc::clone(&meta), "other"));
        let id = one.begin(WriteState::WritingTable { table: "t".into() }).await.unwrap();
        assert!(one.is_ours(&id) && !other.is_ours(&id));
        let open = other.all().await.unwrap().pop().unwrap();
        assert_eq!((open.id.as_str(), open.record.owner.as_str()), (id.as_str(), "one"));
        let over = WriteState::Over { at: 0, left: Left::InTable { table: "t".into() } };
        let taken = other.take(&open, over.clone()).await.unwrap().unwrap();
        assert_eq!(other.take(&open, over.clone()).await.unwrap(), None);
        let (expected, write) = one.change(&id, over).unwrap();
        let late = meta.txn(Txn { preconditions: vec![expected], writes: vec![write] }).await.unwrap();
        assert!(matches!(late, TxnOutcome::Conflict { .. }));
        other.forget(&id, taken).await.unwrap();
        assert_eq!(other.get(&id).await.unwrap(), None);
    }
}
