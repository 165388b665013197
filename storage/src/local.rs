//! Files below a directory of this machine. A symbolic link is followed as `LocalFileSystem` would, except that a link
//! to a directory must stay where policy allows and must not lead back to a directory that it lies in. Else a link to
//! `/` would make each statement look at the whole machine.

use std::fs::{DirEntry, Metadata, ReadDir};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{Error, ObjectMeta, Result};

use crate::policy::PathPolicy;
use crate::writes::STAGING;

/// Entries that are looked at where the caller runs. A larger directory goes on in blocking threads.
const INLINE_ENTRIES: usize = 256;
/// Entries that one turn in a blocking thread looks at.
const ENTRIES_A_TURN: usize = 1024;
/// Links to directories that one listing follows. A few links to the same directory are a way to lay out a table; a
/// chain of them doubles with each link.
const MAX_LINKS: usize = 1000;

/// The files below `root`, at any depth. A directory that is not there has none.
pub fn list(policy: Arc<PathPolicy>, root: PathBuf) -> BoxStream<'static, Result<ObjectMeta>> {
    let begin = Some((Walk::new(policy, root), true));
    stream::unfold(begin, |state| async move {
        let (mut walk, first) = state?;
        let (walk, files) = if first {
            let files = walk.turn(INLINE_ENTRIES);
            (walk, files)
        } else {
            let turn = tokio::task::spawn_blocking(move || {
                let files = walk.turn(ENTRIES_A_TURN);
                (walk, files)
            });
            match turn.await {
                Ok(done) => done,
                Err(error) => return Some((vec![Err(Error::from(error))], None)),
            }
        };
        let rest = (!walk.is_done()).then_some((walk, false));
        Some((files, rest))
    })
    .flat_map(stream::iter)
    .boxed()
}

/// A directory on the way, with those that it was reached through.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    /// Device and inode.
    identity: Option<(u64, u64)>,
    parent: Option<Arc<Directory>>,
}

impl Directory {
    fn lies_in(&self, identity: (u64, u64)) -> bool {
        let mut current = Some(self);
        while let Some(directory) = current {
            if directory.identity == Some(identity) {
                return true;
            }
            current = directory.parent.as_deref();
        }
        false
    }
}

struct Walk {
    policy: Arc<PathPolicy>,
    open: Option<(ReadDir, Arc<Directory>)>,
    pending: Vec<Arc<Directory>>,
    links: usize,
}

impl Walk {
    fn new(policy: Arc<PathPolicy>, root: PathBuf) -> Self {
        let identity = std::fs::metadata(&root).ok().map(|meta| identity(&meta));
        let root = Directory { path: root, identity, parent: None };
        Self { policy, open: None, pending: vec![Arc::new(root)], links: 0 }
    }

    fn is_done(&self) -> bool {
        self.open.is_none() && self.pending.is_empty()
    }

    fn turn(&mut self, entries: usize) -> Vec<Result<ObjectMeta>> {
        let mut files = vec![];
        for _ in 0..entries {
            if self.is_done() {
                break;
            }
            files.extend(self.step().transpose());
        }
        files
    }

    /// Looks at one entry, or opens the next directory.
    fn step(&mut self) -> Result<Option<ObjectMeta>> {
        let Some((entries, directory)) = self.open.as_mut() else {
            return self.enter();
        };
        let directory = Arc::clone(directory);
        match entries.next() {
            Some(Ok(entry)) => self.look(&entry, &directory),
            Some(Err(error)) => {
                self.open = None;
                Err(fault(&directory.path, &error))
            }
            None => {
                self.open = None;
                Ok(None)
            }
        }
    }

    fn enter(&mut self) -> Result<Option<ObjectMeta>> {
        let Some(directory) = self.pending.pop() else { return Ok(None) };
        match std::fs::read_dir(&directory.path) {
            Ok(entries) => {
                self.open = Some((entries, directory));
                Ok(None)
            }
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(fault(&directory.path, &error)),
        }
    }

    fn look(&mut self, entry: &DirEntry, directory: &Arc<Directory>) -> Result<Option<ObjectMeta>> {
        let path = entry.path();
        let is_link = match entry.file_type() {
            Ok(kind) => kind.is_symlink(),
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(fault(&path, &error)),
        };
        // This says what a link leads to and no more; the file itself is opened under the policy's eyes.
        let meta = match std::fs::metadata(&path) {
            Ok(meta) => meta,
            Err(error) if is_link || is_gone(&error) => return Ok(None),
            Err(error) => return Err(fault(&path, &error)),
        };
        if meta.is_dir() {
            if is_staging(&path) {
                return Ok(None);
            }
            self.descend(path, identity(&meta), is_link, directory)?;
            return Ok(None);
        }
        if !meta.is_file() || is_unfinished(&path) {
            return Ok(None);
        }
        object_meta(&path, &meta).map(Some)
    }

    fn descend(
        &mut self,
        path: PathBuf,
        identity: (u64, u64),
        is_link: bool,
        parent: &Arc<Directory>,
    ) -> Result<()> {
        if parent.lies_in(identity) {
            return Ok(());
        }
        if is_link {
            // An error and not a gap: rows that are missing without a word would be a wrong answer.
            self.policy.check_exact(&path).map_err(|error| Error::PermissionDenied {
                path: path.to_string_lossy().into_owned(),
                source: Box::new(error),
            })?;
            self.links += 1;
            if self.links > MAX_LINKS {
                self.open = None;
                self.pending.clear();
                return Err(Error::Generic {
                    store: "LocalFileSystem",
                    source: format!(
                        "more than {MAX_LINKS} symbolic links to directories, the last at `{}`",
                        path.display()
                    )
                    .into(),
                });
            }
        }
        let directory = Directory { path, identity: Some(identity), parent: Some(Arc::clone(parent)) };
        self.pending.push(Arc::new(directory));
        Ok(())
    }
}

