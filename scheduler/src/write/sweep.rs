//! Ends writes whose process is gone, and removes what writes and tables have left.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use polarway_common::{Error, ErrorKind};
use polarway_storage::writes::{Left, OpenWrite, WriteState, now_millis, remove_staging};
use tokio_util::sync::CancellationToken;

use super::Writing;
use super::commit::READ_UNTIL;
use super::run::LEFT_FOR;

const ROUND: Duration = Duration::from_secs(5);
/// How long nobody must have been at work on a write before it is given up: a member may be away for a moment.
const DESERTED: Duration = Duration::from_secs(10);

/// Looks for such writes until `stop`.
///
/// # Errors
/// None: what fails is tried again in the next round.
pub async fn sweep(writing: Writing, stop: CancellationToken) -> Result<(), Error> {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut deserted = HashMap::new();
    loop {
        tokio::select! {
            _ = rounds.tick() => {}
            () = stop.cancelled() => return Ok(()),
        }
        if let Some(Err(error)) = stop.run_until_cancelled(writing.round(&mut deserted)).await {
            tracing::warn!(%error, "writes that are over were not looked for");
        }
    }
}

impl Writing {
    async fn round(&self, deserted: &mut HashMap<String, Instant>) -> Result<(), Error> {
        let all = self.writes.all().await?;
        let mut gone = HashMap::new();
        for open in &all {
            let done = match &open.record.state {
                WriteState::Over { at, left } if *at <= now_millis() => self.clear(open, left).await,
                WriteState::Over { .. } => Ok(()),
                _ if self.is_at_work(open) => Ok(()),
                state => {
                    let since = deserted.get(&open.id).copied().unwrap_or_else(Instant::now);
                    gone.insert(open.id.clone(), since);
                    match since.elapsed() >= DESERTED {
                        true => self.settle(open, state).await,
                        false => Ok(()),
                    }
                }
            };
            if let Err(error) = done {
                tracing::warn!(write = open.id, %error, "a write was not settled; it is tried again");
            }
        }
        *deserted = gone;
        Ok(())
    }

    /// Ends a write that nobody carries out any more.
    async fn settle(&self, open: &OpenWrite, state: &WriteState) -> Result<(), Error> {
        let left = match state {
            WriteState::Publishing { .. } => return self.go_on_publishing(open).await,
            WriteState::WritingTable { table } => Left::InTable { table: table.clone() },
            WriteState::WritingFiles { place } => Left::InPlace { place: place.clone() },
            WriteState::Over { .. } => return Ok(()),
        };
        tracing::info!(write = open.id, "a write whose process is gone is given up");
        let at = now_millis() + LEFT_FOR.as_millis() as u64;
        self.writes.take(open, WriteState::Over { at, left }).await.map(drop)
    }

    async fn clear(&self, open: &OpenWrite, left: &Left) -> Result<(), Error> {
        match (left, &self.tables) {
            (Left::InPlace { place }, _) => remove_staging(place, &open.id).await?,
            (Left::InTable { table }, Some(tables)) => {
                let removed = tables.clear_write(table, &open.id).await?;
                if removed > 0 {
                    tracing::info!(
                        write = open.id,
                        removed,
                        "files of a write that nobody reads were removed"
                    );
                }
            }
            (Left::Unnamed { table }, Some(tables)) => {
                let under_way = async {
                    let all = self.writes.all().await?;
                    Ok(all.into_iter().map(|open| open.id).collect())
                };
                tables.clear_unnamed(table, under_way).await?;
            }
            (Left::Leased { table, handle }, Some(_)) => {
                match self.handles.holds(handle).await {
                    Err(error) if error.kind == ErrorKind::NotFound => {
                        self.writes.end_table(open, table, READ_UNTIL).await?;
                    }
                    Ok(()) | Err(_) => {}
                }
                return Ok(());
            }
            (Left::Table { table }, Some(tables)) => tables.clear_table(table).await?,
            // Whoever has a place for tables does it.
            (_, None) => return Ok(()),
        }
        self.writes.forget(&open.id, open.revision).await
    }
}
