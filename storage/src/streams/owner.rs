//! Who may change a stream's manifest, and how it is changed.
//!
//! A claim writes the stream's owner key with the next epoch. A commit of a manifest has that key's revision as its
//! precondition, so that whoever was owner before cannot commit any more, whatever it believes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use polarway_common::{Error, ErrorKind};
use polarway_metastore::{Expect, Key, KeyPrefix, MetaStore, MetaStoreError, Txn, TxnOutcome};
use serde::{Deserialize, Serialize};
use thiserror::Error as ThisError;
use uuid::Uuid;

use super::manifest::Manifest;
use super::store::SealedStore;

/// Why a stream cannot be claimed, read or sealed.
#[derive(Debug, ThisError)]
pub enum StreamError {
    #[error("the stream has another owner: {owner}")]
    Fenced { owner: String },
    #[error("the manifest of the stream was changed by somebody else")]
    Changed,
    #[error("the metadata of the stream cannot be read: {0}")]
    Damaged(String),
    #[error(transparent)]
    Meta(#[from] MetaStoreError),
    #[error("the store of sealed rows failed: {0}")]
    Store(#[from] object_store::Error),
}

impl From<StreamError> for Error {
    fn from(error: StreamError) -> Self {
        let text = error.to_string();
        match error {
            StreamError::Fenced { .. } | StreamError::Changed | StreamError::Store(_) => {
                Error::new(ErrorKind::StoreUnavailable, text)
            }
            StreamError::Damaged(_) => Error::new(ErrorKind::CorruptFile, text),
            StreamError::Meta(error) => error.into(),
        }
    }
}

/// Who takes the rows of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Grows with each claim.
    pub epoch: u64,
    /// The process's name, which it keeps over restarts.
    #[serde(default)]
    pub node: String,
    /// Where it answered when it claimed the stream, `host:port`.
    pub address: String,
}

impl Owner {
    /// Whoever has the stream now, if anybody.
    ///
    /// # Errors
    /// [`StreamError::Meta`], [`StreamError::Damaged`].
    pub async fn of(meta: &dyn MetaStore, id: &str) -> Result<Option<Self>, StreamError> {
        let found = meta.get(&Key::StreamOwner { id: id.to_owned() }.encode()).await?;
        found.map(|found| read(&found.value)).transpose()
    }

    /// Who has which streams: owners by the streams' identities.
    ///
    /// # Errors
    /// [`StreamError::Meta`], [`StreamError::Damaged`].
    pub async fn all(meta: &dyn MetaStore) -> Result<BTreeMap<String, Self>, StreamError> {
        let listed = meta.list(&KeyPrefix::StreamOwners.encode()).await?;
        let mut owners = BTreeMap::new();
        for (key, found) in listed.entries {
            if let Ok(Key::StreamOwner { id }) = Key::decode(&key) {
                owners.insert(id, read(&found.value)?);
            }
        }
        Ok(owners)
    }
}

/// What the metadata store has of a manifest; the rest is an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pointer {
    version: u64,
    path: String,
}

/// A manifest and the revision that its pointer was written at; none for the empty manifest of a new stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub manifest: Manifest,
    revision: Option<u64>,
    path: Option<String>,
}

/// The right to change one stream's manifest, as long as nobody claims it later.
#[derive(Debug, Clone)]
pub struct Ownership {
    meta: Arc<dyn MetaStore>,
    store: SealedStore,
    id: String,
    epoch: u64,
    revision: u64,
}

