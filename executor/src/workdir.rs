//! The directory that holds this executor's shuffle files, one directory a job.

use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use polarway_common::{Error, ErrorKind};
use tokio_util::sync::CancellationToken;

/// Jobs whose files were removed, kept to remove what comes after.
const REMEMBERED: usize = 4096;
const SWEEP: Duration = Duration::from_secs(1);
const LOCK: &str = "lock";

/// Subdirectory for what operators spill.
pub const SPILL: &str = "spill";

/// See the module's page. Emptied when opened and when closed: its files mean nothing to another incarnation.
#[derive(Debug, Clone)]
pub struct WorkDir {
    path: PathBuf,
    removed: Arc<Mutex<VecDeque<String>>>,
    /// Locked for as long as the file is open.
    _lock: Arc<File>,
}

impl WorkDir {
    /// Opens `base/<incarnation>`, after removing what earlier incarnations left under `base`.
    ///
    /// # Errors
    /// `Configuration` when the directory cannot be used, or another process uses it.
    pub fn open(base: &Path, incarnation: &str) -> Result<Self, Error> {
        let fault = |what: &str, error: std::io::Error| {
            Error::new(ErrorKind::Configuration, format!("cannot {what} `{}`: {error}", base.display()))
                .with_hint("set `executor.work_dir` to a directory that this process owns")
        };
        std::fs::create_dir_all(base).map_err(|error| fault("create", error))?;
        let lock = File::create(base.join(LOCK)).map_err(|error| fault("lock", error))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::Error(error) => fault("lock", error),
            TryLockError::WouldBlock => {
                Error::new(ErrorKind::Configuration, format!("another executor uses `{}`", base.display()))
                    .with_hint("give each executor an `executor.work_dir` or an `executor.name` of its own")
            }
        })?;
        for entry in std::fs::read_dir(base).map_err(|error| fault("read", error))?.flatten() {
            let name = entry.file_name();
            if name.to_string_lossy().starts_with("inc-") || name == SPILL {
                std::fs::remove_dir_all(entry.path()).map_err(|error| fault("empty", error))?;
            }
        }
        let path = base.join(format!("inc-{incarnation}"));
        std::fs::create_dir(&path).map_err(|error| fault("create", error))?;
        Ok(Self { path, removed: Arc::default(), _lock: Arc::new(lock) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether any job has files here.
    pub fn has_jobs(&self) -> bool {
        std::fs::read_dir(&self.path).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Jobs that have files here.
    pub fn jobs(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Removes a job's files, or those of some of its stages. A job without files is no error.
    ///
    /// # Errors
    /// A job id that is not a plain name is refused.
    pub async fn remove_job(&self, job: &str, stages: &[u32]) -> Result<(), Error> {
        if !is_plain(job) {
            return Err(Error::new(ErrorKind::Plan, format!("`{job}` is not a job id")));
        }
        let job_dir = self.path.join(job);
        if stages.is_empty() {
            self.remember(job);
            return remove_tree(&job_dir).await;
        }
        for stage in stages {
            remove_tree(&job_dir.join(stage.to_string())).await?;
        }
        Ok(())
    }

    fn remember(&self, job: &str) {
        let mut removed = self.removed.lock();
        if !removed.iter().any(|known| known == job) {
            removed.push_back(job.to_owned());
            if removed.len() > REMEMBERED {
                removed.pop_front();
            }
        }
    }

    /// Removes again, until `stop`, what a stopped task's last writes brought back: an aborted task's blocking part runs
    /// to its end.
    pub async fn sweep(self, stop: CancellationToken) -> Result<(), Error> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(SWEEP) => {}
                () = stop.cancelled() => return Ok(()),
            }
            let Ok(entries) = std::fs::read_dir(&self.path) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let again = self.removed.lock().contains(&name);
                if again && let Err(error) = remove_tree(&entry.path()).await {
                    tracing::debug!(job = name, %error, "could not remove a job's last files yet");
                }
            }
        }
    }

    /// Removes everything.
    pub fn close(&self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "could not remove shuffle files");
        }
    }
}

/// Whether a job id is a plain name, which cannot lead out of the directory.
pub fn is_plain(job: &str) -> bool {
    !job.is_empty() && job.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

async fn remove_tree(path: &Path) -> Result<(), Error> {
    match tokio::fs::remove_dir_all(path).await {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::internal(format!("cannot remove `{}`: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_id_cannot_lead_out() {
        let base = tempfile::tempdir().unwrap();
        let dir = WorkDir::open(base.path(), "1").unwrap();
        std::fs::create_dir_all(dir.path().join("job-1/1")).unwrap();
        std::fs::create_dir_all(dir.path().join("job-1/2")).unwrap();
        for bad in ["", "..", "../x", "/etc", "a/b"] {
            assert!(dir.remove_job(bad, &[]).await.is_err(), "{bad}");
        }
        dir.remove_job("job-1", &[1]).await.unwrap();
        assert!(dir.path().join("job-1/2").exists() && !dir.path().join("job-1/1").exists());
        dir.remove_job("job-1", &[]).await.unwrap();
        dir.remove_job("job-1", &[]).await.unwrap();
        assert!(!dir.has_jobs());
    }

    #[test]
    fn an_earlier_incarnations_files_are_removed() {
        let base = tempfile::tempdir().unwrap();
        let first = WorkDir::open(base.path(), "1").unwrap();
        std::fs::write(first.path().join("x"), "x").unwrap();
        std::fs::create_dir_all(base.path().join(SPILL).join("datafusion-1")).unwrap();
        let left = first.path().to_owned();
        drop(first);
        let second = WorkDir::open(base.path(), "2").unwrap();
        assert!(!left.exists() && !second.has_jobs() && !base.path().join(SPILL).exists());
    }

    #[test]
    fn a_directory_in_use_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let first = WorkDir::open(base.path(), "1").unwrap();
        let error = WorkDir::open(base.path(), "2").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Configuration);
        assert!(first.path().exists());
    }
}
