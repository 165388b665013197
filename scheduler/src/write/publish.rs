//! The end of a write whose files others list: they are noted first and then published, so that whoever outlives this
//! process can go on.

use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use polarway_common::{Error, ErrorKind};
use polarway_metastore::membership::Role;
use polarway_storage::catalog::{Once, OnceOutcome, commit_once};
use polarway_storage::writes::{
    Left, OpenWrite, Place, StagedFile, WriteState, expect_own, publish, remove_staging, staging_directory,
    taken_over,
};
use url::Url;

use super::run::Begun;
use super::{Outcome, Writing, Written};

/// Between two looks at a write that another process publishes.
const LOOK: Duration = Duration::from_millis(50);
/// How often a commit is tried whose answers are lost.
const TRIES: usize = 50;
const PAUSE: Duration = Duration::from_millis(200);

/// What came of the decision.
enum Noted {
    Ours(OpenWrite, Written),
    /// The statement was carried out before, with this outcome.
    Before(String),
    /// The write is another's now.
    Over,
}

impl Writing {
    /// Lets all files of a write be seen, once.
    ///
    /// # Errors
    /// The failure of its rows; those of the stores.
    pub fn published<'a>(
        &'a self,
        begun: Begun,
        files: Result<Vec<StagedFile>, Error>,
        once: Option<&'a Once>,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(async move {
            let noted = match files {
                Ok(files) => self.note(&begun, &files, once).await.map(|noted| (noted, files)),
                Err(error) => Err(error),
            };
            match noted {
                Ok((Noted::Ours(open, written), files)) => {
                    // It has taken place: if this fails, the files are seen later, and it is found by its record.
                    self.publish(&open, &files).await?;
                    Ok(written)
                }
                Ok((Noted::Before(told), _)) => {
                    begun.give_up().await;
                    self.told(&told).await
                }
                Ok((Noted::Over, _)) => Err(taken_over(&begun.spec.id)),
                Err(error) => {
                    begun.give_up().await;
                    Err(error)
                }
            }
        })
    }

    /// Decides that a write takes place.
    async fn note(&self, begun: &Begun, files: &[StagedFile], once: Option<&Once>) -> Result<Noted, Error> {
        let id = begun.spec.id.as_str();
        let written = Written { write: Some(id.to_owned()), ..Written::of(files) };
        let Left::InPlace { place } = begun.left() else {
            return Err(Error::internal("files of a table are not published"));
        };
        // Once it has taken place it is too late to refuse.
        expect_own(place, id, files)?;
        let (access, to) = (Arc::clone(&self.runtime.writes), place.clone());
        let paths: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
        let check = move || access.check_files(&to, paths.iter().map(String::as_str));
        tokio::task::spawn_blocking(check)
            .await
            .map_err(|error| Error::internal(format!("paths could not be looked at: {error}")))??;
        let list = self.list_of(place, id, files).await?;
        let text = Outcome::Written(written.clone()).to_text()?;
        let once = once.map(|once| once.with_outcome(text));
        let state = WriteState::Publishing { place: place.clone(), list };
        let mut failed = taken_over(id);
        for _ in 0..TRIES {
            let (ours, noted) = self.writes.change(id, state.clone())?;
            match commit_once(self.writes.meta().as_ref(), vec![ours], vec![noted], once.as_ref()).await {
                Ok(OnceOutcome::Made { revision }) => {
                    self.writes.changed(id, revision);
                    return Ok(match self.found(id).await? {
                        Some(open) => Noted::Ours(open, written),
                        None => Noted::Over,
                    });
                }
                Ok(OnceOutcome::MadeBefore(told)) => {
                    return Ok(match self.found(id).await? {
                        Some(open) => Noted::Ours(open, written),
                        None => Noted::Before(told),
                    });
                }
                Ok(OnceOutcome::Conflict { .. }) => {
                    return Ok(match self.found(id).await? {
                        Some(open) => Noted::Ours(open, written),
                        None => Noted::Over,
                    });
                }
                Ok(OnceOutcome::Unknown(error)) => {
                    tracing::info!(write = id, %error, "a commit is looked for, and tried again");
                    failed = error;
                }
                Err(error) if error.kind == ErrorKind::StoreUnavailable => {
                    tracing::info!(write = id, %error, "a commit is tried again");
                    failed = error;
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(failed)
    }

    /// The note that a write takes place, if it is there and this process's.
    async fn found(&self, id: &str) -> Result<Option<OpenWrite>, Error> {
        let found = self.writes.get(id).await?;
        let ours = found.filter(|open| {
            open.record.owner == self.writes.owner()
                && matches!(open.record.state, WriteState::Publishing { .. })
        });
        if let Some(open) = &ours {
            self.writes.changed(id, open.revision);
        }
        Ok(ours)
    }

    /// Writes what is to be published where others find it.
    async fn list_of(&self, place: &Place, id: &str, files: &[StagedFile]) -> Result<String, Error> {
        let list = staging_directory(&place.path()?, id).join("files.json");
        let content = serde_json::to_vec(files)
            .map_err(|error| Error::internal(format!("a list of files cannot be written: {error}")))?;
        let store = self.runtime.writes.store(place)?;
        store.plain.put(&list, Bytes::from(content).into()).await.map_err(|error| failed(&list, &error))?;
        Ok(list.to_string())
    }

    async fn publish(&self, open: &OpenWrite, files: &[StagedFile]) -> Result<(), Error> {
        let WriteState::Publishing { place, list } = &open.record.state else { return Ok(()) };
        let store = self.runtime.writes.store(place)?;
        publish(place, &open.id, &store, files).await?;
        if let Ok(url) = Url::parse(&place.store) {
            for file in files {
                if let Ok(path) = Path::parse(&file.path) {
                    self.runtime.forget_listing(&url, &path);
                }
            }
        }
        let list = Path::parse(list).map_err(|error| Error::internal(error.to_string()))?;
        match store.plain.delete(&list).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(failed(&list, &error)),
        }
        remove_staging(place, &open.id).await?;
        self.writes.forget(&open.id, open.revision).await
    }

    /// Goes on with what a process has begun to publish that is gone.
    ///
    /// # Errors
    /// Those of the stores.
    pub(super) async fn go_on_publishing(&self, open: &OpenWrite) -> Result<(), Error> {
        let WriteState::Publishing { place, list } = &open.record.state else { return Ok(()) };
        let Some(revision) = self.writes.take(open, open.record.state.clone()).await? else { return Ok(()) };
        tracing::info!(write = open.id, place = place.text(), "goes on with files that were to be seen");
        let taken = OpenWrite { revision, ..open.clone() };
        let store = self.runtime.writes.store(place)?;
        let list = Path::parse(list).map_err(|error| Error::internal(error.to_string()))?;
        let content = async { store.plain.get(&list).await?.bytes().await }.await;
        let files: Vec<StagedFile> = match content {
            Ok(content) => serde_json::from_slice(&content)
                .map_err(|error| Error::internal(format!("a list of files cannot be read: {error}")))?,
            // It is removed when all files are seen.
            Err(object_store::Error::NotFound { .. }) => vec![],
            Err(error) => return Err(failed(&list, &error)),
        };
        self.publish(&taken, &files).await
    }

    /// Waits until the files of a write that has taken place are seen, and lets them be seen if nobody else does.
    ///
    /// # Errors
    /// Those of the stores.
    pub(super) fn await_published<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            loop {
                let Some(open) = self.writes.get(id).await? else { return Ok(()) };
                if !matches!(open.record.state, WriteState::Publishing { .. }) {
                    return Ok(());
                }
                if !self.is_at_work(&open) {
                    self.go_on_publishing(&open).await?;
                }
                tokio::time::sleep(LOOK).await;
            }
        })
    }

    /// Whether somebody carries the write out.
    pub(super) fn is_at_work(&self, open: &OpenWrite) -> bool {
        let owner = &open.record.owner;
        if owner == self.writes.owner() {
            return self.writes.is_ours(&open.id);
        }
        self.members.current().of(Role::Scheduler).any(|member| &member.incarnation == owner)
    }
}

fn failed(path: &Path, cause: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::StoreUnavailable, format!("`{path}`: {cause}"))
}
