//! A task's plan, watched from inside.
//!
//! Stopping: Ballista drives each partition of a stage in a Tokio task of its own and, when the stage is dropped, only
//! detaches those. Guards above every leaf and every join end their streams with an error once the task is stopped; a
//! loop above them that never yields meets one at its next batch.
//!
//! Counting: the guard below the shuffle writer counts the rows that go into it. A file that is unlinked while it is
//! written is reported as empty and left out; the count shows that rows are missing.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::ChildrenPropertiesMode;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions};
use futures::{Stream, StreamExt};
use polarway_common::{Error, ErrorKind};
use tokio_util::sync::CancellationToken;

/// A stage's plan (its root is the shuffle writer) with its guards, and what they share.
pub struct GuardedPlan {
    pub plan: Arc<dyn ExecutionPlan>,
    /// Cancelling it ends every stream of the plan.
    pub stop: CancellationToken,
    /// Rows that went into the writer.
    pub written: Arc<AtomicU64>,
}

/// Puts guards into `plan`. They report no metrics: schedulers match those of a task's nodes with their own plan's.
pub fn guard(plan: Arc<dyn ExecutionPlan>) -> Result<GuardedPlan> {
    let stop = CancellationToken::new();
    let written = Arc::new(AtomicU64::new(0));
    let inner = plan
        .transform_up(|node| {
            if node.children().is_empty() || node.name().ends_with("JoinExec") {
                let guard = GuardExec { input: node, stop: stop.clone(), rows: None };
                return Ok(Transformed::yes(Arc::new(guard) as Arc<dyn ExecutionPlan>));
            }
            Ok(Transformed::no(node))
        })?
        .data;
    let inputs = inner
        .children()
        .into_iter()
        .map(|child| {
            let input = Arc::clone(child);
            Arc::new(GuardExec { input, stop: stop.clone(), rows: Some(Arc::clone(&written)) }) as Arc<dyn ExecutionPlan>
        })
        .collect();
    let plan = inner.replace_children(inputs, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))?;
    Ok(GuardedPlan { plan, stop, written })
}

#[derive(Debug, Clone)]
struct GuardExec {
    input: Arc<dyn ExecutionPlan>,
    stop: CancellationToken,
    rows: Option<Arc<AtomicU64>>,
}

impl DisplayAs for GuardExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GuardExec")
    }
}

impl ExecutionPlan for GuardExec {
    fn name(&self) -> &str {
        "GuardExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(input) => Ok(Arc::new(Self { input, ..self.as_ref().clone() })),
            None => Err(DataFusionError::Internal("a guard needs what it guards".to_owned())),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        Ok(Box::pin(Guarded { input, stop: self.stop.clone(), rows: self.rows.clone() }))
    }
}

struct Guarded {
    input: SendableRecordBatchStream,
    stop: CancellationToken,
    rows: Option<Arc<AtomicU64>>,
}

impl Stream for Guarded {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.stop.is_cancelled() {
            let error = Error::new(ErrorKind::Cancelled, "the task was stopped");
            return Poll::Ready(Some(Err(DataFusionError::External(Box::new(error)))));
        }
        let next = self.input.poll_next_unpin(cx);
        if let (Some(rows), Poll::Ready(Some(Ok(batch)))) = (&self.rows, &next) {
            rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        }
        next
    }
}

impl RecordBatchStream for Guarded {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
