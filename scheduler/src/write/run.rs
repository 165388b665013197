//! From a statement that writes to its outcome.

use std::sync::Arc;
use std::time::Duration;

use datafusion::sql::parser::Statement;
use futures::future::BoxFuture;
use polarway_common::{Error, ErrorKind};
use polarway_engine::write::{Visibility, WriteSpec};
use polarway_storage::writes::{Left, StagedFile, WriteState};

use super::target::{FilesTarget, TableTarget, Target, target_of, with_column};
use super::{Outcome, Writing, Written};
use crate::catalog::no_tables;
use crate::service::{QueryService, Request};

/// Tasks of a write that was given up have ended by then.
pub const LEFT_FOR: Duration = Duration::from_secs(30);

/// A write that has begun. Dropped before its end, it is found by [`super::sweep`].
pub struct Begun {
    writing: Writing,
    pub spec: Arc<WriteSpec>,
    left: Left,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.writing.writes.abandon(&self.spec.id);
    }
}

impl Begun {
    pub(super) fn left(&self) -> &Left {
        &self.left
    }

    /// Nothing of it is to be seen.
    pub async fn give_up(self) {
        self.writing.writes.over(&self.spec.id, self.left.clone(), LEFT_FOR).await;
    }
}

impl Writing {
    /// Begins a write to files that are published when it has ended.
    pub async fn begin_files(&self, target: &FilesTarget) -> Result<Begun, Error> {
        let directory = if target.single_file { target.place.parent() } else { target.place.clone() };
        let id = self.writes.begin(WriteState::WritingFiles { place: directory.clone() }).await?;
        let mut spec = WriteSpec::parquet(&id, target.place.clone(), Visibility::Published, &target.schema);
        spec.single_file = target.single_file;
        spec.format = target.format;
        spec.options = target.options.clone();
        spec.extension.clone_from(&target.extension);
        spec.partition_by.clone_from(&target.partition_by);
        let left = Left::InPlace { place: directory };
        Ok(Begun { writing: self.clone(), spec: Arc::new(spec), left })
    }

    /// Begins a write to a table of our own.
    pub async fn begin_table(&self, target: &TableTarget) -> Result<Begun, Error> {
        let tables = self.tables.as_ref().ok_or_else(no_tables)?;
        // What is uploaded under a handle is in no catalog.
        self.catalog.of(&target.namespace).settle().await?;
        let table = target.definition.id.clone();
        let id = self.writes.begin(WriteState::WritingTable { table: table.clone() }).await?;
        let place = tables.place(&table, &id);
        let spec = WriteSpec::parquet(&id, place, Visibility::Written, &target.columns()?);
        Ok(Begun { writing: self.clone(), spec: Arc::new(spec), left: Left::InTable { table } })
    }
}

impl QueryService {
    /// Carries out a statement that writes, once.
    ///
    /// # Errors
    /// Those of planning and running it, of the stores; `AlreadyExists`, `PathNotAllowed`, `Unsupported`.
    pub fn write<'a>(
        &'a self,
        request: &'a Request,
        statement: &'a Statement,
        text: &'a str,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(async move {
            self.refuse_while_draining()?;
            if let Some(written) = self.written_before(request).await? {
                return Ok(written);
            }
            let seen = self.planner.catalog().snapshot();
            let target = match self.target(request, statement, text).await {
                // Another scheduler may have made the table a moment ago, before the news of it was here.
                Err(error) if matches!(self.planner.catalog().catch_up(&seen).await, Ok(true)) => {
                    tracing::debug!(%error, "a statement is planned anew with what others have changed");
                    self.target(request, statement, text).await?
                }
                target => target?,
            };
            match target {
                Target::Nothing => Ok(Written::default()),
                Target::Files(target) => {
                    let begun = self.writing.begin_files(&target).await?;
                    let files = self.rows_of(request, statement, &begun).await;
                    self.writing.published(begun, files, request.once.as_ref()).await
                }
                Target::Table(target) => self.write_table(request, statement, &target).await,
            }
        })
    }

    async fn target(&self, request: &Request, statement: &Statement, text: &str) -> Result<Target, Error> {
        let (planner, request) = (Arc::clone(&self.planner), request.clone());
        let (statement, text) = (statement.clone(), text.to_owned());
        let planning = Box::pin(async move { target_of(&planner, &request, statement, &text).await });
        self.planned("planning the statement", planning).await
    }

    /// Writes the rows of a statement for a table, once.
    ///
    /// # Errors
    /// As [`QueryService::write`].
    pub fn write_table<'a>(
        &'a self,
        request: &'a Request,
        statement: &'a Statement,
        target: &'a TableTarget,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(async move {
            if let Some(written) = self.written_before(request).await? {
                return Ok(written);
            }
            let begun = self.writing.begin_table(target).await?;
            let files = match target.has_rows {
                true => {
                    let files = self.rows_of(request, statement, &begun).await;
                    files.map_err(|error| with_column(error, statement))
                }
                false => Ok(vec![]),
            };
            self.writing.committed(begun, target, files, request.once.as_ref()).await
        })
    }

    /// What was told of the statement, if it was carried out before.
    pub(super) async fn written_before(&self, request: &Request) -> Result<Option<Written>, Error> {
        let Some(once) = &request.once else { return Ok(None) };
        match once.outcome(self.writing.writes.meta().as_ref()).await? {
            None => Ok(None),
            Some(told) => self.writing.told(&told).await.map(Some),
        }
    }

    fn rows_of<'a>(
        &'a self,
        request: &'a Request,
        statement: &'a Statement,
        begun: &'a Begun,
    ) -> BoxFuture<'a, Result<Vec<StagedFile>, Error>> {
        Box::pin(async move {
            // Large, and part of every statement's future if it were not boxed.
            Box::pin(self.written_rows(request, statement.clone(), &begun.spec)).await
        })
    }
}

impl Writing {
    /// The outcome of a write that has taken place, once all of its files are seen.
    pub(super) async fn told(&self, outcome: &str) -> Result<Written, Error> {
        if outcome.is_empty() {
            return Err(Error::new(ErrorKind::Cancelled, "the client has given this statement up"));
        }
        let Outcome::Written(written) = Outcome::from_text(outcome) else {
            return Err(Error::internal("a statement that writes had another outcome"));
        };
        if let Some(write) = &written.write {
            self.await_published(write).await?;
        }
        Ok(written)
    }
}
