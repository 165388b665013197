//! Where tables of our own are, and the transactions by which they change.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use lru::LruCache;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parking_lot::Mutex;
use polarway_common::{Error, ErrorKind};
use polarway_metastore::{Expect, Key, MetaStore, Precondition, Write};
use serde::{Deserialize, Serialize};

use super::manifest::{DataFile, TableManifest};
use crate::StoreRoot;
use crate::writes::{Place, StagedFile};

/// Manifests that are kept in memory.
const KEPT: NonZeroUsize = NonZeroUsize::new(256).unwrap();
const DATA: &str = "data";

/// What the metadata store has of a manifest; the rest is an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    version: u64,
    /// Below the table's directory.
    path: String,
}

/// A table's manifest as it is now.
#[derive(Debug, Clone)]
pub struct Current {
    pub manifest: Arc<TableManifest>,
    /// Grows with every change of the table.
    pub revision: u64,
    path: String,
}

/// A change of a table that is ready to be made: what has to hold, and what is written then.
#[derive(Debug, Clone)]
pub struct Change {
    pub preconditions: Vec<Precondition>,
    pub writes: Vec<Write>,
    /// Its manifest, which is of no use if the change is not made.
    pub manifest: String,
}

/// Manifests by their table and path.
type Kept = LruCache<(String, String), Arc<TableManifest>>;

/// See the module's page. Clones share what they keep.
#[derive(Debug, Clone)]
pub struct Tables {
    root: StoreRoot,
    meta: Arc<dyn MetaStore>,
    kept: Arc<Mutex<Kept>>,
}

impl Tables {
    pub fn new(root: StoreRoot, meta: Arc<dyn MetaStore>) -> Self {
        Self { root, meta, kept: Arc::new(Mutex::new(LruCache::new(KEPT))) }
    }

    pub fn root(&self) -> &StoreRoot {
        &self.root
    }

    /// Where the write `write` puts files of the table `table`.
    pub fn place(&self, table: &str, write: &str) -> Place {
        let path = self.directory(table).join(DATA).join(write);
        Place { store: self.root.url.as_str().to_owned(), path: path.to_string() }
    }

    /// A file of a manifest, in the store.
    pub fn file(&self, table: &str, path: &str) -> Path {
        self.root.directory(table).full(path)
    }

    fn directory(&self, table: &str) -> Path {
        self.root.path.clone().join(table)
    }

    /// The manifest of a table; none if there is no such table (any more).
    ///
    /// # Errors
    /// `StoreUnavailable` when a store fails, `CorruptFile` for a manifest that cannot be read.
    pub async fn current(&self, table: &str) -> Result<Option<Current>, Error> {
        let mut missing = None;
        loop {
            let Some(found) = self.meta.get(&key(table)).await? else { return Ok(None) };
            let Head { version, path } = parse(table, &found.value)?;
            let name = (table.to_owned(), path.clone());
            let kept = self.kept.lock().get(&name).cloned();
            let manifest = match kept {
                Some(kept) => kept,
                None => match self.root.directory(table).read(&path).await {
                    // Another took its place meanwhile.
                    Err(object_store::Error::NotFound { .. }) if missing != Some(found.revision) => {
                        missing = Some(found.revision);
                        continue;
                    }
                    read => {
                        let manifest: TableManifest =
                            parse(table, &read.map_err(|error| failed(table, &error))?)?;
                        let manifest = Arc::new(manifest);
                        self.kept.lock().put(name, Arc::clone(&manifest));
                        manifest
                    }
                },
            };
            if manifest.version != version {
                let told = format!(
                    "the manifest of the table {table} holds version {} and not {version}",
                    manifest.version
                );
                return Err(Error::new(ErrorKind::CorruptFile, told));
            }
            return Ok(Some(Current { manifest, revision: found.revision, path }));
        }
    }

