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
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use datafusion::physical_plan::ExecutionPlan;
use futures::{Stream, StreamExt};
use polarway_common::{Error, ErrorKind};
use polarway_engine::passing::PassingExec;

/// Puts a count above each shuffle reader.
pub fn with_counted_shuffle(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let Some(reader) = node.downcast_ref::<ShuffleReaderExec>() else { return Ok(Transformed::no(node)) };
        let expected: Vec<_> = reader.partition.iter().map(|locations| rows_written(locations)).collect();
        let broadcast = reader.broadcast;
        Ok(Transformed::yes(PassingExec::above(node, "CountedShuffleExec", move |partition, input| {
            let index = if broadcast { 0 } else { partition };
            Box::pin(Counted { input, expected: expected.get(index).copied().flatten(), seen: 0 })
        })))
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
