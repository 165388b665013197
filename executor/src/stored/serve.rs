//! Shuffle files that this executor does not have, given from their stored copies: any executor can stand in for one
//! that is gone.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow_flight::Result as Block;
use ballista_core::execution_plans::create_shuffle_path;
use ballista_core::serde::scheduler::{Action, ByteRange, ShuffleFileKind, ShuffleLayout};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use polarway_common::{Error, ErrorKind};
use polarway_proto::ticket::ResultPartition;
use polarway_storage::shuffle::{FileKind, FileName, StoredOutput};
use tokio::io::AsyncWriteExt;

use super::Stored;
use super::names::file_name;

/// Bytes of a shuffle file as they are asked for.
pub type Blocks = BoxStream<'static, Result<Block, Error>>;

/// A request for (parts of) a file.
#[derive(Debug)]
pub struct Wanted {
    job: String,
    stage: usize,
    partition: usize,
    file_id: u64,
    layout: ShuffleLayout,
    kind: FileKind,
    ranges: Vec<ByteRange>,
}

impl Wanted {
    /// `None` for files that have no stored copies.
    pub fn of(action: Action) -> Option<Self> {
        let Action::FetchPartition {
            job_id,
            stage_id,
            partition_id,
            file_id,
            layout,
            file_kind,
            byte_ranges,
            ..
        } = action;
        let kind = match file_kind {
            ShuffleFileKind::Data => FileKind::Data,
            ShuffleFileKind::Index => FileKind::Index,
        };
        Some(Self {
            job: job_id.to_string(),
            stage: stage_id,
            partition: partition_id,
            file_id: file_id?,
            layout,
            kind,
            ranges: byte_ranges,
        })
    }

    /// Whether the file is here.
    pub fn is_in(&self, work_dir: &Path) -> bool {
        let (job, sorted) = (self.job.as_str().into(), self.layout == ShuffleLayout::Sort);
        create_shuffle_path(work_dir, &job, self.stage, self.partition, Some(self.file_id), sorted)
            .is_ok_and(|path| path.exists())
    }
}

impl Stored {
    /// The file's bytes, as Ballista's own service would give them if the file were here.
    ///
    /// # Errors
    /// `ExecutorLost` if there is no copy: what it would be of has to be computed again. Those of the store.
    pub async fn blocks(&self, wanted: Wanted) -> Result<Blocks, Error> {
        let output = self.output(&wanted.job, wanted.stage, wanted.file_id).await?;
        let name = file_name(wanted.layout, wanted.partition, wanted.kind).ok_or_else(no_copy)?;
        let length = output.file(name).ok_or_else(no_copy)?;
        let ranges = if !wanted.ranges.is_empty() {
            wanted.ranges.iter().map(|range| clamped(range, length)).collect()
        } else if wanted.layout == ShuffleLayout::Sort && wanted.kind == FileKind::Data {
            self.of_partition(&output, name, wanted.partition).await?
        } else {
            vec![whole(length)]
        };
        Ok(stream_of(output, name, ranges))
    }

    /// Puts the file of a result's partition where it would be if it had been written here.
    ///
    /// # Errors
    /// As [`Stored::blocks`]; `StoreUnavailable` if the disk does not take it.
    pub async fn fetch(&self, partition: &ResultPartition, path: &Path) -> Result<(), Error> {
        let layout = if partition.sort_layout { ShuffleLayout::Sort } else { ShuffleLayout::Passthrough };
        let (stage, number) = (partition.stage_id as usize, partition.partition_id as usize);
        let output = self.output(&partition.job_id, stage, partition.file_id.ok_or_else(no_copy)?).await?;
        let name = file_name(layout, number, FileKind::Data).ok_or_else(no_copy)?;
        let length = output.file(name).ok_or_else(no_copy)?;
        let fault = |error: std::io::Error| {
            Error::new(ErrorKind::StoreUnavailable, format!("a stored result cannot be put on disk: {error}"))
        };
        let directory = path.parent().ok_or_else(no_copy)?;
        tokio::fs::create_dir_all(directory).await.map_err(fault)?;
        // Several may fetch it at once; each puts the whole file there.
        let unfinished = directory.join(format!(".{}", uuid::Uuid::now_v7().simple()));
        let mut blocks = stream_of(output, name, vec![whole(length)]);
        let written = async {
            let mut file = tokio::fs::File::create(&unfinished).await.map_err(fault)?;
            while let Some(block) = blocks.try_next().await? {
                file.write_all(&block.body).await.map_err(fault)?;
            }
            file.flush().await.map_err(fault)?;
            tokio::fs::rename(&unfinished, path).await.map_err(fault)
        };
        let outcome = written.await;
        if outcome.is_err() {
            // It may not even have been made.
            let _ = tokio::fs::remove_file(&unfinished).await;
        }
        outcome
    }

    /// The header, from which a reader has the schema, and the partition.
    async fn of_partition(
        &self,
        output: &Arc<StoredOutput>,
        data: FileName,
        partition: usize,
    ) -> Result<Vec<Range<u64>>, Error> {
        let index = FileName { kind: FileKind::Index, ..data };
        let length = output.file(index).ok_or_else(no_copy)?;
        let bytes = self.bytes(output, index, 0..length).await?;
        let offset = |at: usize| {
            let bytes = bytes.get(at * 8..(at + 1) * 8)?;
            u64::try_from(i64::from_le_bytes(bytes.try_into().ok()?)).ok()
        };
        let (Some(header), Some(start), Some(end)) = (offset(0), offset(partition), offset(partition + 1))
        else {
            return Err(Error::new(
                ErrorKind::ExecutorLost,
                format!("the index of a stored output has no partition {partition}"),
            ));
        };
        Ok(vec![0..header, start..end])
    }

    async fn bytes(
        &self,
        output: &Arc<StoredOutput>,
        name: FileName,
        range: Range<u64>,
    ) -> Result<Vec<u8>, Error> {
        let parts: Vec<Bytes> = output.read(name, range)?.try_collect().await?;
        Ok(parts.concat())
    }
}

/// One range after the other.
fn stream_of(output: Arc<StoredOutput>, name: FileName, ranges: Vec<Range<u64>>) -> Blocks {
    stream::iter(ranges)
        .map(move |range| Ok::<_, Error>(output.read(name, range)?.map_err(Error::from)))
        .try_flatten()
        .map_ok(|body| Block { body })
        .map_err(lost)
        .boxed()
}

/// A copy that is not there or not right has lost its entry: what it is of has to be computed again.
fn lost(error: Error) -> Error {
    match error.kind {
        ErrorKind::FileNotFound | ErrorKind::CorruptFile => {
            Error::new(ErrorKind::ExecutorLost, format!("a stored copy cannot be read: {}", error.message))
        }
        _ => error,
    }
}

fn whole(length: u64) -> Range<u64> {
    0..length
}

fn clamped(range: &ByteRange, length: u64) -> Range<u64> {
    let start = range.offset.min(length);
    start..range.offset.saturating_add(range.length).min(length)
}

/// What is said of an output that has neither its writer nor a copy.
pub fn no_copy() -> Error {
    Error::new(ErrorKind::ExecutorLost, "there is no stored copy of a shuffle file")
}
