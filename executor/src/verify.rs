//! Shuffle input that is counted. Ballista's reader takes a file whose index is gone for another layout, and a file that
//! was cut between two messages for a whole one: rows would be missing without an error. Each location tells how many
//! rows its writer wrote; here the reader's rows are counted against that at the end of each partition.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use ballista_core::execution_plans::ShuffleReaderExec;
use ballista_core::serde::protobuf;
use ballista_core::serde::scheduler::PartitionLocation;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use futures::{Stream, StreamExt};
use polarway_common::{Error, ErrorKind};

/// Puts a count above each shuffle reader. The node reports no metrics: schedulers match those of a task's nodes with
/// the nodes of their own plan.
pub fn with_counted_shuffle(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let Some(reader) = node.downcast_ref::<ShuffleReaderExec>() else { return Ok(Transformed::no(node)) };
        let expected = reader.partition.iter().map(|locations| rows_written(locations)).collect();
        let counted = CountedShuffleExec { broadcast: reader.broadcast, expected, input: Arc::clone(&node) };
        Ok(Transformed::yes(Arc::new(counted) as Arc<dyn ExecutionPlan>))
    })
    .map(|transformed| transformed.data)
}

/// The rows of all locations together, if each tells its own.
fn rows_written(locations: &[PartitionLocation]) -> Option<u64> {
    locations
        .iter()
        .map(|location| {
            let encoded: protobuf::PartitionLocation = location.clone().try_into().ok()?;
            u64::try_from(encoded.partition_stats?.num_rows).ok()
        })
        .sum()
}

#[derive(Debug, Clone)]
struct CountedShuffleExec {
    input: Arc<dyn ExecutionPlan>,
    broadcast: bool,
    expected: Vec<Option<u64>>,
}

impl DisplayAs for CountedShuffleExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CountedShuffleExec")
    }
}

impl ExecutionPlan for CountedShuffleExec {
    fn name(&self) -> &str {
        "CountedShuffleExec"
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
            None => Err(DataFusionError::Internal("a counted reader needs its reader".to_owned())),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(
                datafusion::physical_plan::execution_plan::ChildrenPropertiesMode::Recompute,
            ),
        )
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let index = if self.broadcast { 0 } else { partition };
        let expected = self.expected.get(index).copied().flatten();
        let input = self.input.execute(partition, context)?;
        Ok(Box::pin(Counted { input, expected, seen: 0 }))
    }
}

struct Counted {
    input: SendableRecordBatchStream,
    expected: Option<u64>,
    seen: u64,
}

impl Stream for Counted {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.input.poll_next_unpin(cx);
        match &next {
            Poll::Ready(Some(Ok(batch))) => self.seen += batch.num_rows() as u64,
            Poll::Ready(None) => {
                if let Some(expected) = self.expected.take()
                    && expected != self.seen
                {
                    let error = Error::new(
                        ErrorKind::ExecutorLost,
                        format!("shuffle input is damaged: {} of {expected} rows were read", self.seen),
                    );
                    return Poll::Ready(Some(Err(DataFusionError::External(Box::new(error)))));
                }
            }
            _ => {}
        }
        next
    }
}

impl RecordBatchStream for Counted {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