fn identity(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// Removed, or replaced by a file, since it was listed.
fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn fault(path: &FsPath, error: &std::io::Error) -> Error {
    let error = std::io::Error::new(error.kind(), format!("`{}`: {error}", path.display()));
    Error::Generic { store: "LocalFileSystem", source: Box::new(error) }
}

/// Files of statements wait in such directories before they are seen.
fn is_staging(path: &FsPath) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(STAGING))
}

/// `LocalFileSystem` writes under such names before it renames, and refuses to read them.
fn is_unfinished(path: &FsPath) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let Some((_, suffix)) = name.split_once('#') else { return false };
    !suffix.is_empty() && suffix.bytes().all(|byte| byte.is_ascii_digit())
}

fn object_meta(path: &FsPath, meta: &Metadata) -> Result<ObjectMeta> {
    let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let stamp = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    Ok(ObjectMeta {
        location: Path::from_absolute_path(path)?,
        last_modified: modified.into(),
        size: meta.len(),
        e_tag: Some(format!("{:x}-{stamp:x}-{:x}", meta.ino(), meta.len())),
        version: None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use futures::TryStreamExt;
    use polarway_common::ErrorKind as Kind;

    use super::*;

    async fn names(allowed: &FsPath, root: &FsPath) -> Result<Vec<String>> {
        let policy = Arc::new(PathPolicy::new(&[allowed.display().to_string()]).unwrap());
        let files: Vec<ObjectMeta> = list(policy, root.to_path_buf()).try_collect().await?;
        let prefix = format!("{}/", Path::from_absolute_path(root).unwrap());
        let mut names: Vec<String> =
            files.iter().map(|file| file.location.to_string().split_off(prefix.len())).collect();
        names.sort();
        Ok(names)
    }

    #[tokio::test]
    async fn files_at_any_depth_are_listed_in_turns() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("a/b")).unwrap();
        for number in 0..INLINE_ENTRIES + ENTRIES_A_TURN {
            std::fs::write(root.path().join(format!("a/b/{number}")), "x").unwrap();
        }
        std::fs::write(root.path().join("top"), "x").unwrap();
        std::fs::write(root.path().join("half#12"), "x").unwrap();
        let names = names(root.path(), root.path()).await.unwrap();
        assert_eq!(names.len(), INLINE_ENTRIES + ENTRIES_A_TURN + 1);
        assert!(names.contains(&"a/b/7".to_owned()) && names.contains(&"top".to_owned()));
    }

    #[tokio::test]
    async fn what_is_not_there_has_no_files() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("file"), "x").unwrap();
        for gone in ["gone", "file"] {
            assert!(names(root.path(), &root.path().join(gone)).await.unwrap().is_empty(), "{gone}");
        }
    }

    #[tokio::test]
    async fn row_11_links_that_lead_back_are_walked_once() {
        let root = tempfile::tempdir().unwrap();
        let table = root.path().join("t");
        std::fs::create_dir_all(table.join("deeper")).unwrap();
        std::fs::write(table.join("a"), "x").unwrap();
        for (target, link) in [(&table, "one"), (&table, "two"), (&table, "deeper/three")] {
            symlink(target, table.join(link)).unwrap();
        }
        symlink(root.path().join("gone"), table.join("broken")).unwrap();
        assert_eq!(names(root.path(), &table).await.unwrap(), ["a"]);
        // Through the directory above, too.
        symlink(root.path(), table.join("up")).unwrap();
        assert_eq!(names(root.path(), &table).await.unwrap(), ["a"]);
    }

    #[tokio::test]
    async fn row_11_a_link_to_a_directory_stays_within_the_roots() {
        let root = tempfile::tempdir().unwrap();
        let (table, shared) = (root.path().join("t"), root.path().join("shared"));
        for directory in [&table, &shared] {
            std::fs::create_dir(directory).unwrap();
        }
        std::fs::write(shared.join("a"), "x").unwrap();
        symlink(&shared, table.join("year=1")).unwrap();
        symlink(&shared, table.join("year=2")).unwrap();
        assert_eq!(names(root.path(), &table).await.unwrap(), ["year=1/a", "year=2/a"]);
        let Error::PermissionDenied { source, .. } = names(&table, &table).await.unwrap_err() else {
            panic!("another error")
        };
        let error = source.downcast_ref::<polarway_common::Error>().unwrap();
        assert_eq!(error.kind, Kind::PathNotAllowed);
    }

    #[tokio::test]
    async fn row_11_a_chain_of_links_has_an_end() {
        let root = tempfile::tempdir().unwrap();
        for level in 0..20 {
            std::fs::create_dir(root.path().join(level.to_string())).unwrap();
        }
        for level in 0..19 {
            let next = root.path().join((level + 1).to_string());
            for link in ["x", "y"] {
                symlink(&next, root.path().join(format!("{level}/{link}"))).unwrap();
            }
        }
        let error = names(root.path(), &root.path().join("0")).await.unwrap_err().to_string();
        assert!(error.contains("symbolic links"), "{error}");
    }
}
