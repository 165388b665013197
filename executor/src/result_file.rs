//! A partition of a staged result, read from its file in steps. Each step is one hop to a blocking thread, so that no
//! thread is held while the client is slow; one step is read ahead. A small file is one step.
//!
//! Rows are counted: Arrow's reader takes a file that was cut between two messages for a whole one.

use std::fmt::Display;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::record_batch::RecordBatch;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use polarway_common::{Error, ErrorKind};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// A step ends with the batch that takes it past this.
const STEP_BYTES: usize = 1024 * 1024;

/// Opens the file at `path`, which should hold `rows`, and reads its first step on `blocking`'s threads. Gives the
/// file's schema and its batches.
///
/// # Errors
/// `ExecutorLost` when the file is gone, cannot be read or holds another number of rows. The stream fails alike.
pub async fn open(
    blocking: Handle,
    path: PathBuf,
    rows: Option<u64>,
) -> Result<(SchemaRef, impl Stream<Item = Result<RecordBatch, Error>> + Send + 'static), Error> {
    let opening = blocking.spawn_blocking(move || -> Result<(SchemaRef, Step), Error> {
        let file = ResultFile::open(&path, rows)?;
        Ok((file.reader.schema(), file.step()?))
    });
    let (schema, first) = joined(opening).await?;
    let reading = first.rest.map(|file| file.step_on(&blocking));
    let rest = stream::try_unfold(reading, move |reading| {
        let blocking = blocking.clone();
        async move {
            let Some(reading) = reading else { return Ok(None) };
            let step = joined(reading).await?;
            let next = step.rest.map(|file| file.step_on(&blocking));
            Ok::<_, Error>(Some((step.batches, next)))
        }
    });
    let steps = stream::iter([Ok::<_, Error>(first.batches)]).chain(rest);
    let batches = steps.map_ok(|step| stream::iter(step.into_iter().map(Ok::<_, Error>))).try_flatten();
    Ok((schema, batches))
}

/// What is said of a file that cannot be read.
pub fn gone(cause: impl Display) -> Error {
    lost(format!("a result partition is gone: {cause}"))
}

fn damaged(cause: impl Display) -> Error {
    lost(format!("a result partition is damaged: {cause}"))
}

/// The rows were here and are not any more: the query has to run again.
fn lost(message: String) -> Error {
    Error::new(ErrorKind::ExecutorLost, message).with_hint("submit the query again")
}

/// A reader that panicked has not come to the end of its file.
async fn joined<T>(reading: JoinHandle<Result<T, Error>>) -> Result<T, Error> {
    reading.await.unwrap_or_else(|failure| Err(damaged(failure)))
}

struct ResultFile {
    reader: StreamReader<BufReader<File>>,
    rows: Option<u64>,
    seen: u64,
}

struct Step {
    batches: Vec<RecordBatch>,
    /// The file, unless this was its end.
    rest: Option<ResultFile>,
}

impl ResultFile {
    fn open(path: &Path, rows: Option<u64>) -> Result<Self, Error> {
        let file = File::open(path).map_err(gone)?;
        let reader = StreamReader::try_new_buffered(file, None).map_err(gone)?;
        Ok(Self { reader, rows, seen: 0 })
    }

    fn step_on(self, blocking: &Handle) -> JoinHandle<Result<Step, Error>> {
        blocking.spawn_blocking(move || self.step())
    }

    fn step(mut self) -> Result<Step, Error> {
        let mut batches = vec![];
        let mut bytes = 0;
        while bytes < STEP_BYTES {
            let Some(batch) = self.reader.next() else {
                self.check()?;
                return Ok(Step { batches, rest: None });
            };
            let batch = batch.map_err(damaged)?;
            self.seen += batch.num_rows() as u64;
            // Counts memory that columns share once for each of them: steps are smaller then, never larger.
            bytes += batch.get_array_memory_size();
            batches.push(batch);
        }
        Ok(Step { batches, rest: Some(self) })
    }

    fn check(&self) -> Result<(), Error> {
        match self.rows {
            Some(rows) if rows != self.seen => {
                Err(damaged(format!("{} of {rows} rows were read", self.seen)))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use arrow::ipc::writer::StreamWriter;

    use super::*;

    /// Rows of a batch that is a step by itself.
    const LARGE: usize = STEP_BYTES / 8 + 1;

    /// A file of `batches` batches with `rows` rows each, and its length after each batch.
    fn written(batches: usize, rows: usize) -> (Vec<u8>, Vec<usize>) {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let mut writer = StreamWriter::try_new(Vec::<u8>::new(), &schema).unwrap();
        let mut lengths = vec![];
        for _ in 0..batches {
            let column = Arc::new(Int64Array::from(vec![7; rows]));
            writer.write(&RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap()).unwrap();
            lengths.push(writer.get_ref().len());
        }
        (writer.into_inner().unwrap(), lengths)
    }

    async fn rows_read(bytes: &[u8], rows: Option<u64>) -> Result<usize, Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data.arrow");
        std::fs::write(&path, bytes).unwrap();
        let (_, batches) = open(Handle::current(), path, rows).await?;
        let batches: Vec<RecordBatch> = batches.try_collect().await?;
        Ok(batches.iter().map(RecordBatch::num_rows).sum())
    }

    #[tokio::test]
    async fn a_file_is_read_whole_in_one_step_or_in_many() {
        for rows in [1, LARGE] {
            let (bytes, _) = written(3, rows);
            assert_eq!(rows_read(&bytes, Some(3 * rows as u64)).await, Ok(3 * rows));
            assert_eq!(rows_read(&bytes, None).await, Ok(3 * rows));
        }
        assert_eq!(rows_read(&written(0, 0).0, Some(0)).await, Ok(0));
    }

    #[tokio::test]
    async fn executor_death_a_result_file_that_is_cut_is_not_a_shorter_one() {
        for rows in [1, LARGE] {
            let (bytes, lengths) = written(3, rows);
            for kept in [1, 2] {
                let boundary = lengths[kept - 1];
                let error = rows_read(&bytes[..boundary], Some(3 * rows as u64)).await.unwrap_err();
                assert_eq!(error.kind, ErrorKind::ExecutorLost);
                let counted = format!("{} of {} rows", kept * rows, 3 * rows);
                assert!(error.message.contains(&counted), "{error}");
                // Nothing else shows it.
                assert_eq!(rows_read(&bytes[..boundary], None).await, Ok(kept * rows));
                let error = rows_read(&bytes[..boundary - 3], None).await.unwrap_err();
                assert_eq!(error.kind, ErrorKind::ExecutorLost);
            }
        }
    }

    #[tokio::test]
    async fn a_missing_or_empty_file_is_a_loss() {
        assert_eq!(rows_read(&[], Some(1)).await.unwrap_err().kind, ErrorKind::ExecutorLost);
        let missing = open(Handle::current(), "/no/such/file".into(), Some(1)).await;
        assert_eq!(missing.map(|_| ()).unwrap_err().kind, ErrorKind::ExecutorLost);
    }
}
