//! Tables whose files are ours.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{Result, Statistics, project_schema};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use polarway_common::{Error, ErrorKind};
use polarway_storage::catalog::ManagedDefinition;
use polarway_storage::tables::{Current, Tables};
use tokio::sync::OnceCell;

use super::parquet_files::{Files, file};
use super::tables::with_views;

/// What a statement sees of a table: all its scans see the same.
pub type Version = Arc<OnceCell<Current>>;

/// The rows of a table as they are when the statement that reads it is planned.
#[derive(Debug)]
pub struct ManagedTable {
    id: String,
    ddl: String,
    schema: SchemaRef,
    store: ObjectStoreUrl,
    current: Current,
    tables: Tables,
}

impl ManagedTable {
    /// The table `name`; `views` says whether its text is read as views.
    ///
    /// # Errors
    /// `TableNotFound` when it was dropped meanwhile; those of the stores.
    pub async fn open(
        name: &str,
        definition: &ManagedDefinition,
        tables: &Tables,
        version: &Version,
        views: bool,
    ) -> std::result::Result<Self, Error> {
        let load = || async {
            let found = tables.current(&definition.id).await?;
            found.ok_or_else(|| {
                Error::new(ErrorKind::TableNotFound, format!("table `{name}` was dropped a moment ago"))
            })
        };
        let current = version.get_or_try_init(load).await?.clone();
        let schema = definition.schema()?;
        Ok(Self {
            id: definition.id.clone(),
            ddl: definition.ddl.clone(),
            schema: if views { with_views(&schema) } else { schema },
            store: tables.root().url.clone(),
            current,
            tables: tables.clone(),
        })
    }

    fn whole(&self) -> Statistics {
        let rows = usize::try_from(self.current.manifest.rows()).map_or(Precision::Absent, Precision::Exact);
        Statistics { num_rows: rows, ..Statistics::new_unknown(&self.schema) }
    }
}

#[async_trait]
impl TableProvider for ManagedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_table_definition(&self) -> Option<&str> {
        Some(&self.ddl)
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(self.whole())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let files = self.current.manifest.files.iter();
        let files: Vec<_> =
            files.map(|found| file(self.tables.file(&self.id, &found.path), found.bytes)).collect();
        if files.is_empty() {
            // A scan of no file has no partition, which joins do not take.
            return Ok(Arc::new(EmptyExec::new(project_schema(&self.schema, projection)?)));
        }
        let all = Files { store: &self.store, schema: &self.schema, statistics: self.whole() };
        Ok(all.scan(state, files, projection, limit)?)
    }
}
