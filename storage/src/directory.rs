//! Objects below one prefix. What is written stays written: a store on local disk is told to keep it.

use std::path::{Path as LocalPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::{Path, PathPart};
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};

/// The objects below one prefix of a store.
#[derive(Debug, Clone)]
pub struct ObjectDirectory {
    store: Arc<dyn ObjectStore>,
    root: Path,
    /// Where the prefix is on local disk, if it is there.
    local: Option<PathBuf>,
}

/// An object that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    pub bytes: u64,
}

impl ObjectDirectory {
    pub fn new(store: Arc<dyn ObjectStore>, root: Path, local: Option<PathBuf>) -> Self {
        Self { store, root, local }
    }

    /// The full path of an object, in the store.
    pub fn full(&self, path: &str) -> Path {
        // Names that are encoded stay as they are.
        let parts = path.split('/').map(|part| PathPart::parse(part).unwrap_or_else(|_| part.into()));
        parts.fold(self.root.clone(), Path::join)
    }

    /// Writes an object that is not there yet; it is there as a whole or not at all, and survives a loss of power.
    ///
    /// # Errors
    /// `AlreadyExists` when it is there.
    pub async fn create(&self, path: &str, content: Bytes) -> object_store::Result<Written> {
        let bytes = content.len() as u64;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.store.put_opts(&self.full(path), content.into(), options).await?;
        self.keep(path).await?;
        Ok(Written { bytes })
    }

    pub async fn read(&self, path: &str) -> object_store::Result<Bytes> {
        self.store.get(&self.full(path)).await?.bytes().await
    }

    /// Removes an object; it is no error when there is none.
    pub async fn remove(&self, path: &str) -> object_store::Result<()> {
        match self.store.delete(&self.full(path)).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            done => done,
        }
    }

    /// Paths of all objects, below the root.
    pub async fn list(&self) -> object_store::Result<Vec<String>> {
        let root = self.root.clone();
        self.store
            .list(Some(&self.root))
            .try_filter_map(|found| {
                let parts = found
                    .location
                    .prefix_match(&root)
                    .map(|parts| parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"));
                std::future::ready(Ok(parts))
            })
            .boxed()
            .try_collect()
            .await
    }

    /// Makes the file system keep the object and its name, and the names of its directories.
    async fn keep(&self, path: &str) -> object_store::Result<()> {
        let Some(root) = self.local.clone() else { return Ok(()) };
        let file = root.join(path);
        let synced = tokio::task::spawn_blocking(move || sync(&root, &file)).await;
        let fault = |source: Box<dyn std::error::Error + Send + Sync>| object_store::Error::Generic {
            store: "local disk",
            source,
        };
        synced.map_err(|error| fault(Box::new(error)))?.map_err(|error| fault(Box::new(error)))
    }
}

fn sync(root: &LocalPath, file: &LocalPath) -> std::io::Result<()> {
    std::fs::File::open(file)?.sync_all()?;
    // The root's own name is in its parent.
    let top = root.parent().unwrap_or(root);
    for directory in file.ancestors().skip(1).take_while(|directory| directory.starts_with(top)) {
        std::fs::File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use object_store::local::LocalFileSystem;
    use object_store::memory::InMemory;

    use super::*;

    async fn conforms(store: ObjectDirectory) {
        store.create("data/day=2026-11-25/0-10.parquet", Bytes::from_static(b"rows")).await.unwrap();
        let again = store.create("data/day=2026-11-25/0-10.parquet", Bytes::from_static(b"others")).await;
        assert!(matches!(again, Err(object_store::Error::AlreadyExists { .. })));
        assert_eq!(store.read("data/day=2026-11-25/0-10.parquet").await.unwrap(), "rows");
        store.create("manifest/1.json", Bytes::from_static(b"{}")).await.unwrap();
        let mut all = store.list().await.unwrap();
        all.sort();
        assert_eq!(all, ["data/day=2026-11-25/0-10.parquet", "manifest/1.json"]);
        store.remove("manifest/1.json").await.unwrap();
        store.remove("manifest/1.json").await.unwrap();
        assert_eq!(store.list().await.unwrap().len(), 1);
        let encoded = "data/day=2026-11-25/symbol=B%2FT%3DC/1.parquet";
        store.create(encoded, Bytes::from_static(b"encoded")).await.unwrap();
        assert_eq!(store.read(encoded).await.unwrap(), "encoded");
        assert!(store.full(encoded).as_ref().ends_with(encoded));
        assert!(store.list().await.unwrap().contains(&encoded.to_owned()));
    }

    #[tokio::test]
    async fn objects_of_a_store_in_memory() {
        conforms(ObjectDirectory::new(Arc::new(InMemory::new()), Path::from("streams/a"), None)).await;
    }

    #[tokio::test]
    async fn objects_on_local_disk() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("streams/a b");
        let store = Arc::new(LocalFileSystem::new());
        let path = Path::from_absolute_path(&root).unwrap();
        conforms(ObjectDirectory::new(store, path, Some(root))).await;
    }
}
