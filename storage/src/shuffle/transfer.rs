//! One pack from local files to the store and into the index.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use polarway_common::Error;
use polarway_metastore::MetaStore;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::assemble::{Assembly, RecordPlace, Unreadable};
use super::error::ShuffleError;
use super::index::{self, Commit, Entry};
use super::name::ObjectName;
use super::output::{Output, OutputId};
use super::plan::Pack;
use super::store::ShuffleStore;

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
    /// One output cannot be read; its pack is given back.
    Unreadable(Pack, Unreadable),
    /// The query is over.
    Dropped(Pack),
    Failed(Pack, ShuffleError),
}

impl Transfer {
    /// Reads, puts and commits a pack, unless `dropped` says in the meantime that its query is over. Has at most one
    /// object in memory.
    pub(super) async fn perform(&self, pack: Pack, dropped: &CancellationToken) -> Vec<(OutputId, Fate)> {
        let mut fates = Vec::with_capacity(pack.outputs.len());
        let mut pack = pack;
        loop {
            // What was begun is deleted before anything is told.
            let mut begun = Vec::new();
            let setback = match self.put(pack, dropped, &mut begun).await {
                Ok((pack, entries)) => {
                    fates.extend(self.commit(pack, entries, &begun, dropped).await);
                    return fates;
                }
                Err(setback) => setback,
            };
            self.remove(&begun).await;
            match setback {
                Setback::Unreadable(whole, unreadable) => {
                    let index = unreadable.output.min(whole.outputs.len().saturating_sub(1));
                    let (output, rest) = whole.without(index, self.target);
                    fates.push((output.id.clone(), fate_of(&output, unreadable)));
                    match rest {
                        Some(rest) => pack = rest,
                        None => return fates,
                    }
                }
                Setback::Dropped(pack) => {
                    fates.extend(all(pack, &Fate::Unwanted));
                    return fates;
                }
                Setback::Failed(pack, error) => {
                    fates.extend(give_up(pack, error));
                    return fates;
                }
            }
        }
    }

    /// Puts the objects of a pack one after the other, and gives the entries of its outputs.
    async fn put(
        &self,
        pack: Pack,
        dropped: &CancellationToken,
        begun: &mut Vec<String>,
    ) -> Result<(Pack, Vec<(OutputId, Entry)>), Setback> {
        let (outputs, run) = (pack.outputs.clone(), pack.run.clone());
        let (count, seqs) = (pack.objects.len(), pack.objects.iter().map(|o| o.seq).collect::<Vec<_>>());
        let mut assembly = Assembly::new(pack);
        let mut places = Vec::new();
        let mut name = String::new();
        for (index, seq) in seqs.into_iter().enumerate().take(count) {
            if dropped.is_cancelled() {
                return Err(Setback::Dropped(assembly.into_pack()));
            }
            let read = spawn_blocking(move || {
                let read = assembly.object(index);
                (assembly, read)
            });
            let (returned, read) = match read.await {
                Ok(read) => read,
                // The thread panicked or the runtime ends: the pack went with it, its outputs did not.
                Err(error) => {
                    let lost = Pack { run, outputs, objects: Vec::new() };
                    let source = io::Error::other(error);
                    return Err(Setback::Failed(lost, ShuffleError::File { path: "pack".into(), source }));
                }
            };
            assembly = returned;
            let bytes = match read {
                Ok((bytes, records)) => {
                    places = records;
                    bytes
                }
                Err(unreadable) => return Err(Setback::Unreadable(assembly.into_pack(), unreadable)),
            };
            name = ObjectName { run: run.clone(), writer: self.writer.clone(), seq }.to_string();
            begun.push(name.clone());
            if let Err(error) = self.store.put(&name, Bytes::from(bytes)).await {
                return Err(Setback::Failed(assembly.into_pack(), error));
            }
        }
        let entries = entries(assembly.pack(), &name, &places);
        Ok((assembly.into_pack(), entries))
    }

    async fn commit(
        &self,
        pack: Pack,
        entries: Vec<(OutputId, Entry)>,
        objects: &[String],
        dropped: &CancellationToken,
    ) -> Vec<(OutputId, Fate)> {
        if dropped.is_cancelled() {
            self.remove(objects).await;
            return all(pack, &Fate::Unwanted);
        }
        match index::commit(self.meta.as_ref(), &entries).await {
            Ok(Commit::Committed) if dropped.is_cancelled() => {
                // Whoever ended the query may have deleted its entries and objects before these were there.
                let ids: Vec<OutputId> = entries.into_iter().map(|(id, _)| id).collect();
                if let Err(error) = index::forget(self.meta.as_ref(), &ids).await {
                    tracing::debug!(run = pack.run, %error, "entries of a query that is over are left to it");
                }
                self.remove(objects).await;
                all(pack, &Fate::Unwanted)
            }
            Ok(Commit::Committed) => {
                let fate = |output: Output| {
                    let bytes = output.bytes();
                    (output.id, Fate::Committed { bytes })
                };
                pack.outputs.into_iter().map(fate).collect()
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
            if let Err(error) = self.store.remove(object).await {
                tracing::debug!(object, %error, "an object of shuffle output is left to its query");
            }
        }
    }
}

fn entries(pack: &Pack, object: &str, places: &[RecordPlace]) -> Vec<(OutputId, Entry)> {
    let entry = |(output, place): (&Output, &RecordPlace)| {
        let entry = Entry {
            object: object.to_owned(),
            offset: place.offset,
            length: place.length,
            crc: place.crc,
            memo: output.memo,
            covers: output.covers.clone(),
            bytes: output.bytes(),
        };
        (output.id.clone(), entry)
    };
    pack.outputs.iter().zip(places).map(entry).collect()
}

fn all(pack: Pack, fate: &Fate) -> Vec<(OutputId, Fate)> {
    pack.outputs.into_iter().map(|output| (output.id, fate.clone())).collect()
}

fn give_up(pack: Pack, error: ShuffleError) -> Vec<(OutputId, Fate)> {
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
