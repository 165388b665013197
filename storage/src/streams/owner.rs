//! Who may change a stream's manifest, and how it is changed.
//!
//! A claim writes the stream's owner key with the next epoch. A commit of a manifest has that key's revision as its
//! precondition, so that whoever was owner before cannot commit any more, whatever it believes. If the owner was another
//! process, the same transaction notes in the manifest what its log may still hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use polarway_common::{Error, ErrorKind};
use polarway_metastore::{
    Expect, Key, KeyPrefix, MetaStore, MetaStoreError, Precondition, Txn, TxnOutcome, Versioned,
};
use serde::{Deserialize, Serialize};
use thiserror::Error as ThisError;
use uuid::Uuid;

use super::manifest::Manifest;
use crate::directory::ObjectDirectory;

/// Why a stream cannot be claimed, read or sealed.
#[derive(Debug, ThisError)]
pub enum StreamError {
    #[error("the stream has another owner: {owner}")]
    Fenced { owner: String },
    #[error("the manifest of the stream was changed by somebody else")]
    Changed,
    #[error("this process is not registered as a member of the cluster, and claims nothing")]
    NotRegistered,
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
            StreamError::Fenced { .. }
            | StreamError::Changed
            | StreamError::NotRegistered
            | StreamError::Store(_) => Error::new(ErrorKind::StoreUnavailable, text),
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
    /// The epoch in which the process took the stream from another, or as the first. Its log is named by it.
    #[serde(default)]
    pub since: u64,
}

/// A process that claims streams.
#[derive(Debug, Clone)]
pub struct Claimant {
    /// Its name, which goes with its logs.
    pub node: String,
    /// Where it answers, `host:port`.
    pub address: String,
    /// What has to hold for it to be a member of the cluster; none for one that is alone.
    pub fence: Option<Precondition>,
}

/// Whose stream may be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Previous {
    /// Whoever's it is: there is no other process.
    Anyone,
    /// Nobody's, or the claimant's own.
    Own,
}

impl Owner {
    /// What its log is named by.
    pub fn log(&self) -> u64 {
        // The first owners did not say since when.
        self.since.max(1)
    }

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
    store: ObjectDirectory,
    id: String,
    epoch: u64,
    since: u64,
    revision: u64,
}

impl Committed {
    /// The manifest of the stream `id`, as it is now.
    ///
    /// # Errors
    /// [`StreamError::Meta`], [`StreamError::Store`], [`StreamError::Damaged`].
    pub async fn load(meta: &dyn MetaStore, store: &ObjectDirectory, id: &str) -> Result<Self, StreamError> {
        let key = Key::StreamManifest { id: id.to_owned() }.encode();
        let mut last = None;
        loop {
            let Some(found) = meta.get(&key).await? else {
                return Ok(Self { manifest: Manifest::default(), revision: None, path: None });
            };
            let pointer: Pointer = read(&found.value)?;
            let bytes = match store.read(&pointer.path).await {
                // Another took its place meanwhile.
                Err(object_store::Error::NotFound { .. }) if last != Some(found.revision) => {
                    last = Some(found.revision);
                    continue;
                }
                bytes => bytes?,
            };
            let manifest: Manifest = read(&bytes)?;
            if manifest.version != pointer.version {
                return Err(StreamError::Damaged(format!(
                    "`{}` holds version {} and not {}",
                    pointer.path, manifest.version, pointer.version
                )));
            }
            return Ok(Self { manifest, revision: Some(found.revision), path: Some(pointer.path) });
        }
    }
}

/// A claim that is not made yet.
struct Prepared {
    store: ObjectDirectory,
    id: String,
    owner: Owner,
    expect: Expect,
    /// The manifest that goes with it, if the stream was another process's, and the one before.
    manifest: Option<(Manifest, String, Committed)>,
}

