//! The node that writes.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, ChildrenPropertiesMode, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PhysicalExpr,
    PlanProperties, ReplaceChildrenOptions,
};
use polarway_common::{Error, ErrorKind};
use polarway_storage::writes::{StagedFile, WriteAccess};

use super::sink::write;
use super::spec::WriteSpec;
use crate::output::plain_schema;

const FILE: &str = "file";

/// See the module's page. Each partition gives one batch.
#[derive(Debug, Clone)]
pub struct WriteExec {
    input: Arc<dyn ExecutionPlan>,
    spec: Arc<WriteSpec>,
    properties: Arc<PlanProperties>,
}

impl WriteExec {
    /// # Errors
    /// `SchemaMismatch` when the rows of `input` are others than those that were to be written.
    pub fn new(input: Arc<dyn ExecutionPlan>, spec: Arc<WriteSpec>) -> std::result::Result<Self, Error> {
        let wanted = spec.schema()?;
        let given = plain_schema(&input.schema());
        let types = |schema: &Schema| {
            schema.fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>()
        };
        if types(&given) != types(&plain_schema(&wanted)) {
            return Err(Error::new(
                ErrorKind::SchemaMismatch,
                "a table changed between planning and running the statement",
            )
            .with_hint("run the statement again"));
        }
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(report_schema()),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            EmissionType::Final,
            Boundedness::Bounded,
        ));
        Ok(Self { input, spec, properties })
    }

    pub fn spec(&self) -> &WriteSpec {
        &self.spec
    }
}

/// A column of texts, each a file.
fn report_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(FILE, DataType::Utf8, false)]))
}

/// What files there are, as rows.
///
/// # Errors
/// When they cannot be written as text.
pub fn report(files: &[StagedFile]) -> std::result::Result<RecordBatch, Error> {
    let texts = files.iter().map(serde_json::to_string).collect::<std::result::Result<Vec<_>, _>>();
    let texts = texts.map_err(|error| Error::internal(format!("a file cannot be reported: {error}")))?;
    RecordBatch::try_new(report_schema(), vec![Arc::new(StringArray::from(texts))])
        .map_err(|error| Error::internal(format!("files cannot be reported: {error}")))
}

/// The files that rows report.
///
/// # Errors
/// `Internal` for rows that are no report.
pub fn reported(batch: &RecordBatch) -> std::result::Result<Vec<StagedFile>, Error> {
    let texts = batch.column_by_name(FILE).and_then(|column| column.as_any().downcast_ref::<StringArray>());
    let texts = texts.ok_or_else(|| Error::internal("a write reported something else than files"))?;
    let read = |text: Option<&str>| serde_json::from_str(text.unwrap_or_default());
    let files = texts.iter().map(read).collect::<std::result::Result<Vec<StagedFile>, _>>();
    files.map_err(|error| Error::internal(format!("the report of a write cannot be read: {error}")))
}

impl DisplayAs for WriteExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WriteSpec { format, place, partition_by, .. } = self.spec.as_ref();
        write!(f, "WriteExec: format={}, to={}", format.name(), place.text())?;
        match partition_by.as_slice() {
            [] => Ok(()),
            columns => write!(f, ", partition_by=[{}]", columns.join(", ")),
        }
    }
}

impl ExecutionPlan for WriteExec {
    fn name(&self) -> &'static str {
        "WriteExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = <[Arc<dyn ExecutionPlan>; 1]>::try_from(children)
            .map_err(|_| DataFusionError::Internal("WriteExec has one child".to_owned()))?;
        let plan = Self::new(input, Arc::clone(&self.spec))
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(Arc::new(plan))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let access = context
            .session_config()
            .get_extension::<WriteAccess>()
            .ok_or_else(|| DataFusionError::Internal("this process cannot write".to_owned()))?;
        let rows = self.input.execute(partition, Arc::clone(&context))?;
        let spec = Arc::clone(&self.spec);
        let batch = async move {
            let files = write(&spec, &access, rows, &context).await?;
            report(&files).map_err(|error| DataFusionError::External(Box::new(error)))
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(report_schema(), futures::stream::once(batch))))
    }
}