    /// What files of a write are to a manifest.
    ///
    /// # Errors
    /// `Internal` for files that lie outside the table.
    pub fn data_files(&self, table: &str, staged: &[StagedFile]) -> Result<Vec<DataFile>, Error> {
        let directory = format!("{}/", self.directory(table));
        let file = |staged: &StagedFile| {
            let path = staged.path.strip_prefix(&directory);
            let path =
                path.ok_or_else(|| Error::internal(format!("`{}` is not in its table", staged.path)))?;
            Ok(DataFile { path: path.to_owned(), rows: staged.rows, bytes: staged.bytes })
        };
        staged.iter().map(file).collect()
    }

    /// Writes the manifest that follows `before`, or a new table's first one; gives the change that lets it hold.
    ///
    /// # Errors
    /// `StoreUnavailable` when it cannot be written.
    pub async fn change(
        &self,
        table: &str,
        before: Option<&Current>,
        files: Vec<DataFile>,
        replace: bool,
    ) -> Result<Change, Error> {
        let empty = TableManifest::default();
        let next = before.map_or(&empty, |before| &before.manifest).next(files, replace);
        let path = format!("manifest/{:020}-{}.json", next.version, uuid::Uuid::new_v4().simple());
        let content = encode(&next)?;
        self.root.directory(table).create(&path, content).await.map_err(|error| failed(table, &error))?;
        let expect = before.map_or(Expect::Absent, |before| Expect::Revision(before.revision));
        let value = encode(&Head { version: next.version, path: path.clone() })?;
        Ok(Change {
            preconditions: vec![Precondition { key: key(table), expect }],
            writes: vec![Write::Put { key: key(table), value }],
            manifest: path,
        })
    }

    /// Removes a manifest that does not hold, as well as can be: one that stays is only a small object.
    pub async fn discard(&self, table: &str, manifest: &str) {
        if let Err(error) = self.root.directory(table).remove(manifest).await {
            tracing::warn!(table, %error, "a manifest that does not hold was not removed");
        }
    }

    /// As [`Tables::discard`], of one that held before.
    pub async fn discard_before(&self, table: &str, before: &Current) {
        self.discard(table, &before.path).await;
    }