impl Prepared {
    /// Reads who has the stream, and writes the object of the manifest that a new owner needs.
    async fn new(
        meta: &dyn MetaStore,
        store: ObjectDirectory,
        id: &str,
        claimant: &Claimant,
        found: Option<Versioned>,
    ) -> Result<Self, StreamError> {
        let before: Option<Owner> = found.as_ref().map(|found| read(&found.value)).transpose()?;
        let epoch = before.as_ref().map_or(1, |owner| owner.epoch + 1);
        let ours = before.as_ref().is_none_or(|owner| owner.node == claimant.node);
        let since = before.as_ref().filter(|_| ours).map_or(epoch, |owner| owner.since);
        let manifest = match before.filter(|_| !ours) {
            None => None,
            Some(before) => {
                let current = Committed::load(meta, &store, id).await?;
                let next = current.manifest.taken_over(&before.node, before.log());
                let path = store_manifest(&store, &next).await?;
                Some((next, path, current))
            }
        };
        let (node, address) = (claimant.node.clone(), claimant.address.clone());
        Ok(Self {
            store,
            id: id.to_owned(),
            owner: Owner { epoch, node, address, since },
            expect: found.map_or(Expect::Absent, |found| Expect::Revision(found.revision)),
            manifest,
        })
    }

    fn add_to(&self, txn: Txn) -> Result<Txn, StreamError> {
        let owner = Key::StreamOwner { id: self.id.clone() }.encode();
        let txn = txn.expect(&owner, self.expect).put(&owner, write(&self.owner)?);
        let Some((next, path, current)) = &self.manifest else { return Ok(txn) };
        let key = Key::StreamManifest { id: self.id.clone() }.encode();
        let pointer = write(&Pointer { version: next.version, path: path.clone() })?;
        Ok(txn.expect(&key, current.revision.map_or(Expect::Absent, Expect::Revision)).put(&key, pointer))
    }

    /// After the transaction at this revision.
    async fn made(self, meta: Arc<dyn MetaStore>, revision: u64) -> Ownership {
        let Self { store, id, owner: Owner { epoch, since, .. }, manifest, .. } = self;
        let ownership = Ownership { meta, store, id, epoch, since, revision };
        if let Some((_, _, Committed { path: Some(old), .. })) = &manifest {
            ownership.forget(old).await;
        }
        ownership
    }

    /// After a transaction that did not take place.
    async fn refused(self) {
        if let Some((_, path, _)) = &self.manifest {
            forget(&self.store, &self.id, path).await;
        }
    }
}

impl Ownership {
    /// Claims the stream.
    ///
    /// # Errors
    /// [`StreamError::Fenced`] if it is another's and may not be claimed; [`StreamError::NotRegistered`];
    /// [`StreamError::Meta`], [`StreamError::Store`], [`StreamError::Damaged`].
    pub async fn claim(
        meta: Arc<dyn MetaStore>,
        store: ObjectDirectory,
        id: &str,
        claimant: &Claimant,
        previous: Previous,
    ) -> Result<Self, StreamError> {
        let key = Key::StreamOwner { id: id.to_owned() }.encode();
        loop {
            let found = meta.get(&key).await?;
            if let (Previous::Own, Some(found)) = (previous, &found) {
                let owner: Owner = read(&found.value)?;
                if owner.node != claimant.node {
                    return Err(StreamError::Fenced { owner: owner.address });
                }
            }
            let claim = Prepared::new(meta.as_ref(), store.clone(), id, claimant, found).await?;
            let txn = claim.add_to(fenced(claimant))?;
            match meta.txn(txn).await? {
                TxnOutcome::Committed { revision } => return Ok(claim.made(meta, revision).await),
                TxnOutcome::Conflict { key } => {
                    claim.refused().await;
                    if claimant.fence.as_ref().is_some_and(|fence| fence.key == key) {
                        return Err(StreamError::NotRegistered);
                    }
                }
            }
        }
    }

