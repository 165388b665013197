//! Handing over the logs that this process has of streams that others have by now.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use polarway_common::Error;
use polarway_metastore::MetaStore;
use polarway_storage::directory::ObjectDirectory;
use polarway_storage::streams::{Committed, Owner, StreamError};
use thiserror::Error as ThisError;

use super::suffix::Suffix;
use super::taker::{NumberedRecord, Taker};
use crate::stream::{LOG_QUEUE, LOG_SEGMENT, Record};
use crate::wal::{Wal, WalError, WalOptions};

/// What stands between a stream's identity and the name of its log.
const SEPARATOR: char = '@';

/// Why a log cannot be handed over now.
#[derive(Debug, ThisError)]
pub enum HandoverError {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("the log cannot be read: {0}")]
    Log(#[from] WalError),
    #[error("the stream's owner does not take it: {0}")]
    Owner(#[from] Error),
    #[error("the log cannot be removed: {0}")]
    Remove(#[source] io::Error),
    #[error("reading the log ended without an answer: {0}")]
    Lost(String),
}

/// What has become of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its rows are in the stream, and it is gone.
    Gone,
    /// It is the log that this process writes.
    Current,
    /// The stream is unknown: it was dropped, or is another cluster's. The log stays.
    Unknown,
}

/// Where the log `log` of a stream is, below the directory of all logs.
pub fn directory_of(logs: &Path, id: &str, log: u64) -> PathBuf {
    // The first one has no name beside the stream's.
    match log {
        0 | 1 => logs.join(id),
        log => logs.join(format!("{id}{SEPARATOR}{log}")),
    }
}

/// A log on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldLog {
    /// The stream's identity.
    pub id: String,
    /// The log's name among those of the stream.
    pub log: u64,
    pub directory: PathBuf,
}

impl OldLog {
    /// All that are below a directory, by name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn all(logs: &Path) -> io::Result<Vec<Self>> {
        let mut found = vec![];
        for entry in std::fs::read_dir(logs)? {
            let entry = entry?;
            let name = entry.file_name();
            let (Some(name), true) = (name.to_str(), entry.file_type()?.is_dir()) else { continue };
            let (id, log) = match name.split_once(SEPARATOR) {
                None => (name, Some(1)),
                Some((id, log)) => (id, log.parse().ok()),
            };
            let Some(log) = log else { continue };
            found.push(Self { id: id.to_owned(), log, directory: entry.path() });
        }
        found.sort_by(|a, b| a.directory.cmp(&b.directory));
        Ok(found)
    }
}

/// Hands logs over.
pub struct OldLogs {
    pub meta: Arc<dyn MetaStore>,
    /// The name of this process.
    pub node: String,
    /// Bytes that a log may take on disk.
    pub log_limit: u64,
}

impl OldLogs {
    /// Hands a log over if it is owed, and removes it. `schema` is that of its stream, and `taker` finds the stream's owner.
    ///
    /// # Errors
    /// [`HandoverError`]; it can be tried again.
    pub async fn hand_over(
        &self,
        old: &OldLog,
        store: &ObjectDirectory,
        schema: &arrow::datatypes::SchemaRef,
        taker: impl Fn(&Owner) -> Box<dyn Taker>,
    ) -> Result<Outcome, HandoverError> {
        let OldLog { id, log, directory } = old;
        let Some(owner) = Owner::of(self.meta.as_ref(), id).await? else { return Ok(Outcome::Unknown) };
        if owner.node == self.node && owner.log() == *log {
            return Ok(Outcome::Current);
        }
        let Committed { manifest, .. } = Committed::load(self.meta.as_ref(), store, id).await?;
        let Some(owed) = manifest.owes(*log) else {
            return remove(directory).await;
        };
        let taker = taker(&owner);
        if let Some(taken) = taker.taken(id, *log).await? {
            let (wal, records) = self.read(directory, schema, owed.from).await?;
            let rows: usize = records.iter().map(|record| record.rows.num_rows()).sum();
            tracing::info!(
                stream = id,
                log,
                rows,
                to = owner.address,
                "handing rows over to the stream's owner"
            );
            let numbered = (1..).zip(records).filter(|(number, _)| *number > taken);
            let numbered: Vec<NumberedRecord> = numbered.collect();
            if !numbered.is_empty() {
                taker.take(id, *log, numbered).await?;
            }
            taker.settle(id, *log).await?;
            wal.close().await?;
        }
        remove(directory).await
    }

    /// The records that are not sealed. The log is this process's alone until it is dropped.
    async fn read(
        &self,
        directory: &Path,
        schema: &arrow::datatypes::SchemaRef,
        from: u64,
    ) -> Result<(Wal, Vec<Record>), HandoverError> {
        let options = WalOptions {
            directory: directory.to_owned(),
            segment_bytes: LOG_SEGMENT.min(self.log_limit / 4),
            max_bytes: self.log_limit,
            queue: LOG_QUEUE,
        };
        let schema = Arc::clone(schema);
        let reading = tokio::task::spawn_blocking(move || {
            let mut suffix = Suffix::new(from);
            let (wal, _) = Wal::open(options, |_, bytes| {
                let record = Record::read(bytes, &schema).map_err(WalError::replay)?;
                suffix.take(record).map_err(WalError::replay)
            })?;
            Ok((wal, suffix.finish().map_err(WalError::replay)?))
        });
        reading.await.map_err(|error| HandoverError::Lost(error.to_string()))?
    }
}

async fn remove(directory: &Path) -> Result<Outcome, HandoverError> {
    match tokio::fs::remove_dir_all(directory).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(HandoverError::Remove(error)),
        _ => Ok(Outcome::Gone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_found_where_they_are_made() {
        let directory = tempfile::tempdir().unwrap();
        let logs = directory.path();
        let places = [directory_of(logs, "a", 1), directory_of(logs, "a", 12), directory_of(logs, "b", 3)];
        places.iter().for_each(|place| std::fs::create_dir(place).unwrap());
        std::fs::write(logs.join("node"), "ingest-0").unwrap();
        std::fs::create_dir(logs.join("c@x")).unwrap();
        let found: Vec<_> = OldLog::all(logs).unwrap().into_iter().map(|old| (old.id, old.log)).collect();
        assert_eq!(found, [("a".to_owned(), 1), ("a".to_owned(), 12), ("b".to_owned(), 3)]);
        assert_eq!(directory_of(logs, "a", 0), directory_of(logs, "a", 1), "as the first version named it");
    }
}
