//! The files that a finished task has written.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ballista_core::execution_plans::create_shuffle_path;
use ballista_core::execution_plans::sort_shuffle::{ShuffleIndex, get_index_path};
use ballista_core::serde::protobuf::SuccessfulTask;
use ballista_core::serde::scheduler::ShuffleLayout;
use polarway_common::{Attempt, Writer};
use polarway_storage::shuffle::{FileKind, FileName, Output, OutputFile, OutputId};
use prost::Message;

use super::memo::MemoKey;
use super::names::file_name;
use crate::ledger::TaskId;

/// The output of a task that reported `success`; none if it is nobody's or an earlier attempt's. Reads the lengths of files
/// and their indices: not for threads that must not wait.
///
/// # Errors
/// A file is not there or cannot be read, for example because the job was removed meanwhile.
pub fn output_of(
    work_dir: &Path,
    wrote: &TaskId,
    memo: Option<MemoKey>,
    success: &SuccessfulTask,
) -> io::Result<Option<Output>> {
    let (Ok(Attempt { run, number: attempt }), Ok(stage), Ok(task)) =
        (wrote.job.parse(), u32::try_from(wrote.stage), u32::try_from(wrote.task))
    else {
        return Ok(None);
    };
    let mut files: BTreeMap<FileName, OutputFile> = BTreeMap::new();
    for partition in &success.partitions {
        let writer = Writer::from(partition.file_id.unwrap_or(u64::from(task)));
        if writer != (Writer { attempt: None, task }) {
            return Ok(None);
        }
        let number = partition.partition_id as usize;
        let layout = if partition.is_sort_shuffle { ShuffleLayout::Sort } else { ShuffleLayout::Passthrough };
        let Some(data) = file_name(layout, number, FileKind::Data) else { return Ok(None) };
        if files.contains_key(&data) {
            continue;
        }
        let (job, sorted) = (wrote.job.as_str().into(), partition.is_sort_shuffle);
        let path = create_shuffle_path(work_dir, &job, wrote.stage, number, partition.file_id, sorted)
            .map_err(io::Error::other)?;
        let mut at = vec![];
        if sorted {
            let index = FileName { kind: FileKind::Index, ..data };
            let beside = get_index_path(&path);
            at = cuts(&beside)?;
            files.insert(index, file(index, beside, vec![])?);
        }
        files.insert(data, file(data, path, at)?);
    }
    Ok(Some(Output {
        id: OutputId { run, attempt, stage, task },
        memo,
        summary: success.encode_to_vec().into(),
        files: files.into_values().collect(),
    }))
}

fn file(name: FileName, path: PathBuf, cuts: Vec<u64>) -> io::Result<OutputFile> {
    let length = fs::metadata(&path)?.len();
    Ok(OutputFile { name, path, length, cuts })
}

/// Where partitions begin.
fn cuts(index: &Path) -> io::Result<Vec<u64>> {
    let index = ShuffleIndex::read_from_file(index).map_err(io::Error::other)?;
    let mut cuts: Vec<u64> =
        (0..index.partition_count()).map(|partition| index.get_partition_range(partition).0 as u64).collect();
    cuts.dedup();
    Ok(cuts)
}