impl Ownership {
    /// Claims the stream for the process `node` at `address`, whoever had it.
    ///
    /// # Errors
    /// [`StreamError::Meta`], [`StreamError::Damaged`].
    pub async fn claim(
        meta: Arc<dyn MetaStore>,
        store: SealedStore,
        id: &str,
        node: &str,
        address: &str,
    ) -> Result<Self, StreamError> {
        let key = Key::StreamOwner { id: id.to_owned() }.encode();
        loop {
            let found = meta.get(&key).await?;
            let (expect, epoch) = match &found {
                None => (Expect::Absent, 1),
                Some(found) => {
                    let owner: Owner = read(&found.value)?;
                    (Expect::Revision(found.revision), owner.epoch + 1)
                }
            };
            let value = write(&Owner { epoch, node: node.to_owned(), address: address.to_owned() })?;
            match meta.txn(Txn::new().expect(&key, expect).put(&key, value)).await? {
                TxnOutcome::Committed { revision } => {
                    return Ok(Self { meta, store, id: id.to_owned(), epoch, revision });
                }
                TxnOutcome::Conflict { .. } => {}
            }
        }
    }

    /// Grows with each claim of the stream.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub fn store(&self) -> &SealedStore {
        &self.store
    }

    fn manifest_key(&self) -> String {
        Key::StreamManifest { id: self.id.clone() }.encode()
    }

    /// The manifest as it is now.
    pub async fn load(&self) -> Result<Committed, StreamError> {
        let Some(found) = self.meta.get(&self.manifest_key()).await? else {
            return Ok(Committed { manifest: Manifest::default(), revision: None, path: None });
        };
        let pointer: Pointer = read(&found.value)?;
        let manifest: Manifest = read(&self.store.read(&pointer.path).await?)?;
        if manifest.version != pointer.version {
            return Err(StreamError::Damaged(format!(
                "`{}` holds version {} and not {}",
                pointer.path, manifest.version, pointer.version
            )));
        }
        Ok(Committed { manifest, revision: Some(found.revision), path: Some(pointer.path) })
    }

    /// Puts `next` in the place of `current`. The object of the manifest before is removed.
    ///
    /// # Errors
    /// [`StreamError::Fenced`] when the stream has been claimed since: nothing is changed, and never will be through this
    /// claim. After an error of a store it is not known whether the commit took place: load again.
    pub async fn commit(&self, current: &Committed, next: Manifest) -> Result<Committed, StreamError> {
        // A name of its own: a commit that failed half way may have left an object of this version.
        let path = format!("manifest/{:020}-{}.json", next.version, Uuid::now_v7().simple());
        self.store.create(&path, write(&next)?).await?;
        let (owner, key) = (Key::StreamOwner { id: self.id.clone() }.encode(), self.manifest_key());
        let pointer = write(&Pointer { version: next.version, path: path.clone() })?;
        let txn = Txn::new()
            .expect(&owner, Expect::Revision(self.revision))
            .expect(&key, current.revision.map_or(Expect::Absent, Expect::Revision))
            .put(&key, pointer);
        match self.meta.txn(txn).await? {
            TxnOutcome::Committed { revision } => {
                if let Some(old) = &current.path {
                    self.forget(old).await;
                }
                Ok(Committed { manifest: next, revision: Some(revision), path: Some(path) })
            }
            TxnOutcome::Conflict { key } => {
                self.forget(&path).await;
                if key == owner { Err(self.fenced().await?) } else { Err(StreamError::Changed) }
            }
        }
    }

    /// Removes the stream's objects and its keys: nobody owns it any more, and there is nothing to own.
    pub async fn remove(&self) -> Result<(), StreamError> {
        let owner = Key::StreamOwner { id: self.id.clone() }.encode();
        let txn = Txn::new()
            .expect(&owner, Expect::Revision(self.revision))
            .delete(&owner)
            .delete(self.manifest_key());
        if let TxnOutcome::Conflict { .. } = self.meta.txn(txn).await? {
            return Err(self.fenced().await?);
        }
        for path in self.store.list().await? {
            self.store.remove(&path).await?;
        }
        Ok(())
    }

    async fn forget(&self, path: &str) {
        if let Err(error) = self.store.remove(path).await {
            tracing::warn!(stream = self.id, path, %error, "a manifest that nothing points to is left");
        }
    }

    async fn fenced(&self) -> Result<StreamError, StreamError> {
        let owner = match Owner::of(self.meta.as_ref(), &self.id).await? {
            Some(owner) => owner.address,
            None => "nobody, it was dropped".to_owned(),
        };
        Ok(StreamError::Fenced { owner })
    }
}

