//! Files that are written and not yet seen. On local disk they stand in a hidden directory beside their place and are
//! renamed; in an object store they are uploads that are not completed yet.

use std::path::{Path as LocalPath, PathBuf};

use object_store::ObjectStoreExt;
use object_store::multipart::PartId;
use object_store::path::Path;
use polarway_common::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

use super::access::{Place, WritableStore};

/// How a file waits to be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Staging {
    /// It is there under its own name: whoever lists it decides whether it is seen.
    Written,
    /// It is there under another name, in the same store.
    File { path: String },
    /// An upload that has all its parts.
    Upload { id: String, parts: Vec<String> },
}

/// A file that a task has written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedFile {
    /// Its name when it is seen, in the store.
    pub path: String,
    /// Rows in it; of formats that do not tell, the first file has those of all.
    pub rows: u64,
    pub bytes: u64,
    pub staging: Staging,
}

/// What the names of directories begin with in which files wait.
pub const STAGING: &str = ".polarway-";

/// Where files of the write `id` wait below `directory`. Readers leave names out that begin with a dot.
pub fn staging_directory(directory: &Path, id: &str) -> Path {
    directory.clone().join(format!("{STAGING}{id}"))
}

/// Whether files are those of the write `id` to `place`: what tells of them lies where others can write, too.
///
/// # Errors
/// `Internal` for a file that is to be seen elsewhere, or does not wait where those of the write do.
pub fn expect_own(place: &Place, id: &str, files: &[StagedFile]) -> Result<(), Error> {
    let base = place.path()?;
    let waiting = staging_directory(&base, id);
    for StagedFile { path, staging, .. } in files {
        let seen = parsed(path)?;
        let is_below = seen != base && seen.prefix_matches(&base) && !seen.prefix_matches(&waiting);
        let waits_below = match staging {
            Staging::File { path } => place.local().is_some() && parsed(path)?.prefix_matches(&waiting),
            Staging::Written | Staging::Upload { .. } => true,
        };
        if !is_below || !waits_below {
            return Err(Error::internal(format!("`{path}` is no file of the write to `{}`", place.text())));
        }
    }
    Ok(())
}

/// Lets all files of the write `id` be seen under their names. It may be done again, by anybody, with those that are seen
/// already.
///
/// # Errors
/// `StoreUnavailable` when the store fails, or a file is neither there nor waiting; those of [`expect_own`], and nothing is
/// done then.
pub async fn publish(
    place: &Place,
    id: &str,
    store: &WritableStore,
    files: &[StagedFile],
) -> Result<(), Error> {
    expect_own(place, id, files)?;
    for file in files {
        let path = parsed(&file.path)?;
        match &file.staging {
            Staging::Written => {}
            Staging::File { path: waiting } => {
                let root = LocalPath::new("/");
                let (from, to) = (root.join(waiting), root.join(&file.path));
                let base = place.local().unwrap_or_else(|| root.to_path_buf());
                let renamed = tokio::task::spawn_blocking(move || rename(&from, &to, &base)).await;
                let renamed = renamed.map_err(|error| Error::internal(error.to_string()))?;
                renamed.map_err(|error| failed(&file.path, &error))?;
            }
            Staging::Upload { id, parts } => complete(store, &path, id, parts).await?,
        }
    }
    Ok(())
}

async fn complete(store: &WritableStore, path: &Path, id: &str, parts: &[String]) -> Result<(), Error> {
    let Some(multipart) = &store.multipart else {
        return Err(Error::internal("an upload waits in a store that has none"));
    };
    let ids = parts.iter().map(|part| PartId { content_id: part.clone() }).collect();
    match multipart.complete_multipart(path, &id.to_owned(), ids).await {
        Ok(_) => Ok(()),
        // It was completed before; an upload has an end.
        Err(error) => match store.plain.head(path).await {
            Ok(_) => Ok(()),
            Err(_) => Err(failed(path.as_ref(), &error)),
        },
    }
}

/// What is on disk stays there when the power goes: contents and names.
fn rename(from: &LocalPath, to: &LocalPath, base: &LocalPath) -> std::io::Result<()> {
    let directory = to.parent().unwrap_or(base);
    std::fs::create_dir_all(directory)?;
    match std::fs::File::open(from).and_then(|file| file.sync_all()) {
        Ok(()) => std::fs::rename(from, to)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && to.is_file() => {}
        Err(error) => return Err(error),
    }
    for directory in directory.ancestors().take_while(|at| at.starts_with(base)) {
        std::fs::File::open(directory)?.sync_all()?;
    }
    Ok(())
}

fn failed(path: &str, cause: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::StoreUnavailable, format!("`{path}` was not put in its place: {cause}"))
}

fn parsed(path: &str) -> Result<Path, Error> {
    Path::parse(path).map_err(|error| Error::internal(format!("`{path}` is not a path: {error}")))
}

