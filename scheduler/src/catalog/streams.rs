//! Streams as tables.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PrunableStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue, Statistics, project_schema};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use polarway_common::{Error, ErrorKind};
use polarway_engine::live::{LiveSource, SealedFile, StreamHost, StreamView, live_scan};
use polarway_engine::settings::QuerySettings;
use polarway_storage::catalog::StreamDefinition;
use tokio::sync::OnceCell;

use super::parquet_files::{self, Files};

/// What a statement sees of a stream: all its scans see the same.
pub type Moment = Arc<OnceCell<StreamView>>;

/// The rows of a stream: those in files and those in memory, as they are when the first scan of it is planned.
#[derive(Debug)]
pub struct StreamTable {
    id: String,
    ddl: String,
    schema: SchemaRef,
    /// Column of the event time.
    event_time: Option<usize>,
    host: Arc<dyn StreamHost>,
    moment: Moment,
}

impl StreamTable {
    pub fn new(
        definition: &StreamDefinition,
        host: Arc<dyn StreamHost>,
        moment: Moment,
    ) -> std::result::Result<Self, Error> {
        let schema = definition.schema()?;
        let event_time = definition.options.event_time.as_ref();
        Ok(Self {
            id: definition.id.clone(),
            ddl: definition.ddl.clone(),
            event_time: event_time.and_then(|column| schema.index_of(column).ok()),
            schema,
            host,
            moment,
        })
    }

    /// The rows that the statement sees.
    async fn view(&self, state: &dyn Session) -> std::result::Result<&StreamView, Error> {
        let view = self.moment.get_or_try_init(|| self.host.view(&self.id)).await?;
        match QuerySettings::of(state.config())?.read_after.place(&self.id) {
            Some(place) if view.missing.iter().any(|rows| rows.start < place && place <= rows.end) => {
                Err(Error::new(
                    ErrorKind::StoreUnavailable,
                    "rows that `polarway.read_after` asks for are in the log of the stream's owner before this one",
                )
                .with_hint("they are handed over when that process is started again"))
            }
            Some(place) if place > view.end => Err(Error::new(
                ErrorKind::StoreUnavailable,
                format!(
                    "the stream has come to place {}, and `polarway.read_after` asks for {place}",
                    view.end
                ),
            )
            .with_hint(
                "its owner has lost acknowledged rows, or is another server than the one that took them",
            )),
            _ => Ok(view),
        }
    }

    /// A file with what is known of its rows, so that a scan that wants other times does not open it.
    fn file(&self, file: &SealedFile) -> PartitionedFile {
        let found = parquet_files::file(file.path.clone(), file.bytes);
        let range = self.event_time.zip(file.events).and_then(|(column, (first, last))| {
            let kind = self.schema.field(column).data_type();
            Some((column, time(kind, first)?, time(kind, last)?))
        });
        let Some((column, first, last)) = range else { return found };
        let mut statistics = self.statistics(file.rows);
        if let Some(column) = statistics.column_statistics.get_mut(column) {
            column.min_value = Precision::Exact(first);
            column.max_value = Precision::Exact(last);
            // Rows without an event time have files of their own.
            column.null_count = Precision::Exact(0);
        }
        found.with_statistics(Arc::new(statistics))
    }

    fn statistics(&self, rows: u64) -> Statistics {
        Statistics { num_rows: Precision::Inexact(rows as usize), ..Statistics::new_unknown(&self.schema) }
    }

    /// Those of `files` that may hold rows for which all `filters` are true.
    fn pruned(
        &self,
        state: &dyn Session,
        filters: &[Expr],
        files: Vec<PartitionedFile>,
    ) -> Result<Vec<PartitionedFile>> {
        let Some(filter) = conjunction(filters.to_vec()) else { return Ok(files) };
        let schema = DFSchema::try_from(Arc::clone(&self.schema))?;
        let filter = state.create_physical_expr(filter, &schema)?;
        let Ok(predicate) =
            PruningPredicateBuilder::new().with_file_schema(Arc::clone(&self.schema)).try_build(filter)
        else {
            return Ok(files);
        };
        let unknown = Arc::new(Statistics::new_unknown(&self.schema));
        let known =
            files.iter().map(|file| Arc::clone(file.statistics.as_ref().unwrap_or(&unknown))).collect();
        let kept = predicate.prune(&PrunableStatistics::new(known, Arc::clone(&self.schema)))?;
        Ok(files.into_iter().zip(kept).filter_map(|(file, kept)| kept.then_some(file)).collect())
    }
}

#[async_trait]
impl TableProvider for StreamTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_table_definition(&self) -> Option<&str> {
        Some(&self.ddl)
    }

    /// Of times alone, by which files are left out before they are opened.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let time = self.event_time.map(|column| self.schema.field(column).name());
        let of_time = |filter: &&Expr| {
            let columns = filter.column_refs();
            match !columns.is_empty() && columns.iter().all(|column| Some(&column.name) == time) {
                true => TableProviderFilterPushDown::Inexact,
                false => TableProviderFilterPushDown::Unsupported,
            }
        };
        Ok(filters.iter().map(of_time).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let view = self.view(state).await.map_err(|error| DataFusionError::External(Box::new(error)))?;
        let mut scans: Vec<Arc<dyn ExecutionPlan>> = vec![];
        let files = view.files.iter().map(|file| self.file(file)).collect();
        let files = self.pruned(state, filters, files)?;
        if !files.is_empty() {
            let rows = view.files.iter().map(|file| file.rows).sum();
            let all = Files { store: &view.store, schema: &self.schema, statistics: self.statistics(rows) };
            scans.push(all.scan(state, files, projection, limit)?);
        }
        if !view.slices.is_empty() {
            let table = TableSchema::builder(Arc::clone(&self.schema)).build();
            let source = LiveSource::new(table, Arc::clone(&view.rows));
            let rows = view.slices.iter().map(polarway_engine::live::HotSlice::rows).sum();
            scans.push(live_scan(
                source,
                view.store.clone(),
                &view.slices,
                projection.cloned(),
                limit,
                self.statistics(rows),
            )?);
        }
        if scans.len() > 1 {
            return UnionExec::try_new(scans);
        }
        match scans.pop() {
            Some(scan) => Ok(scan),
            // A scan of no file has no partition, which joins do not take.
            None => Ok(Arc::new(EmptyExec::new(project_schema(&self.schema, projection)?))),
        }
    }
}

/// A time in the unit of its column.
fn time(kind: &DataType, value: i64) -> Option<ScalarValue> {
    let DataType::Timestamp(unit, zone) = kind else { return None };
    let zone = zone.clone();
    Some(match unit {
        TimeUnit::Second => ScalarValue::TimestampSecond(Some(value), zone),
        TimeUnit::Millisecond => ScalarValue::TimestampMillisecond(Some(value), zone),
        TimeUnit::Microsecond => ScalarValue::TimestampMicrosecond(Some(value), zone),
        TimeUnit::Nanosecond => ScalarValue::TimestampNanosecond(Some(value), zone),
    })
}
