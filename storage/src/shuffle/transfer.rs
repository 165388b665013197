//! One pack from local files to the store and into the index.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use polarway_common::Error;
use polarway_metastore::MetaStore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::assemble::{Assembly, RecordPlace, Unreadable};
use super::error::ShuffleError;
use super::index::{self, Commit, Entry};
use super::name::ObjectName;
use super::output::{Output, OutputId};
use super::plan::Pack;
use super::store::ShuffleStore;

/// How long the deletion of an object is tried that nobody is to find.
const REMOVE_WITHIN: Duration = Duration::from_secs(5);

/// What became of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    Committed {
        bytes: u64,
    },
    /// A file has gone, or the query is over: it is not wanted any more.
    Unwanted,
    Failed(Error),
}

/// Where packs are brought.
#[derive(Debug, Clone)]
pub(super) struct Transfer {
    pub(super) store: Arc<ShuffleStore>,
    pub(super) meta: Arc<dyn MetaStore>,
    pub(super) writer: String,
    pub(super) target: u64,
}

/// Why a pack was not put as it is.
enum Setback {
    /// One of its outputs cannot be read.
    Unreadable(Unreadable),
    Failed(ShuffleError),
}

impl Transfer {
    /// Reads, puts and commits a pack. Has at most one object in memory.
    pub(super) async fn perform(&self, pack: Pack) -> Vec<(OutputId, Fate)> {
        let mut fates = Vec::with_capacity(pack.outputs.len());
        let mut pack = Arc::new(pack);
        loop {
            let mut begun = Vec::new();
            let setback = match self.put(&pack, &mut begun).await {
                Ok(entries) => {
                    fates.extend(self.commit(&pack, &entries, &begun).await);
                    return fates;
                }
                Err(setback) => setback,
            };
            // Before anything is told.
            self.remove(&begun).await;
            match setback {
                Setback::Unreadable(unreadable) => {
                    let (output, rest) = Arc::unwrap_or_clone(pack).without(unreadable.output, self.target);
                    fates.push((output.id.clone(), fate_of(&output, unreadable)));
                    match rest {
                        Some(rest) => pack = Arc::new(rest),
                        None => return fates,
                    }
                }
                Setback::Failed(error) => {
                    fates.extend(give_up(&pack, error));
                    return fates;
                }
            }
        }
    }

    /// Puts the objects of a pack one after the other, and gives the entries of its outputs. `begun` are the names
    /// that may have been written.
    async fn put(
        &self,
        pack: &Arc<Pack>,
        begun: &mut Vec<String>,
    ) -> Result<Vec<(OutputId, Entry)>, Setback> {
        let mut assembly = Assembly::new(Arc::clone(pack));
        let mut entries = Vec::new();
        for (index, object) in pack.objects.iter().enumerate() {
            let read = spawn_blocking(move || {
                let read = assembly.object(index);
                (assembly, read)
            });
            let read = read.await.map_err(|error| {
                let detail = format!("the thread that reads it ended: {error}");
                Setback::Failed(ShuffleError::File {
                    path: PathBuf::default(),
                    source: io::Error::other(detail),
                })
            });
            let (returned, read) = read?;
            assembly = returned;
            let (bytes, places) = read.map_err(Setback::Unreadable)?;
            let name = ObjectName { run: pack.run.clone(), writer: self.writer.clone(), seq: object.seq };
            let name = name.to_string();
            entries = entries_of(pack, &name, &places);
            begun.push(name.clone());
            self.store.put(&name, Bytes::from(bytes)).await.map_err(Setback::Failed)?;
        }
        Ok(entries)
    }

    async fn commit(
        &self,
        pack: &Pack,
        entries: &[(OutputId, Entry)],
        objects: &[String],
    ) -> Vec<(OutputId, Fate)> {
        match index::commit(self.meta.as_ref(), entries).await {
            Ok(Commit::Committed) => {
                let fate = |output: &Output| {
                    let memo = output.memo.map(u128::from_be_bytes);
                    tracing::debug!(output = %output.id, memo, "an output is stored");
                    (output.id.clone(), Fate::Committed { bytes: output.bytes() })
                };
                pack.outputs.iter().map(fate).collect()
            }
            Ok(Commit::RunOver) => {
                self.remove(objects).await;
                all(pack, &Fate::Unwanted)
            }
            // The objects stay, as some of their outputs may have been committed; they go with their query.
            Err(error) => give_up(pack, error),
        }
    }

    /// Deletes objects that nobody is to find. What cannot be deleted goes with its query.
    async fn remove(&self, objects: &[String]) {
        for object in objects {
            // Others wait for their turn, and a store that failed may well fail again.
            match timeout(REMOVE_WITHIN, self.store.remove(object)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(object, %error, "an object is left to its query"),
                Err(_) => tracing::debug!(object, "an object is left to its query: no answer in time"),
            }
        }
    }
}

/// The entries of the outputs whose records are in an object.
fn entries_of(pack: &Pack, object: &str, places: &[RecordPlace]) -> Vec<(OutputId, Entry)> {
    let entry = |(output, place): (&Output, &RecordPlace)| {
        let entry = Entry {
            object: object.to_owned(),
            offset: place.offset,
            length: place.length,
            crc: place.crc,
            memo: output.memo,
            bytes: output.bytes(),
        };
        (output.id.clone(), entry)
    };
    pack.outputs.iter().zip(places).map(entry).collect()
}

fn all(pack: &Pack, fate: &Fate) -> Vec<(OutputId, Fate)> {
    pack.outputs.iter().map(|output| (output.id.clone(), fate.clone())).collect()
}

fn give_up(pack: &Pack, error: ShuffleError) -> Vec<(OutputId, Fate)> {
    let error = Error::from(error);
    tracing::warn!(run = pack.run, outputs = pack.outputs.len(), %error, "shuffle output is not stored");
    all(pack, &Fate::Failed(error))
}

fn fate_of(output: &Output, unreadable: Unreadable) -> Fate {
    if unreadable.source.kind() == io::ErrorKind::NotFound {
        tracing::debug!(output = %output.id, "its files have gone before they were stored");
        return Fate::Unwanted;
    }
    let path = output.files.get(unreadable.file).map(|file| file.path.clone()).unwrap_or_default();
    let error = Error::from(ShuffleError::File { path, source: unreadable.source });
    tracing::warn!(output = %output.id, %error, "shuffle output is not stored");
    Fate::Failed(error)
}
