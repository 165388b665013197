//! The directory of a log: made durably, and owned by one writer.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::WalError;

const LOCK_NAME: &str = "lock";

/// Makes the directory if it is not there, so that a power loss does not take it away again.
pub(super) fn prepare(directory: &Path) -> Result<(), WalError> {
    let existed = directory.is_dir();
    if !existed {
        if let Some(parent) = parent_of(directory) {
            prepare(&parent)?;
        }
        match fs::create_dir(directory) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => other.map_err(WalError::io("create", directory))?,
        }
    }
    // Also for one that was there: the run that made it may have died before this point.
    match parent_of(directory).map(|parent| (sync(&parent), parent)) {
        None | Some((Ok(()), _)) => Ok(()),
        // Whoever may not read the parent has not made the directory in it.
        Some((Err(error), _)) if existed && error.kind() == ErrorKind::PermissionDenied => Ok(()),
        Some((Err(error), parent)) => Err(WalError::io("sync", &parent)(error)),
    }
}

/// Takes the directory for this process until the returned file is dropped.
///
/// The lock belongs to the open file and not to its name, so a crash leaves nothing to clean up.
pub(super) fn lock(directory: &Path) -> Result<File, WalError> {
    let path = directory.join(LOCK_NAME);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(WalError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(WalError::Locked { directory: directory.to_owned() }),
        Err(TryLockError::Error(error)) => Err(WalError::io("lock", &path)(error)),
    }
}

fn parent_of(directory: &Path) -> Option<PathBuf> {
    let parent = directory.parent()?;
    // A relative path of one part has an empty parent, which no system call takes.
    Some(if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_owned() })
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
