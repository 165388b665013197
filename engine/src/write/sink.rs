//! Rows into files.

use datafusion::common::config::ConfigNonZeroUsize;
use std::path::Path as LocalPath;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::common::file_options::csv_writer::CsvWriterOptions;
use datafusion::common::file_options::json_writer::JsonWriterOptions;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::file_format::csv::CsvSink;
use datafusion::datasource::file_format::json::JsonSink;
use datafusion::datasource::file_format::parquet::ParquetSink;
use datafusion::datasource::listing::ListingTableUrl;
use datafusion::datasource::physical_plan::{FileGroup, FileOutputMode, FileSink, FileSinkConfig};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use object_store::path::Path;
use polarway_common::{Error, ErrorKind};
use polarway_storage::writes::{StagedFile, Staging, WriteAccess, staging_directory};

use super::spec::{FileFormat, Visibility, WriteSpec};
use super::store::{OneStore, Recorder, Waiting};
use crate::output::to_plain;

/// Writes all rows, and gives the files that they are in.
///
/// # Errors
/// Those of the rows; of the store; `Plan` for rows that have no place in a column or a directory. What was written is
/// removed then.
pub async fn write(
    spec: &WriteSpec,
    access: &WriteAccess,
    rows: SendableRecordBatchStream,
    context: &TaskContext,
) -> Result<Vec<StagedFile>> {
    let recorder = Arc::new(recorder(spec, access).map_err(external)?);
    // Also when nobody waits for the end any more.
    let abandoned = Abandoned(Some(Arc::clone(&recorder)));
    let written = write_to(spec, &recorder, rows, context).await;
    abandoned.over();
    if written.is_err() {
        recorder.give_up().await;
    }
    written
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Gives files up when it is dropped.
struct Abandoned(Option<Arc<Recorder>>);

impl Abandoned {
    fn over(mut self) {
        self.0 = None;
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        if let (Some(recorder), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            // It ends by itself: each of its requests has a time limit.
            runtime.spawn(async move { recorder.give_up().await });
        }
    }
}

fn recorder(spec: &WriteSpec, access: &WriteAccess) -> std::result::Result<Recorder, Error> {
    let store = access.store(&spec.place)?;
    let base = spec.directory().path()?;
    let waiting = match (spec.visibility, &store.multipart) {
        (Visibility::Written, _) => Waiting::InPlace,
        (Visibility::Published, Some(_)) => Waiting::AsUploads,
        (Visibility::Published, None) => {
            // Each attempt of a task has a directory of its own.
            let attempt = uuid::Uuid::new_v4().simple().to_string();
            Waiting::Below(staging_directory(&base, &spec.id).join(attempt))
        }
    };
    Ok(Recorder::new(store, base, waiting))
}

async fn write_to(
    spec: &WriteSpec,
    recorder: &Arc<Recorder>,
    rows: SendableRecordBatchStream,
    context: &TaskContext,
) -> Result<Vec<StagedFile>> {
    let schema = spec.schema().map_err(external)?;
    let rows = checked(spec, &schema, rows);
    let options = spec.table_options(context.session_config().options()).map_err(external)?;
    let mut config = context.session_config().clone();
    // Rows of one task are one file, in their order.
    config.options_mut().execution.minimum_parallel_output_files = ConfigNonZeroUsize::try_new(1)?;
    let env = RuntimeEnvBuilder::from_runtime_env(&context.runtime_env())
        .with_object_store_registry(Arc::new(OneStore(Arc::clone(recorder))))
        .build_arc()?;
    let context = Arc::new(TaskContext::new(
        context.task_id(),
        context.session_id(),
        config,
        Default::default(),
        Default::default(),
        Default::default(),
        Default::default(),
        env,
    ));
    let sink_config = sink_config(spec, &schema)?;
    let files = match spec.format {
        FileFormat::Parquet => {
            let sink = ParquetSink::new(sink_config, options.parquet);
            FileSink::write_all(&sink, rows, &context).await?;
            let written = sink.written();
            let mut files = recorder.files();
            for file in &mut files {
                let path = Path::parse(&file.path)?;
                let metadata = written
                    .get(&path)
                    .ok_or_else(|| DataFusionError::Internal(format!("`{path}` was written by nobody")))?;
                file.rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or_default();
            }
            files
        }
        FileFormat::Csv => {
            let sink = CsvSink::new(sink_config, CsvWriterOptions::try_from(&options.csv)?);
            let count = FileSink::write_all(&sink, rows, &context).await?;
            with_rows(recorder.files(), count)
        }
        FileFormat::Json => {
            let sink = JsonSink::new(sink_config, JsonWriterOptions::try_from(&options.json)?);
            let count = FileSink::write_all(&sink, rows, &context).await?;
            with_rows(recorder.files(), count)
        }
    };
    if spec.place.local().is_some() && spec.visibility == Visibility::Written {
        keep(&files).await?;
    }
    Ok(files)
}

/// The sinks of text do not tell how many rows went into which file.
fn with_rows(mut files: Vec<StagedFile>, rows: u64) -> Vec<StagedFile> {
    if let Some(first) = files.first_mut() {
        first.rows = rows;
    }
    files
}

fn sink_config(spec: &WriteSpec, schema: &SchemaRef) -> Result<FileSinkConfig> {
    let url = spec.place.url(!spec.single_file).map_err(external)?;
    let partitions = spec.partition_by.iter().map(|column| {
        let field = schema.field_with_name(column)?;
        Ok((column.clone(), field.data_type().clone()))
    });
    Ok(FileSinkConfig {
        original_url: url.to_string(),
        object_store_url: ObjectStoreUrl::parse(&spec.place.store)?,
        file_group: FileGroup::default(),
        table_paths: vec![ListingTableUrl::try_new(url, None)?],
        output_schema: Arc::clone(schema),
        table_partition_cols: partitions.collect::<Result<_>>()?,
        insert_op: InsertOp::Append,
        keep_partition_by_columns: false,
        file_extension: spec.extension.clone(),
        file_output_mode: if spec.single_file {
            FileOutputMode::SingleFile
        } else {
            FileOutputMode::Directory
        },
    })
}

/// The rows with the types of the files, none of which lacks a value where one has to be.
fn checked(
    spec: &WriteSpec,
    schema: &SchemaRef,
    rows: SendableRecordBatchStream,
) -> SendableRecordBatchStream {
    let (target, partition_by) = (Arc::clone(schema), spec.partition_by.clone());
    let rows = rows.map(move |batch| {
        let batch = batch?;
        expect_values(&batch, &target, &partition_by).map_err(external)?;
        Ok(to_plain(&batch, &target)?)
    });
    Box::pin(RecordBatchStreamAdapter::new(Arc::clone(schema), rows))
}

fn expect_values(
    batch: &RecordBatch,
    target: &SchemaRef,
    partition_by: &[String],
) -> std::result::Result<(), Error> {
    // By their places: columns of a query may be called otherwise.
    for (values, field) in batch.columns().iter().zip(target.fields()) {
        let column = field.name();
        let has_nulls = || values.logical_null_count() > 0;
        if !field.is_nullable() && has_nulls() {
            return Err(Error::new(ErrorKind::Plan, format!("`{column}` takes no NULL, and a row has one")));
        }
        if partition_by.contains(column) && has_nulls() {
            let told = format!("a row has no value in `{column}`, by which files are partitioned");
            return Err(Error::new(ErrorKind::Plan, told).with_hint(format!("write COALESCE({column}, …)")));
        }
    }
    Ok(())
}

/// Makes the file system keep files and their names.
async fn keep(files: &[StagedFile]) -> Result<()> {
    let paths: Vec<_> = files
        .iter()
        .filter(|file| file.staging == Staging::Written)
        .map(|file| LocalPath::new("/").join(&file.path))
        .collect();
    let sync = move || {
        for path in &paths {
            std::fs::File::open(path)?.sync_all()?;
            // The directory of the write, and the two above it, which may be new.
            for directory in path.ancestors().skip(1).take(3) {
                std::fs::File::open(directory)?.sync_all()?;
            }
        }
        Ok::<_, std::io::Error>(())
    };
    let synced = tokio::task::spawn_blocking(sync).await;
    synced.map_err(|error| DataFusionError::External(Box::new(error)))?.map_err(DataFusionError::from)
}