pub(super) fn read<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, StreamError> {
    serde_json::from_slice(bytes).map_err(|error| StreamError::Damaged(error.to_string()))
}

pub(super) fn write<T: Serialize>(value: &T) -> Result<Bytes, StreamError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| StreamError::Damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use polarway_metastore::EmbeddedMetaStore;

    use super::super::manifest::Segment;
    use super::*;

    struct Stage {
        meta: Arc<dyn MetaStore>,
        store: SealedStore,
        _directory: tempfile::TempDir,
    }

    impl Stage {
        async fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let meta = EmbeddedMetaStore::open(directory.path().join("meta.redb")).await.unwrap();
            let store = SealedStore::new(Arc::new(InMemory::new()), Path::from("streams/s"), None);
            Self { meta: Arc::new(meta), store, _directory: directory }
        }

        async fn claim(&self, address: &str) -> Ownership {
            Ownership::claim(Arc::clone(&self.meta), self.store.clone(), "s", "node", address).await.unwrap()
        }
    }

    fn segment(from: u64, to: u64) -> Segment {
        Segment {
            path: format!("data/{from}-{to}.parquet"),
            from,
            to,
            rows: to - from,
            bytes: 1,
            events: None,
            sealed_at: 0,
        }
    }

    #[tokio::test]
    async fn a_manifest_grows_and_survives_its_owner() {
        let stage = Stage::new().await;
        let owner = stage.claim("one:1").await;
        let empty = owner.load().await.unwrap();
        assert_eq!((empty.manifest.version, empty.manifest.sealed_to), (0, 0));
        let producers = BTreeMap::from([("p".to_owned(), 7)]);
        let first =
            owner.commit(&empty, empty.manifest.sealed(vec![segment(0, 5)], 5, producers)).await.unwrap();
        let next = first.manifest.sealed(vec![segment(5, 9)], 9, BTreeMap::from([("p".to_owned(), 3)]));
        let second = owner.commit(&first, next).await.unwrap();
        assert_eq!((second.manifest.rows(), second.manifest.producers["p"]), (9, 7));

        let heir = stage.claim("two:1").await;
        assert_eq!(heir.epoch(), owner.epoch() + 1);
        assert_eq!(heir.load().await.unwrap(), second);
        assert_eq!(stage.store.list().await.unwrap().len(), 1, "old manifests are removed");
    }

    #[tokio::test]
    async fn who_was_owner_before_changes_nothing() {
        let stage = Stage::new().await;
        let old = stage.claim("one:1").await;
        let empty = old.load().await.unwrap();
        let heir = stage.claim("two:1").await;
        let stale = old.commit(&empty, empty.manifest.sealed(vec![segment(0, 5)], 5, BTreeMap::new())).await;
        let Err(StreamError::Fenced { owner }) = stale else { panic!("{stale:?}") };
        assert_eq!(owner, "two:1");
        assert_eq!(heir.load().await.unwrap().manifest, Manifest::default());
        let sealed =
            heir.commit(&empty, empty.manifest.sealed(vec![segment(0, 4)], 4, BTreeMap::new())).await;
        assert_eq!(sealed.unwrap().manifest.sealed_to, 4);
    }

    #[tokio::test]
    async fn a_commit_over_another_is_refused() {
        let stage = Stage::new().await;
        let owner = stage.claim("one:1").await;
        let empty = owner.load().await.unwrap();
        let next = empty.manifest.sealed(vec![segment(0, 5)], 5, BTreeMap::new());
        owner.commit(&empty, next.clone()).await.unwrap();
        assert!(matches!(owner.commit(&empty, next.clone()).await, Err(StreamError::Changed)));
        assert_eq!(owner.load().await.unwrap().manifest, next);
        assert_eq!(stage.store.list().await.unwrap().len(), 1);
    }
}
