//! Which writer a stage gets.

use std::sync::Arc;

use ballista_core::JobId;
use ballista_core::client_pool::BallistaClientPool;
use ballista_core::execution_plans::ShuffleReaderExec;
use ballista_core::execution_plans::sort_shuffle::SortShuffleWriterExec;
use ballista_executor::execution_engine::{DefaultExecutionEngine, ExecutionEngine, QueryStageExecutor};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_plan::execution_plan::ChildrenPropertiesMode;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, Partitioning, ReplaceChildrenOptions};
use datafusion::prelude::SessionConfig;
use futures::StreamExt;
use polarway_engine::passing::PassingExec;

use super::compact::{compact, has_views};
use super::fetching::TracedPool;
use super::stage::HashStage;

/// Our writer for stages that are split by hash; Ballista's for those that keep their partitions.
pub struct StageEngine {
    clients: Arc<dyn BallistaClientPool>,
}

impl StageEngine {
    pub fn new(clients: Arc<dyn BallistaClientPool>) -> Self {
        Self { clients }
    }
}

/// The plan with readers that find the files of this executor, and the others' by long-lived channels.
fn with_readers(
    plan: Arc<dyn ExecutionPlan>,
    work_dir: &str,
    clients: &Arc<dyn BallistaClientPool>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let rooted = plan.transform(|node| {
        let Some(reader) = node.downcast_ref::<ShuffleReaderExec>() else {
            return Ok(Transformed::no(node));
        };
        let reader = reader.with_work_dir(work_dir.to_owned()).with_client_pool(Arc::clone(clients));
        Ok(Transformed::yes(Arc::new(reader) as Arc<dyn ExecutionPlan>))
    })?;
    Ok(rooted.data)
}

impl ExecutionEngine for StageEngine {
    fn create_query_stage_exec(
        &self,
        job: JobId,
        stage: usize,
        task: usize,
        partitions_of_input: Vec<usize>,
        plan: Arc<dyn ExecutionPlan>,
        work_dir: &str,
        config: &SessionConfig,
    ) -> Result<Arc<dyn QueryStageExecutor>> {
        let clients = TracedPool::of_task(&self.clients, job.as_str(), stage);
        if let Some(writer) = plan.downcast_ref::<SortShuffleWriterExec>()
            && let Partitioning::Hash(expressions, partitions) = writer.shuffle_output_partitioning()
            && let [input] = plan.children()[..]
        {
            let options = writer.config();
            let budget = options.memory_limit_per_task_bytes;
            return Ok(Arc::new(HashStage {
                job,
                stage,
                task,
                input: with_readers(Arc::clone(input), work_dir, &clients)?,
                expressions: expressions.clone(),
                partitions: *partitions,
                batch_rows: options.batch_size.max(1),
                budget: (budget > 0).then_some(budget),
                work_dir: work_dir.to_owned(),
                metrics: ExecutionPlanMetricsSet::new(),
            }));
        }
        let plan = with_compact_input(plan)?;
        let others = DefaultExecutionEngine::with_client_pool(clients);
        others.create_query_stage_exec(job, stage, task, partitions_of_input, plan, work_dir, config)
    }
}

/// A writer that writes views without what no row refers to.
fn with_compact_input(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    if !has_views(&plan.schema()) {
        return Ok(plan);
    }
    let inputs = plan
        .children()
        .into_iter()
        .map(|input| {
            PassingExec::above(Arc::clone(input), "CompactExec", |_, input| {
                let schema = input.schema();
                let compacted = input.map(|batch| Ok(compact(batch?)?));
                Box::pin(RecordBatchStreamAdapter::new(schema, compacted))
            })
        })
        .collect();
    plan.replace_children(inputs, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
}
