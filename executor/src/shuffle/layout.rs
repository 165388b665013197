//! A task's shuffle output as one file and its index, in the layout of Ballista's sort shuffle: a stream that tells the
//! schema, then the streams of output partition 0 from all inputs, then those of partition 1, and so on. The index holds
//! where each partition begins.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use ballista_core::execution_plans::sort_shuffle::{ShuffleIndex, get_index_path};
use datafusion::common::{DataFusionError, Result};

use super::buckets::{Bucketed, Counts};

/// One output partition in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    pub counts: Counts,
    pub bytes: u64,
}

/// Writes the file at `path` and its index beside it; gives what each of the `partitions` has got.
pub fn write(
    path: &Path,
    schema: &SchemaRef,
    options: &IpcWriteOptions,
    inputs: &[Bucketed],
    partitions: usize,
) -> Result<Vec<Written>> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut header = StreamWriter::try_new_with_options(vec![], schema, options.clone())?;
    header.finish()?;
    let header = header.into_inner()?;
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&header)?;

    let mut position = header.len() as u64;
    let mut index = ShuffleIndex::new(partitions);
    let mut written = Vec::with_capacity(partitions);
    for partition in 0..partitions {
        index.set_offset(partition, offset(position)?);
        let mut one = Written { counts: Counts::default(), bytes: 0 };
        for input in inputs {
            let counts = input.counts(partition);
            one.bytes += input.write_to(partition, &mut file)?;
            one.counts.rows += counts.rows;
            one.counts.batches += counts.batches;
        }
        position += one.bytes;
        written.push(one);
    }
    file.flush()?;
    index.set_total_length(offset(position)?);
    index.write_to_file(&get_index_path(path)).map_err(|error| DataFusionError::External(Box::new(error)))?;
    Ok(written)
}

fn offset(position: u64) -> Result<i64> {
    i64::try_from(position)
        .map_err(|_| DataFusionError::Internal("a shuffle file is larger than files can be".to_owned()))
}