    /// Claims streams that go together and that the process `gone` has, or nobody, all of them or none. It takes place only
    /// if that process is not a member of the cluster at that moment. None if it did not: whoever wants them looks again.
    ///
    /// # Errors
    /// [`StreamError::Meta`], [`StreamError::Store`], [`StreamError::Damaged`]. After an error it is not known whether the
    /// claim took place.
    pub async fn take_over(
        meta: &Arc<dyn MetaStore>,
        streams: &[(String, ObjectDirectory)],
        claimant: &Claimant,
        gone: &str,
    ) -> Result<Option<Vec<Self>>, StreamError> {
        let absent = Key::Member { name: gone.to_owned() }.encode();
        let mut txn = fenced(claimant).expect(absent, Expect::Absent);
        let mut claims = vec![];
        for (id, store) in streams {
            let found = meta.get(&Key::StreamOwner { id: id.clone() }.encode()).await?;
            if let Some(found) = &found
                && read::<Owner>(&found.value)?.node != gone
            {
                futures::future::join_all(claims.into_iter().map(Prepared::refused)).await;
                return Ok(None);
            }
            let claim = Prepared::new(meta.as_ref(), store.clone(), id, claimant, found).await?;
            txn = claim.add_to(txn)?;
            claims.push(claim);
        }
        match meta.txn(txn).await? {
            TxnOutcome::Committed { revision } => {
                let made = claims.into_iter().map(|claim| claim.made(Arc::clone(meta), revision));
                Ok(Some(futures::future::join_all(made).await))
            }
            TxnOutcome::Conflict { .. } => {
                futures::future::join_all(claims.into_iter().map(Prepared::refused)).await;
                Ok(None)
            }
        }
    }

    /// Grows with each claim of the stream.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What the owner's log is named by.
    pub fn log(&self) -> u64 {
        self.since.max(1)
    }

    pub fn store(&self) -> &ObjectDirectory {
        &self.store
    }

    fn manifest_key(&self) -> String {
        Key::StreamManifest { id: self.id.clone() }.encode()
    }

    /// The manifest as it is now.
    pub async fn load(&self) -> Result<Committed, StreamError> {
        Committed::load(self.meta.as_ref(), &self.store, &self.id).await
    }

    /// Puts `next` in the place of `current`. The object of the manifest before is removed.
    ///
    /// # Errors
    /// [`StreamError::Fenced`] when the stream has been claimed since: nothing is changed, and never will be through this
    /// claim. After an error of a store it is not known whether the commit took place: load again.
    pub async fn commit(&self, current: &Committed, next: Manifest) -> Result<Committed, StreamError> {
        let path = store_manifest(&self.store, &next).await?;
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
        forget(&self.store, &self.id, path).await;
    }

    async fn fenced(&self) -> Result<StreamError, StreamError> {
        let owner = match Owner::of(self.meta.as_ref(), &self.id).await? {
            Some(owner) => owner.address,
            None => "nobody, it was dropped".to_owned(),
        };
        Ok(StreamError::Fenced { owner })
    }
}

/// A transaction that takes place only while the claimant is a member.
fn fenced(claimant: &Claimant) -> Txn {
    let fence = claimant.fence.clone();
    fence.into_iter().fold(Txn::new(), |txn, Precondition { key, expect }| txn.expect(key, expect))
}

/// Writes the object of a manifest, and gives its path.
async fn store_manifest(store: &ObjectDirectory, manifest: &Manifest) -> Result<String, StreamError> {
    // A name of its own: a commit that failed half way may have left an object of this version.
    let path = format!("manifest/{:020}-{}.json", manifest.version, Uuid::now_v7().simple());
    store.create(&path, write(manifest)?).await?;
    Ok(path)
}

