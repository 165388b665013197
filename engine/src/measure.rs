//! One run of a plan for what it tells about itself, as EXPLAIN ANALYZE shows it; its rows are counted and dropped.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};
use datafusion::execution::TaskContext;
use futures::TryStreamExt;
use polarway_common::Error;

use crate::cpu::CpuRuntime;
use crate::errors::classify;
use crate::guarded::StoppablePlan;
use crate::memory::BoundedPool;
use crate::offload::Work;
use crate::runtime::with_pool;

/// What one run of a plan did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// The plan, indented, with each operator's measurements.
    pub plan: String,
    /// Rows of the result.
    pub rows: u64,
    /// The most bytes that its operators held at once.
    pub peak: u64,
}

/// Runs `work` to its end. A limit on the query's memory is part of `work`'s context.
///
/// # Errors
/// Those of the plan; `DeadlineExceeded` after `timeout`.
pub async fn measure(
    cpu: &CpuRuntime,
    work: Work,
    timeout: Option<Duration>,
    verbose: bool,
) -> Result<Measured, Error> {
    let parent = Arc::clone(work.context.memory_pool());
    let pool = Arc::new(BoundedPool::of_query(parent, usize::MAX));
    let context = within(&work.context, Arc::clone(&pool))?;
    let plan = StoppablePlan::of_query(work.plan).map_err(|error| classify(&error))?;
    let rows = cpu
        .run_stoppable(plan.clone(), context, timeout)
        .try_fold(0, |sum, batch| async move { Ok(sum + batch.num_rows() as u64) })
        .await
        .map_err(|error| classify(&error))?;
    Ok(Measured { plan: plan.text_with_metrics(verbose), rows, peak: pool.peak() as u64 })
}

/// The context with `pool` in place of its own.
fn within(context: &TaskContext, pool: Arc<BoundedPool>) -> Result<Arc<TaskContext>, Error> {
    Ok(Arc::new(TaskContext::new(
        context.task_id(),
        context.session_id(),
        context.session_config().clone(),
        context.scalar_functions().clone(),
        context.higher_order_functions().clone(),
        context.aggregate_functions().clone(),
        context.window_functions().clone(),
        with_pool(&context.runtime_env(), pool)?,
    )))
}

impl Measured {
    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("plan", DataType::Utf8, false),
            Field::new("rows", DataType::UInt64, false),
            Field::new("peak", DataType::UInt64, false),
        ]))
    }

    /// One row, to be sent to the scheduler that asked.
    ///
    /// # Errors
    /// `Internal`; not for any values.
    pub fn to_batch(&self) -> Result<RecordBatch, Error> {
        RecordBatch::try_new(
            Self::schema(),
            vec![
                Arc::new(StringArray::from(vec![self.plan.as_str()])),
                Arc::new(UInt64Array::from(vec![self.rows])),
                Arc::new(UInt64Array::from(vec![self.peak])),
            ],
        )
        .map_err(|error| Error::internal(error.to_string()))
    }

    /// # Errors
    /// `Internal` when the batch is not one that [`to_batch`](Self::to_batch) made.
    pub fn from_batch(batch: &RecordBatch) -> Result<Self, Error> {
        if batch.schema() != Self::schema() || batch.num_rows() != 1 {
            return Err(Error::internal("an executor sent something else than a run's measurements"));
        }
        let number = |column: usize| batch.column(column).as_primitive::<UInt64Type>().value(0);
        let plan = batch.column(0).as_string::<i32>().value(0).to_owned();
        Ok(Self { plan, rows: number(1), peak: number(2) })
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    #[tokio::test]
    async fn a_run_tells_its_rows_its_memory_and_its_operators() {
        let session = SessionContext::new();
        let plan = session
            .sql("SELECT value % 10 AS v, count(*) FROM generate_series(1, 1000) GROUP BY 1")
            .await
            .unwrap()
            .create_physical_plan()
            .await
            .unwrap();
        let cpu = CpuRuntime::new("test", 2).unwrap();
        let measured = measure(&cpu, Work { plan, context: session.task_ctx() }, None, false).await.unwrap();
        assert_eq!(measured.rows, 10);
        assert!(measured.peak > 0);
        assert!(measured.plan.contains("output_rows=10"), "{}", measured.plan);
        assert_eq!(Measured::from_batch(&measured.to_batch().unwrap()).unwrap(), measured);
    }

    #[test]
    fn another_batch_is_refused() {
        let batch =
            RecordBatch::try_from_iter([("rows", Arc::new(UInt64Array::from(vec![1])) as _)]).unwrap();
        assert!(Measured::from_batch(&batch).is_err());
    }
}