/// Removes what waits below a local directory for a write that will not take place. Uploads are not listed by stores;
/// those that their process has not given up go by a rule of the bucket.
///
/// # Errors
/// `StoreUnavailable` when it cannot be removed.
pub async fn remove_staging(place: &Place, id: &str) -> Result<(), Error> {
    let Some(local) = place.local() else { return Ok(()) };
    let waiting: PathBuf = local.join(format!("{STAGING}{id}"));
    match tokio::fs::remove_dir_all(&waiting).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(failed(&waiting.display().to_string(), &error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::local::LocalFileSystem;
    use object_store::memory::InMemory;
    use object_store::multipart::MultipartStore;

    use super::*;

    #[tokio::test]
    async fn files_are_seen_when_they_are_published_and_may_be_published_again() {
        let root = tempfile::tempdir().unwrap();
        let directory = Path::from_absolute_path(root.path()).unwrap();
        let place = Place { store: "file:///".into(), path: directory.to_string() };
        let waiting = staging_directory(&directory, "w").join("a=1").join("x.parquet");
        let plain = Arc::new(LocalFileSystem::new());
        plain.put(&waiting, "rows".into()).await.unwrap();
        let path = directory.join("a=1").join("x.parquet");
        let staging = Staging::File { path: waiting.to_string() };
        let files = [StagedFile { path: path.to_string(), rows: 1, bytes: 4, staging }];
        let store = WritableStore { plain: plain.clone(), multipart: None };
        assert!(plain.head(&path).await.is_err());
        for _ in 0..2 {
            publish(&place, "w", &store, &files).await.unwrap();
        }
        assert_eq!(plain.get(&path).await.unwrap().bytes().await.unwrap(), "rows");
        remove_staging(&place, "w").await.unwrap();
        remove_staging(&place, "w").await.unwrap();
        assert!(!root.path().join(".polarway-w").exists());
        let lost = Staging::File { path: waiting.to_string() };
        let other = format!("{}/other", place.path);
        let lost = [StagedFile { path: other, rows: 1, bytes: 1, staging: lost }];
        let error = publish(&place, "w", &store, &lost).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::StoreUnavailable, "{error}");
    }

    #[tokio::test]
    async fn row_11_a_forged_list_of_files_moves_nothing() {
        let root = tempfile::tempdir().unwrap();
        for directory in ["mine/.polarway-w", "mine/.polarway-v", "theirs", "mine2"] {
            std::fs::create_dir_all(root.path().join(directory)).unwrap();
            std::fs::write(root.path().join(directory).join("x"), directory).unwrap();
        }
        let within = |path: &str| Path::from_absolute_path(root.path().join(path)).unwrap().to_string();
        let place = Place { store: "file:///".into(), path: within("mine") };
        let store = WritableStore { plain: Arc::new(LocalFileSystem::new()), multipart: None };
        let file = |from: String, to: String| StagedFile {
            path: to,
            rows: 1,
            bytes: 1,
            staging: Staging::File { path: from },
        };
        let honest = file(within("mine/.polarway-w/x"), within("mine/x"));
        for forged in [
            file(within("theirs/x"), within("mine/y")),
            file(within("mine/.polarway-v/x"), within("mine/y")),
            file(within("mine/.polarway-w/x"), within("theirs/x")),
            file(within("mine/.polarway-w/x"), within("mine2/x")),
            file(within("mine/.polarway-w/x"), format!("{}/../theirs/x", within("mine"))),
            file(format!("{}/../../theirs/x", within("mine/.polarway-w")), within("mine/y")),
            file(within("mine/.polarway-w/x"), within("mine")),
            StagedFile { staging: Staging::Written, ..file(String::new(), within("theirs/x")) },
        ] {
            let error = publish(&place, "w", &store, &[honest.clone(), forged.clone()]).await;
            assert_eq!(error.unwrap_err().kind, ErrorKind::Internal, "{forged:?}");
            assert_eq!(std::fs::read_to_string(root.path().join("theirs/x")).unwrap(), "theirs");
            assert!(!root.path().join("mine/x").exists(), "nothing is done");
        }
        publish(&place, "w", &store, &[honest]).await.unwrap();
        // No file of this machine goes with a place elsewhere.
        let place = Place { store: "s3://lake/".into(), path: within("mine2") };
        let local = file(within("mine2/.polarway-w/x"), within("mine2/y"));
        assert!(publish(&place, "w", &store, &[local]).await.is_err());
    }

    #[tokio::test]
    async fn an_upload_is_seen_once_it_is_completed_and_may_be_completed_again() {
        let memory = Arc::new(InMemory::new());
        let path = Path::from("out/x.parquet");
        let id = memory.create_multipart(&path).await.unwrap();
        let part = memory.put_part(&path, &id, 0, "rows".into()).await.unwrap();
        let staging = Staging::Upload { id, parts: vec![part.content_id] };
        let files = [StagedFile { path: path.to_string(), rows: 1, bytes: 4, staging }];
        let store = WritableStore { plain: memory.clone(), multipart: Some(memory.clone()) };
        let place = Place { store: "memory:///".into(), path: "out".into() };
        assert!(memory.head(&path).await.is_err());
        for _ in 0..2 {
            publish(&place, "w", &store, &files).await.unwrap();
        }
        assert_eq!(memory.get(&path).await.unwrap().bytes().await.unwrap(), "rows");
    }
}