async fn forget(store: &ObjectDirectory, id: &str, path: &str) {
    if let Err(error) = store.remove(path).await {
        tracing::warn!(stream = id, path, %error, "a manifest that nothing points to is left");
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
        store: ObjectDirectory,
        _directory: tempfile::TempDir,
    }

    impl Stage {
        async fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let meta = EmbeddedMetaStore::open(directory.path().join("meta.redb")).await.unwrap();
            let store = ObjectDirectory::new(Arc::new(InMemory::new()), Path::from("streams/s"), None);
            Self { meta: Arc::new(meta), store, _directory: directory }
        }

        async fn claim(&self, address: &str) -> Ownership {
            self.claim_as("node", address, Previous::Anyone).await.unwrap()
        }

        async fn claim_as(
            &self,
            node: &str,
            address: &str,
            previous: Previous,
        ) -> Result<Ownership, StreamError> {
            let claimant = claimant(node, address);
            Ownership::claim(Arc::clone(&self.meta), self.store.clone(), "s", &claimant, previous).await
        }

        async fn take_over(&self, node: &str, gone: &str) -> Option<Ownership> {
            let streams = [("s".to_owned(), self.store.clone())];
            let taken = Ownership::take_over(&self.meta, &streams, &claimant(node, "there:1"), gone).await;
            taken.unwrap().map(|mut taken| taken.remove(0))
        }
    }

    fn claimant(node: &str, address: &str) -> Claimant {
        Claimant { node: node.to_owned(), address: address.to_owned(), fence: None }
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

    #[tokio::test]
    async fn only_the_streams_of_who_is_gone_are_taken_over() {
        let stage = Stage::new().await;
        let first = stage.claim_as("a", "one:1", Previous::Own).await.unwrap();
        assert!(matches!(
            stage.claim_as("b", "two:1", Previous::Own).await,
            Err(StreamError::Fenced { owner }) if owner == "one:1"
        ));
        let empty = first.load().await.unwrap();
        let sealed = empty.manifest.sealed(vec![segment(0, 5)], 5, BTreeMap::new());
        let sealed = first.commit(&empty, sealed).await.unwrap();
        stage.meta.txn(Txn::new().put("member/a", "")).await.unwrap();
        assert!(stage.take_over("b", "a").await.is_none(), "it lives");
        stage.meta.txn(Txn::new().delete("member/a")).await.unwrap();
        assert!(stage.take_over("b", "c").await.is_none(), "it is another's");
        assert_eq!(stage.store.list().await.unwrap().len(), 1, "nothing is left of what was tried");

        let heir = stage.take_over("b", "a").await.unwrap();
        assert_eq!((heir.epoch(), heir.log()), (first.epoch() + 1, 2));
        let manifest = heir.load().await.unwrap().manifest;
        assert_eq!((manifest.segments.len(), manifest.version), (1, sealed.manifest.version + 1));
        let owed = manifest.owes(first.log()).unwrap();
        assert_eq!((owed.node.as_str(), owed.from), ("a", 5));
        assert_eq!(stage.store.list().await.unwrap().len(), 1);
        let stale = first.commit(&sealed, sealed.manifest.clone()).await;
        assert!(matches!(stale, Err(StreamError::Fenced { .. })), "{stale:?}");
        // A restart is a new claim of the same log.
        let again = stage.claim_as("b", "there:2", Previous::Own).await.unwrap();
        assert_eq!((again.epoch(), again.log()), (3, 2));
        assert_eq!(again.load().await.unwrap().manifest, manifest);
    }

    #[tokio::test]
    async fn of_two_heirs_one_wins_and_all_streams_go_together() {
        let stage = Stage::new().await;
        let other = ObjectDirectory::new(Arc::new(InMemory::new()), Path::from("streams/t"), None);
        stage.claim_as("a", "one:1", Previous::Own).await.unwrap();
        // The second has no owner yet.
        let both = [("s".to_owned(), stage.store.clone()), ("t".to_owned(), other)];
        let heirs = ["b", "c"].map(|node| claimant(node, "there:1"));
        let taken = futures::future::join_all(
            heirs.iter().map(|heir| Ownership::take_over(&stage.meta, &both, heir, "a")),
        )
        .await;
        assert_eq!(taken.iter().filter(|taken| taken.as_ref().unwrap().is_some()).count(), 1);
        let owners = Owner::all(stage.meta.as_ref()).await.unwrap();
        assert_eq!((owners["s"].epoch, owners["t"].epoch), (2, 1));
        assert_eq!(owners["s"].node, owners["t"].node);
    }

    #[tokio::test]
    async fn who_is_no_member_claims_nothing() {
        let stage = Stage::new().await;
        let fence = Precondition { key: "member/a".to_owned(), expect: Expect::Exists };
        let claimant = Claimant { fence: Some(fence), ..claimant("a", "one:1") };
        let claim = |previous| {
            let (meta, store) = (Arc::clone(&stage.meta), stage.store.clone());
            let claimant = claimant.clone();
            async move { Ownership::claim(meta, store, "s", &claimant, previous).await }
        };
        assert!(matches!(claim(Previous::Own).await, Err(StreamError::NotRegistered)));
        stage.meta.txn(Txn::new().put("member/a", "")).await.unwrap();
        assert_eq!(claim(Previous::Own).await.unwrap().epoch(), 1);
    }
}
