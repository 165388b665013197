//! The scan itself.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileGroup, FileOpenFuture, FileOpener, FileScanConfig, FileScanConfigBuilder, FileSource,
};
use datafusion::datasource::projection::{ProjectionOpener, SplitProjection};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::physical_expr::conjunction;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::scalar_subquery::ScalarSubqueryExpr;
use datafusion::physical_plan::filter_pushdown::{FilterPushdownPropagation, PushedDown};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, PhysicalExpr};
use futures::FutureExt;
use object_store::ObjectStore;

use super::access::{HotQuery, HotRows};
use super::slice::HotSlice;

/// Reads the slices of a stream; see the module's page.
#[derive(Clone)]
pub struct LiveSource {
    table: TableSchema,
    rows: Arc<dyn HotRows>,
    projection: SplitProjection,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    metrics: ExecutionPlanMetricsSet,
}

impl LiveSource {
    pub fn new(table: TableSchema, rows: Arc<dyn HotRows>) -> Self {
        let projection = SplitProjection::unprojected(&table);
        Self { table, rows, projection, predicate: None, metrics: ExecutionPlanMetricsSet::new() }
    }

    /// `predicate` holds columns of the table.
    #[must_use]
    pub fn with_predicate(self, predicate: Option<Arc<dyn PhysicalExpr>>) -> Self {
        Self { predicate, ..self }
    }
}

/// A scan of `slices`, each a partition of its own. Nothing of `store` is read, but every process that runs the scan has to
/// know it: the one of the stream's sealed rows it does.
pub fn live_scan(
    source: LiveSource,
    store: ObjectStoreUrl,
    slices: &[HotSlice],
    projection: Option<Vec<usize>>,
    limit: Option<usize>,
    statistics: Statistics,
) -> Result<Arc<DataSourceExec>> {
    let groups = slices
        .iter()
        .map(|slice| FileGroup::new(vec![PartitionedFile::new(slice.to_path().to_string(), slice.rows())]))
        .collect();
    let config = FileScanConfigBuilder::new(store, Arc::new(source))
        .with_file_groups(groups)
        .with_statistics(statistics)
        .with_projection_indices(projection)?
        .with_limit(limit)
        .build();
    Ok(DataSourceExec::from_data_source(config))
}

impl FileSource for LiveSource {
    fn create_file_opener(
        &self,
        _store: Arc<dyn ObjectStore>,
        _base: &FileScanConfig,
        _partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        let schema = Arc::clone(self.table.file_schema());
        let columns = self.projection.file_indices.clone();
        let query =
            Arc::new(HotQuery { schema: Arc::clone(&schema), columns, predicate: self.predicate.clone() });
        let opener = LiveOpener { rows: Arc::clone(&self.rows), query };
        ProjectionOpener::try_new(self.projection.clone(), Arc::new(opener), &schema)
    }

    fn table_schema(&self) -> &TableSchema {
        &self.table
    }

    fn with_batch_size(&self, _batch_size: usize) -> Arc<dyn FileSource> {
        Arc::new(self.clone())
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.predicate.clone()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        Some(&self.projection.source)
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        &self.metrics
    }

    fn file_type(&self) -> &str {
        "live"
    }

    fn fmt_extra(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.predicate, format) {
            (None, _) => Ok(()),
            (Some(predicate), DisplayFormatType::TreeRender) => write!(f, "predicate={predicate}"),
            (Some(predicate), _) => write!(f, ", predicate={predicate}"),
        }
    }

    /// A slice is not bytes that could be cut.
    fn supports_repartitioning(&self) -> bool {
        false
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let (taken, parents): (Vec<_>, Vec<_>) = filters
            .into_iter()
            .map(
                |filter| {
                    if stays(&filter) { (None, PushedDown::No) } else { (Some(filter), PushedDown::Yes) }
                },
            )
            .unzip();
        let taken: Vec<_> = taken.into_iter().flatten().collect();
        if taken.is_empty() {
            return Ok(FilterPushdownPropagation::with_parent_pushdown_result(parents));
        }
        let predicate = conjunction(self.predicate.iter().cloned().chain(taken));
        let source = self.clone().with_predicate(Some(predicate));
        Ok(FilterPushdownPropagation::with_parent_pushdown_result(parents)
            .with_updated_node(Arc::new(source) as Arc<dyn FileSource>))
    }

    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn FileSource>>> {
        if projection.iter().any(|projected| stays(&projected.expr)) {
            return Ok(None);
        }
        let merged = self.projection.source.try_merge(projection)?;
        let projection = SplitProjection::new(self.table.file_schema(), &merged);
        Ok(Some(Arc::new(Self { projection, ..self.clone() })))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for expression in
            self.predicate.iter().chain(self.projection.source.iter().map(|projected| &projected.expr))
        {
            if f(expression)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }
}

/// Whether an expression cannot leave the operator it stands in: the value of a scalar subquery is found by its place in
/// the plan above, which the decoder of a scan does not see.
fn stays(expression: &Arc<dyn PhysicalExpr>) -> bool {
    expression.downcast_ref::<ScalarSubqueryExpr>().is_some() || expression.children().into_iter().any(stays)
}

/// Opens one slice.
struct LiveOpener {
    rows: Arc<dyn HotRows>,
    query: Arc<HotQuery>,
}

impl FileOpener for LiveOpener {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        let slice = HotSlice::of_path(&file.object_meta.location)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        let (rows, query) = (Arc::clone(&self.rows), Arc::clone(&self.query));
        Ok(async move { rows.read(&slice, &query).await }.boxed())
    }
}
