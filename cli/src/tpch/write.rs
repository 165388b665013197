//! Writes the files of a plan in parallel, each in the memory of one row group.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::plan::{DataFile, Plan};
use super::table::Table;

/// Small enough that several tasks share a file and that statistics rule row groups out, large enough to compress.
const ROW_GROUP_ROWS: usize = 256 * 1024;

#[derive(Debug, Error)]
pub enum GenerateError {
    #[error("{} is not empty; choose another directory or remove it", .0.display())]
    NotEmpty(PathBuf),
    #[error("cannot write {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Parquet { path: PathBuf, source: ParquetError },
    #[error("cannot make rows of {table}: {source}")]
    Rows { table: Table, source: ArrowError },
    #[error("a thread that makes data failed")]
    Thread,
    #[error("interrupted")]
    Interrupted,
}

/// A file that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    pub table: Table,
    pub rows: u64,
    pub bytes: u64,
}

/// Writes all files of `plan` with `threads` threads. `wrote` is told of rows as they are written; when `stop` is
/// cancelled, unfinished files disappear.
pub fn write_all(
    plan: &Plan,
    threads: usize,
    stop: &CancellationToken,
    wrote: impl Fn(u64) + Sync,
) -> Result<Vec<Written>, GenerateError> {
    let files = plan.files();
    for file in &files {
        prepare(plan, file)?;
    }
    let next = AtomicUsize::new(0);
    let written = Mutex::new(Ok(vec![]));
    let work = || {
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = write(plan.scale_factor, file, stop, &wrote);
            let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
            match (&mut *written, outcome) {
                (Ok(all), Ok(one)) => all.push(one),
                (Ok(_), Err(error)) => {
                    // The other threads need not finish what nobody will use.
                    stop.cancel();
                    *written = Err(error);
                }
                (Err(_), _) => {}
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.clamp(1, files.len().max(1))).map(|_| scope.spawn(work)).collect();
        let panicked = workers.into_iter().filter_map(|worker| worker.join().err()).count();
        if panicked == 0 { Ok(()) } else { Err(GenerateError::Thread) }
    })?;
    written.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a table's directory. Files of an earlier run in it would become part of the table.
fn prepare(plan: &Plan, file: &DataFile) -> Result<(), GenerateError> {
    if file.part > 1 {
        return Ok(());
    }
    let directory = plan.directory(file.table);
    let cannot = |source| GenerateError::Io { path: directory.clone(), source };
    std::fs::create_dir_all(&directory).map_err(cannot)?;
    let mut entries = std::fs::read_dir(&directory).map_err(cannot)?;
    if entries.next().is_some() { Err(GenerateError::NotEmpty(directory)) } else { Ok(()) }
}

fn write(
    scale_factor: f64,
    file: &DataFile,
    stop: &CancellationToken,
    wrote: &impl Fn(u64),
) -> Result<Written, GenerateError> {
    let io_error = |source| GenerateError::Io { path: file.path.clone(), source };
    let parquet_error = |source| GenerateError::Parquet { path: file.path.clone(), source };
    if stop.is_cancelled() {
        return Err(GenerateError::Interrupted);
    }
    let batches = file.table.generate(scale_factor, file.part, file.parts);
    // A temporary file disappears unless it is renamed, so the directory only ever holds whole files.
    let temporary = tempfile::Builder::new()
        .prefix(".part-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(file.path.parent().unwrap_or(Path::new(".")))
        .map_err(io_error)?;
    let options = ArrowWriterOptions::new()
        .with_properties(properties().map_err(parquet_error)?)
        // Without Arrow's own schema any reader picks the string and decimal types it likes.
        .with_skip_arrow_metadata(true);
    let mut writer =
        ArrowWriter::try_new_with_options(temporary, batches.schema(), options).map_err(parquet_error)?;
    let mut rows = 0;
    for batch in batches {
        if stop.is_cancelled() {
            return Err(GenerateError::Interrupted);
        }
        let batch = batch.map_err(|source| GenerateError::Rows { table: file.table, source })?;
        writer.write(&batch).map_err(parquet_error)?;
        rows += batch.num_rows() as u64;
        wrote(batch.num_rows() as u64);
    }
    let temporary = writer.into_inner().map_err(parquet_error)?;
    let target = temporary.persist(&file.path).map_err(|error| io_error(error.error))?;
    let bytes = target.metadata().map_err(io_error)?.len();
    Ok(Written { table: file.table, rows, bytes })
}

fn properties() -> Result<WriterProperties, ParquetError> {
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::atomic::AtomicU64;

    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    fn plan(output: &Path, tables: Vec<Table>) -> Plan {
        Plan { scale_factor: 0.01, output: output.to_owned(), parts: Some(2), tables }
    }

    #[test]
    fn a_table_is_written_whole_in_its_parts() {
        let directory = tempfile::tempdir().unwrap();
        let plan = plan(directory.path(), vec![Table::Orders, Table::Nation]);
        let told = AtomicU64::new(0);
        let count = |rows| {
            told.fetch_add(rows, Ordering::Relaxed);
        };
        let written = write_all(&plan, 2, &CancellationToken::new(), count).unwrap();
        assert_eq!(written.iter().map(|file| file.rows).sum::<u64>(), 15_025);
        assert_eq!(told.into_inner(), 15_025);
        let mut keys = vec![];
        for file in plan.files() {
            let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file.path).unwrap()).unwrap();
            for batch in reader.build().unwrap() {
                let batch = batch.unwrap();
                if file.table == Table::Orders {
                    let column = batch.column(0).as_any().downcast_ref::<arrow::array::Int64Array>().unwrap();
                    keys.extend(column.values().iter().copied());
                }
            }
        }
        assert_eq!(keys.len(), 15_000);
        assert!(keys.is_sorted_by(|a, b| a < b), "no row is doubled and the parts follow each other");
    }

    #[test]
    fn a_directory_with_files_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let plan = plan(directory.path(), vec![Table::Region]);
        write_all(&plan, 1, &CancellationToken::new(), |_| {}).unwrap();
        let again = write_all(&plan, 1, &CancellationToken::new(), |_| {});
        assert!(matches!(again, Err(GenerateError::NotEmpty(path)) if path.ends_with("region")));
    }

    #[test]
    fn an_interrupted_run_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let plan = plan(directory.path(), vec![Table::Orders]);
        let stop = CancellationToken::new();
        let outcome = write_all(&plan, 1, &stop, |_| stop.cancel());
        assert!(matches!(outcome, Err(GenerateError::Interrupted)));
        assert_eq!(std::fs::read_dir(plan.directory(Table::Orders)).unwrap().count(), 0);
    }
}
