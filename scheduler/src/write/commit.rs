//! The end of a write to a table of our own.

use futures::future::BoxFuture;
use std::time::Duration;

use polarway_common::{Error, ErrorKind};
use polarway_metastore::{Expect, Key, Precondition};
use polarway_storage::catalog::{Definition, Once, OnceOutcome, changed_meanwhile, commit_once};
use polarway_storage::tables::Tables;
use polarway_storage::writes::{Left, StagedFile, WriteState, now_millis, taken_over};

use super::run::{Begun, LEFT_FOR};
use super::target::{How, TableTarget, exists_already};
use super::{Outcome, Writing, Written};
use crate::catalog::no_tables;

/// Between two tries of a commit that others were faster with.
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// Commits of others that one gives way to before it fails.
const TRIES: usize = 200;
/// Readers of rows that were replaced may be on their way for so long.
pub(super) const READ_UNTIL: Duration = Duration::from_secs(15 * 60);

/// What became of one try.
enum Tried {
    Done(Written),
    /// Somebody else changed the table meanwhile, or it is not known what became of it.
    Again,
    Refused(Error),
}

impl Writing {
    /// Lets the table have the files of a write, all at once and once.
    ///
    /// # Errors
    /// The failure of its rows; those of the stores; `AlreadyExists`, `TableNotFound` if others were faster.
    pub fn committed<'a>(
        &'a self,
        begun: Begun,
        target: &'a TableTarget,
        files: Result<Vec<StagedFile>, Error>,
        once: Option<&'a Once>,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        Box::pin(async move {
            let outcome = match files {
                Ok(files) => self.commit(&begun, target, &files, once).await,
                Err(error) => Err(error),
            };
            if outcome.is_err() {
                begun.give_up().await;
            }
            outcome
        })
    }

    async fn commit(
        &self,
        begun: &Begun,
        target: &TableTarget,
        files: &[StagedFile],
        once: Option<&Once>,
    ) -> Result<Written, Error> {
        let tables = self.tables.as_ref().ok_or_else(no_tables)?;
        let mut pause = PAUSE;
        for _ in 0..TRIES {
            match self.try_commit(begun, tables, target, files, once).await {
                Ok(Tried::Done(written)) => return Ok(written),
                Ok(Tried::Refused(error)) => return Err(error),
                Ok(Tried::Again) => {}
                // The rows are there: giving up now would cost them.
                Err(error) if error.kind == ErrorKind::StoreUnavailable => {
                    tracing::info!(write = begun.spec.id, %error, "a commit is tried again");
                }
                Err(error) => return Err(error),
            }
            // Those that collide do not go on colliding.
            tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(Error::new(
            ErrorKind::StoreUnavailable,
            format!("`{}` is changed by others all the time", target.name),
        )
        .with_retry_after(Duration::from_secs(1)))
    }

    async fn try_commit(
        &self,
        begun: &Begun,
        tables: &Tables,
        target: &TableTarget,
        files: &[StagedFile],
        once: Option<&Once>,
    ) -> Result<Tried, Error> {
        let (id, table) = (&begun.spec.id, &target.definition.id);
        let written = Written::of(files.iter().filter(|file| file.rows > 0));
        let before = match &target.how {
            How::Create { .. } | How::Lease { .. } => None,
            How::Append | How::Overwrite => {
                Some(tables.current(table).await?.ok_or_else(|| dropped(target))?)
            }
        };
        let replace = matches!(target.how, How::Overwrite);
        let data = tables.data_files(table, files)?;
        let change = tables.change(table, before.as_ref(), data, replace).await?;
        let over = WriteState::Over {
            at: now_millis() + LEFT_FOR.as_millis() as u64,
            left: match &target.how {
                How::Lease { .. } => Left::Leased { table: table.clone(), handle: target.name.clone() },
                _ => Left::InTable { table: table.clone() },
            },
        };
        let (ours, noted) = self.writes.change(id, over)?;
        let record = ours.key.clone();
        let mut preconditions = vec![ours];
        preconditions.extend(change.preconditions.clone());
        let mut writes = change.writes.clone();
        writes.push(noted);
        if replace {
            writes.push(self.writes.note_unnamed(table, READ_UNTIL)?);
        }
        let text = Outcome::Written(written.clone()).to_text()?;
        let once = once.map(|once| once.with_outcome(text));
        let made = match &target.how {
            How::Create { replaces } => {
                let definition = Definition::Managed(target.definition.clone());
                let parts = (preconditions, writes);
                self.catalog
                    .of(&target.namespace)
                    .create_with(
                        &target.schema,
                        &target.name,
                        &definition,
                        replaces.as_deref(),
                        parts,
                        once.as_ref(),
                    )
                    .await
            }
            How::Lease { ttl, owner } => {
                let (absent, lease) =
                    self.handles.lease_table(owner, &target.name, &target.definition, *ttl).await?;
                preconditions.push(absent);
                writes.push(lease);
                commit_once(self.writes.meta().as_ref(), preconditions, writes, once.as_ref()).await
            }
            How::Append | How::Overwrite => {
                preconditions.push(Precondition {
                    key: Key::CatalogTable {
                        schema: target.namespace.stored(&target.schema)?,
                        table: target.name.clone(),
                    }
                    .encode(),
                    expect: Expect::Exists,
                });
                commit_once(self.writes.meta().as_ref(), preconditions, writes, once.as_ref()).await
            }
        };
        match made? {
            OnceOutcome::Made { revision } => {
                self.writes.changed(id, revision);
                self.writes.abandon(id);
                if let Some(before) = &before {
                    tables.discard_before(table, before).await;
                }
                Ok(Tried::Done(written))
            }
            OnceOutcome::MadeBefore(told) => {
                let ours = self.has_taken_place(id).await?;
                if !ours {
                    tables.discard(table, &change.manifest).await;
                    self.writes.over(id, Left::InTable { table: table.clone() }, LEFT_FOR).await;
                }
                Ok(Tried::Done(self.told(&told).await?))
            }
            OnceOutcome::Conflict { key } => {
                // Our own commit, of which no answer came, may be what is in the way.
                if self.has_taken_place(id).await? {
                    self.writes.abandon(id);
                    return Ok(Tried::Done(written));
                }
                tables.discard(table, &change.manifest).await;
                if key == record {
                    return Ok(Tried::Refused(taken_over(id)));
                }
                Ok(match &target.how {
                    How::Create { replaces: None } | How::Lease { .. } => {
                        Tried::Refused(exists_already(&target.schema, &target.name))
                    }
                    How::Create { replaces: Some(_) } => Tried::Refused(changed_meanwhile(&target.name)),
                    How::Append | How::Overwrite => Tried::Again,
                })
            }
            OnceOutcome::Unknown(error) => {
                tracing::info!(write = id, %error, "a commit is looked for, and tried again");
                Ok(Tried::Again)
            }
        }
    }

    /// Whether a write's commit was made.
    async fn has_taken_place(&self, id: &str) -> Result<bool, Error> {
        Ok(match self.writes.get(id).await? {
            Some(open) => {
                open.record.owner == self.writes.owner()
                    && matches!(open.record.state, WriteState::Over { .. })
            }
            None => false,
        })
    }
}

fn dropped(target: &TableTarget) -> Error {
    Error::new(
        ErrorKind::TableNotFound,
        format!("`{}` was dropped while rows were written for it", target.name),
    )
}