    /// Removes the files of a write that the table's manifest does not name; gives how many.
    ///
    /// # Errors
    /// `StoreUnavailable` when a store fails.
    pub async fn clear_write(&self, table: &str, write: &str) -> Result<usize, Error> {
        let current = self.current(table).await?;
        let named = |path: &str| {
            current
                .as_ref()
                .is_some_and(|current| current.manifest.files.iter().any(|file| file.path == path))
        };
        let below = self.directory(table).join(DATA).join(write);
        let store = &self.root.store;
        let found: Vec<_> =
            store.list(Some(&below)).try_collect().await.map_err(|error| failed(table, &error))?;
        let prefix = format!("{}/", self.directory(table));
        let mut removed = 0;
        for object in found {
            let path = object.location.as_ref();
            if !path.strip_prefix(&prefix).is_some_and(named) {
                store.delete(&object.location).await.map_err(|error| failed(table, &error))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Removes the files that the table's manifest does not name and that are of no write in `under_way`, whose names are
    /// given when the files have been listed; gives how many.
    ///
    /// # Errors
    /// `StoreUnavailable` when a store fails.
    pub async fn clear_unnamed(
        &self,
        table: &str,
        under_way: impl Future<Output = Result<Vec<String>, Error>>,
    ) -> Result<usize, Error> {
        let data = self.directory(table).join(DATA);
        let store = &self.root.store;
        let found: Vec<_> =
            store.list(Some(&data)).try_collect().await.map_err(|error| failed(table, &error))?;
        // In this order: a write that ends meanwhile is under way still, or its files are named.
        let under_way = under_way.await?;
        let Some(current) = self.current(table).await? else { return Ok(0) };
        let named: HashSet<&str> = current.manifest.files.iter().map(|file| file.path.as_str()).collect();
        let prefix = format!("{}/", self.directory(table));
        let mut removed = 0;
        for object in found {
            let Some(path) = object.location.as_ref().strip_prefix(&prefix) else { continue };
            let write = path.split('/').nth(1).unwrap_or_default();
            if !named.contains(path) && !under_way.iter().any(|id| id == write) {
                store.delete(&object.location).await.map_err(|error| failed(table, &error))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Removes all that is left of a table that was dropped.
    ///
    /// # Errors
    /// `StoreUnavailable` when the store fails.
    pub async fn clear_table(&self, table: &str) -> Result<(), Error> {
        let directory = self.root.directory(table);
        for path in directory.list().await.map_err(|error| failed(table, &error))? {
            directory.remove(&path).await.map_err(|error| failed(table, &error))?;
        }
        // What a store on local disk keeps of names that are no objects.
        if let Some(local) = &self.root.local {
            match tokio::fs::remove_dir_all(local.join(table)).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed(table, &error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// What goes when a table is dropped.
pub(crate) fn end(table: &str) -> Write {
    Write::Delete { key: key(table) }
}

fn key(table: &str) -> String {
    Key::TableHead { id: table.to_owned() }.encode()
}

fn encode(value: &impl Serialize) -> Result<Bytes, Error> {
    let text = serde_json::to_vec(value);
    text.map(Bytes::from).map_err(|error| Error::internal(format!("a manifest cannot be written: {error}")))
}

fn parse<T: serde::de::DeserializeOwned>(table: &str, value: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(value).map_err(|error| {
        Error::new(
            ErrorKind::CorruptFile,
            format!("the manifest of the table {table} cannot be read: {error}"),
        )
    })
}

fn failed(table: &str, cause: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::StoreUnavailable, format!("the files of the table {table}: {cause}"))
}

#[cfg(test)]
mod tests {
    use polarway_common::config::S3Config;
    use polarway_metastore::{EmbeddedMetaStore, Txn};

    use super::*;
    use crate::writes::Staging;

    #[tokio::test]
    async fn a_reader_sees_what_a_commit_named_and_one_of_two_commits_is_made() {
        let root = tempfile::tempdir().unwrap();
        let meta: Arc<dyn MetaStore> = Arc::new(EmbeddedMetaStore::in_memory().unwrap());
        let place = root.path().display().to_string();
        let root = StoreRoot::open(&place, &S3Config::default(), "storage.tables").unwrap();
        let tables = Tables::new(root, Arc::clone(&meta));
        assert!(tables.current("t").await.unwrap().is_none());
        let staged = |write: &str, rows| {
            let path = format!("{}/{write}.parquet", tables.place("t", write).path);
            StagedFile { path, rows, bytes: 4, staging: Staging::Written }
        };
        let commit =
            |change: Change| meta.txn(Txn { preconditions: change.preconditions, writes: change.writes });
        let files = tables.data_files("t", &[staged("w1", 3)]).unwrap();
        let made = tables.change("t", None, files, false).await.unwrap();
        assert!(commit(made).await.unwrap().committed().is_some());
        let first = tables.current("t").await.unwrap().unwrap();
        assert_eq!(first.manifest.rows(), 3);
        // Two that start from the same version.
        let mut changes = vec![];
        for write in ["w2", "w3"] {
            let path = tables.file("t", &format!("data/{write}/{write}.parquet"));
            tables.root.store.put(&path, "rows".into()).await.unwrap();
            let files = tables.data_files("t", &[staged(write, 2)]).unwrap();
            changes.push(tables.change("t", Some(&first), files, false).await.unwrap());
        }
        let late = changes.pop().unwrap();
        assert!(commit(changes.pop().unwrap()).await.unwrap().committed().is_some());
        assert!(commit(late.clone()).await.unwrap().committed().is_none());
        tables.discard("t", &late.manifest).await;
        tables.discard_before("t", &first).await;
        assert_eq!(tables.current("t").await.unwrap().unwrap().manifest.rows(), 5);
        assert_eq!(tables.clear_write("t", "w2").await.unwrap(), 0);
        assert_eq!(tables.clear_write("t", "w3").await.unwrap(), 1);
        tables.clear_table("t").await.unwrap();
        assert!(!std::path::Path::new(&place).join("t").exists());
    }
}
