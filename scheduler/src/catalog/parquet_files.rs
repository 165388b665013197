//! Scans of Parquet files that a manifest names: they are not listed, and their sizes and rows are known.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use chrono::DateTime;
use datafusion::catalog::Session;
use datafusion::common::{Result, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use object_store::ObjectMeta;
use object_store::path::Path;

/// A file of so many bytes, which is never changed.
pub fn file(location: Path, bytes: u64) -> PartitionedFile {
    PartitionedFile::new_from_meta(ObjectMeta {
        location,
        last_modified: DateTime::UNIX_EPOCH,
        size: bytes,
        e_tag: None,
        version: None,
    })
}

/// Where files are, and what is known of all their rows.
pub struct Files<'a> {
    pub store: &'a ObjectStoreUrl,
    pub schema: &'a SchemaRef,
    pub statistics: Statistics,
}

impl Files<'_> {
    /// A scan of `files`, at least one, in as many parts as the session asks for.
    pub fn scan(
        self,
        state: &dyn Session,
        files: Vec<PartitionedFile>,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<Arc<DataSourceExec>> {
        let groups = FileGroup::new(files).split_files(state.config().target_partitions().max(1));
        let table = TableSchema::builder(Arc::clone(self.schema)).build();
        let config = FileScanConfigBuilder::new(self.store.clone(), Arc::new(ParquetSource::new(table)))
            .with_file_groups(groups)
            .with_statistics(self.statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}
