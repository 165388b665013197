//! Plans of statements that write: the plan of their query, with a node above it that puts its rows into files.

use std::sync::Arc;

use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning, PhysicalExpr};
use polarway_common::{Error, ErrorKind};
use polarway_engine::errors::classify;
use polarway_engine::write::{WriteExec, WriteSpec};

/// The query of a statement, which may be one itself.
pub fn query_of(plan: LogicalPlan) -> LogicalPlan {
    match plan {
        LogicalPlan::Dml(insert) => Arc::unwrap_or_clone(insert.input),
        LogicalPlan::Copy(copy) => Arc::unwrap_or_clone(copy.input),
        LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(table)) => Arc::unwrap_or_clone(table.input),
        other => other,
    }
}

/// `plan`, whose rows are written as `write` says; the same if there is nothing to write.
///
/// # Errors
/// `SchemaMismatch` when its rows are others than those that were to be written.
pub fn writing(
    plan: Arc<dyn ExecutionPlan>,
    write: Option<&Arc<WriteSpec>>,
) -> Result<Arc<dyn ExecutionPlan>, Error> {
    let Some(spec) = write else { return Ok(plan) };
    let plan = arranged(plan, spec)?;
    Ok(Arc::new(WriteExec::new(plan, Arc::clone(spec))?))
}

/// One task for one file; rows of one directory in one task, or each would write a file into each directory.
fn arranged(plan: Arc<dyn ExecutionPlan>, spec: &WriteSpec) -> Result<Arc<dyn ExecutionPlan>, Error> {
    let partitions = plan.output_partitioning().partition_count();
    if partitions == 1 {
        return Ok(plan);
    }
    if spec.single_file {
        return Ok(match plan.output_ordering().cloned() {
            Some(ordering) => Arc::new(SortPreservingMergeExec::new(ordering, plan)),
            None => Arc::new(CoalescePartitionsExec::new(plan)),
        });
    }
    if spec.partition_by.is_empty() {
        return Ok(plan);
    }
    let schema = plan.schema();
    let wanted = spec.schema()?;
    let place = |name: &String| {
        let index = wanted.index_of(name).ok().filter(|index| *index < schema.fields().len());
        let index = index.ok_or_else(|| {
            Error::new(
                ErrorKind::ColumnNotFound,
                format!("PARTITIONED BY names `{name}`, which is no column"),
            )
        })?;
        // By its place: columns of a query may be called otherwise than those of the files.
        Ok::<_, Error>(Arc::new(Column::new(schema.field(index).name(), index)) as Arc<dyn PhysicalExpr>)
    };
    let columns = spec.partition_by.iter().map(place).collect::<Result<Vec<_>, _>>()?;
    let repartition = RepartitionExec::try_new(plan, Partitioning::Hash(columns, partitions));
    Ok(Arc::new(repartition.map_err(|error| classify(&error))?))
}
