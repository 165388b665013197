//! Streams that are fetched: a feed runs once the stream and the tables beside it are open.

use std::sync::Arc;

use async_trait::async_trait;
use polarway_common::{Error, TaskKind};
use polarway_storage::catalog::StreamDefinition;
use tokio_util::sync::CancellationToken;

use super::{Host, Open};
use crate::decode::BadRows;
use crate::durability::Durability;
use crate::feed::DeadLetters;
use crate::pull::{
    Ended, FeedBatch, FeedSink, FeedStatus, PullFeed, PullOptions, RandomJitter, SinkError, StatusSnapshot,
    gap_batch,
};
use crate::stream::{Appended, FrameRows, Live, LiveError};

/// Whose rows a feed's are. No client can have the name: it has a space.
const PRODUCER: &str = "polarway feed";

/// A feed that runs.
#[derive(Debug)]
pub(super) struct FeedTask {
    stop: CancellationToken,
    ended: CancellationToken,
    status: Arc<FeedStatus>,
}

impl Open {
    /// Ends the feed, if there is one; what it has read is stored first, if that is possible.
    pub(super) async fn stop_feed(&self) {
        let ended = self.feed.lock().as_ref().map(|task| {
            task.stop.cancel();
            task.ended.clone()
        });
        if let Some(ended) = ended {
            ended.cancelled().await;
        }
    }

    pub(super) fn feed_status(&self) -> Option<StatusSnapshot> {
        self.feed.lock().as_ref().map(|task| task.status.snapshot())
    }

    /// `connected`, or why not.
    pub(super) fn feed_state(&self) -> Option<String> {
        self.definition.options.feed.as_ref()?;
        Some(match self.feed_status() {
            None => "not running: see the log of its owner".to_owned(),
            Some(status) if status.connected => "connected".to_owned(),
            Some(status) => {
                format!("not connected: {}", status.last_error.as_deref().unwrap_or("dialling"))
            }
        })
    }
}

impl Host {
    /// The feed of a stream, as its definition has it.
    pub(super) fn pull_feed(
        &self,
        schema: &str,
        name: &str,
        definition: &StreamDefinition,
    ) -> Result<Option<PullFeed>, Error> {
        let Some(spec) = definition.options.feed.clone() else { return Ok(None) };
        let feed = PullFeed::new(
            format!("{schema}.{name}"),
            *spec,
            definition.schema()?,
            Arc::clone(&self.options.feeds),
            PullOptions::default(),
            Arc::clone(&self.options.clock),
            Box::new(RandomJitter),
        )?;
        Ok(Some(feed))
    }

    /// Starts the feed of a stream if it has one that does not run, and its tables are open.
    pub(super) fn start_feed(&self, open: &Arc<Open>) -> Result<(), Error> {
        let Some(feed) = self.pull_feed(&open.schema, &open.name, &open.definition)? else { return Ok(()) };
        let (Some(letters), Some(gaps)) = (self.dead_letters_of(open), self.gaps_of(open)) else {
            return Ok(());
        };
        let mut running = open.feed.lock();
        if running.is_some() {
            return Ok(());
        }
        let tables = [&open.live, &letters.live, &gaps.live].map(Arc::clone);
        let base = tables.iter().map(|live| live.last(PRODUCER)).max().unwrap_or_default();
        let [rows, letters, gaps] = tables;
        let sink = Arc::new(Sink { rows, letters, gaps, base });
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        *running = Some(FeedTask { stop: stop.clone(), ended: ended.clone(), status: feed.status() });
        let name = format!("feed of {}.{}", open.schema, open.name);
        let _here = self.runtime.enter();
        self.supervisor.spawn(name.clone(), TaskKind::Background, async move {
            let _ended = ended.drop_guard();
            match feed.run(sink, stop).await {
                Ok(Ended::Stored) => Ok(()),
                Ok(Ended::NotStored { rows }) => {
                    tracing::warn!(feed = name, rows, "rows that were read last are not stored");
                    Ok(())
                }
                Err(error) => Err(error.into()),
            }
        });
        Ok(())
    }

    fn gaps_of(&self, open: &Open) -> Option<Arc<Open>> {
        let of = |other: &&Arc<Open>| {
            other.schema == open.schema && other.definition.gaps_of.as_ref() == Some(&open.name)
        };
        self.open.read().values().find(of).cloned()
    }

    /// Ends all feeds.
    pub async fn stop_feeds(&self) {
        let all = self.all();
        futures::future::join_all(all.iter().map(|open| open.stop_feed())).await;
    }
}

/// Where a feed's batches go. Each has a number that grows over restarts, so that one that is offered again after a failure
/// half way is stored once.
struct Sink {
    rows: Arc<Live>,
    letters: Arc<Live>,
    gaps: Arc<Live>,
    /// The last number of the run before.
    base: u64,
}

impl Sink {
    async fn store(&self, batch: FeedBatch) -> Result<(), LiveError> {
        let number = self.base + batch.number;
        let producer: Arc<str> = PRODUCER.into();
        let mut on_the_way: Vec<(&Live, Appended)> = vec![];
        if !batch.bad.is_empty() {
            let mut dead = DeadLetters::new(batch.received_micros, Some(Arc::clone(&producer)));
            dead.frame(number);
            batch.bad.iter().for_each(|row| dead.bad(row.as_bad_row()));
            let (letters, counts) = dead.finish().map_err(datafusion_error)?;
            on_the_way.push((&self.letters, self.letters.append(letters, Some(&producer), &counts).await?));
        }
        if !batch.gaps.is_empty() {
            let gaps = gap_batch(&batch.gaps).map_err(datafusion_error)?;
            let counts = [FrameRows { number, rows: gaps.num_rows() }];
            on_the_way.push((&self.gaps, self.gaps.append(gaps, Some(&producer), &counts).await?));
        }
        if batch.rows.num_rows() > 0 {
            let counts = [FrameRows { number, rows: batch.rows.num_rows() }];
            on_the_way.push((&self.rows, self.rows.append(batch.rows, Some(&producer), &counts).await?));
        }
        // The exchange sends nothing twice: what the log did not take is kept by the feed and offered again.
        for (live, appended) in on_the_way {
            live.reached(appended, Durability::Wal).await?;
        }
        Ok(())
    }
}

fn datafusion_error(error: arrow::error::ArrowError) -> LiveError {
    LiveError::Rows(error.into())
}

#[async_trait]
impl FeedSink for Sink {
    async fn write(&self, batch: FeedBatch) -> Result<(), SinkError> {
        self.store(batch).await.map_err(|error| SinkError(error.to_string()))
    }
}
