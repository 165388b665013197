//! What queries see of the streams of this process.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::execution::object_store::ObjectStoreUrl;
use futures::stream::BoxStream;
use polarway_common::{Error, ErrorKind};
use polarway_engine::live::{HotQuery, HotRows, HotSlice, SealedFile, StreamView};

use super::Host;
use crate::hot::{self, HotSnapshot};
use crate::seal::ticks_per_second;
use crate::stream::{Live, View};

/// Rows of one slice: fewer are read by one thread as soon as by several.
const SLICE_ROWS: u64 = 256 << 10;
const MAX_SLICES: u64 = 8;

/// The rows of a stream at one moment.
#[derive(Debug)]
pub struct Seen {
    pub files: Vec<SealedFile>,
    /// Places of rows that owners before may have in their logs.
    pub missing: Vec<Range<u64>>,
    hot: HotSnapshot,
}

impl Seen {
    /// Rows in memory, as places in the stream.
    pub fn hot(&self) -> Range<u64> {
        self.hot.from..self.hot.to
    }

    /// For queries of this process.
    pub fn into_view(self, store: &ObjectStoreUrl, stream: &str, owner: &str) -> StreamView {
        let hot = self.hot();
        StreamView {
            store: store.clone(),
            files: self.files,
            slices: slices(hot.clone(), stream, owner),
            end: hot.end,
            missing: self.missing,
            rows: Arc::new(Pinned(self.hot)),
        }
    }
}

pub fn seen(live: &Live) -> Seen {
    let view = live.view();
    let files = view
        .manifest()
        .segments
        .iter()
        .map(|segment| SealedFile {
            path: live.full_path(segment),
            bytes: segment.bytes,
            rows: segment.rows,
            events: segment.events.map(|events| (events.first, events.last)),
        })
        .collect();
    let missing = view.manifest().owed.iter().map(|owed| owed.from..owed.to).collect();
    Seen { files, missing, hot: view.hot }
}

/// The latest event time of all rows, in milliseconds since 1970; none where they have none.
pub fn latest_event(live: &Live, view: &View) -> Option<i64> {
    let column = live.options().layout.event_time?;
    let hot = view.hot.runs.iter().filter_map(|run| ticks(&run.range(column)?.1));
    let sealed = view.manifest().segments.iter().filter_map(|segment| Some(segment.events?.last));
    let ticks_per_second = ticks_per_second(live.options().schema.field(column).data_type());
    let latest = i128::from(hot.chain(sealed).max()?);
    i64::try_from(latest * 1000 / i128::from(ticks_per_second)).ok()
}

/// A time as a number of its unit.
fn ticks(time: &ScalarValue) -> Option<i64> {
    match time {
        ScalarValue::TimestampSecond(ticks, _)
        | ScalarValue::TimestampMillisecond(ticks, _)
        | ScalarValue::TimestampMicrosecond(ticks, _)
        | ScalarValue::TimestampNanosecond(ticks, _) => *ticks,
        _ => None,
    }
}

/// Cuts rows into slices of like size.
pub fn slices(rows: Range<u64>, stream: &str, owner: &str) -> Vec<HotSlice> {
    let from = rows.start;
    let rows = rows.end.saturating_sub(from);
    let count = rows.div_ceil(SLICE_ROWS).min(MAX_SLICES);
    let place = |index: u64| from + rows * index / count;
    (0..count)
        .map(|index| HotSlice {
            stream: stream.to_owned(),
            owner: owner.to_owned(),
            from: place(index),
            to: place(index + 1),
        })
        .collect()
}

/// Rows that a plan keeps in memory.
#[derive(Debug)]
struct Pinned(HotSnapshot);

#[async_trait]
impl HotRows for Pinned {
    async fn read(
        &self,
        slice: &HotSlice,
        query: &HotQuery,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        Ok(hot::read(self.0.part(slice.from, slice.to), query))
    }
}

/// Reads for plans that were sent.
#[async_trait]
impl HotRows for Host {
    async fn read(
        &self,
        slice: &HotSlice,
        query: &HotQuery,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let external = |error: Error| DataFusionError::External(Box::new(error));
        let open = self.by_id(&slice.stream).map_err(external)?;
        let held = open.live.held(slice.from, slice.to).ok_or_else(|| {
            external(Error::new(ErrorKind::SnapshotTooOld, format!("{slice} have left memory")))
        })?;
        Ok(hot::read(held, query))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_hold_each_row_once() {
        for count in [0u64, 1, SLICE_ROWS, SLICE_ROWS + 1, SLICE_ROWS * 100] {
            let slices = slices(7..7 + count, "s", "here:1");
            assert!(slices.len() as u64 <= MAX_SLICES);
            assert_eq!(slices.iter().map(HotSlice::rows).sum::<u64>(), count);
            assert!(slices.windows(2).all(|pair| pair[0].to == pair[1].from));
        }
    }
}
