//! Decoding and computing run on threads of their own, so that a busy query never delays a heartbeat or an RPC.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use polarway_common::{Error, ErrorKind};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Batches a plan may be ahead of its reader.
const AHEAD: usize = 4;

/// A Tokio runtime for computing. Dropping it does not wait for its tasks.
#[derive(Debug)]
pub struct CpuRuntime {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl CpuRuntime {
    pub fn new(name: &str, threads: usize) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name(name)
            .worker_threads(threads.max(1))
            .enable_all()
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Configuration, format!("cannot start threads: {error}"))
            })?;
        let handle = runtime.handle().clone();
        Ok(Self { runtime: Some(runtime), handle })
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs `plan` here and hands its batches over through a bounded channel. Dropping the stream stops the plan.
    pub fn run(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
        timeout: Option<Duration>,
    ) -> SendableRecordBatchStream {
        let schema = plan.schema();
        let (sender, receiver) = mpsc::channel(AHEAD);
        let task = self.handle.spawn(async move {
            let work = pump(plan, context, sender.clone());
            let stopped = match timeout {
                None => {
                    work.await;
                    return;
                }
                Some(limit) => tokio::time::timeout(limit, work).await.is_err(),
            };
            if stopped {
                let error = deadline_exceeded(timeout.unwrap_or_default());
                let _ = sender.send(Err(DataFusionError::External(Box::new(error)))).await;
            }
        });
        let guard = AbortOnDrop(task);
        let batches = ReceiverStream::new(receiver).map(move |batch| {
            let _running = &guard;
            batch
        });
        adapt(schema, batches)
    }
}

impl Drop for CpuRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What a query gets when it ran for `limit` without ending.
pub fn deadline_exceeded(limit: Duration) -> Error {
    Error::new(
        ErrorKind::DeadlineExceeded,
        format!("the query ran past its limit of {} ms", limit.as_millis()),
    )
    .with_hint("raise it with SET polarway.timeout = '5m'")
}

async fn pump(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    sender: mpsc::Sender<Result<RecordBatch, DataFusionError>>,
) {
    let mut stream = match execute_stream(plan, context) {
        Ok(stream) => stream,
        Err(error) => {
            let _ = sender.send(Err(error)).await;
            return;
        }
    };
    loop {
        let next = std::panic::AssertUnwindSafe(stream.next());
        let item = match futures::FutureExt::catch_unwind(next).await {
            Ok(Some(item)) => item,
            Ok(None) => return,
            Err(panic) => {
                Err(DataFusionError::Internal(format!("the plan panicked: {}", panic_text(&panic))))
            }
        };
        let failed = item.is_err();
        if sender.send(item).await.is_err() || failed {
            return;
        }
    }
}

/// The message of a caught panic.
pub fn panic_text(panic: &Box<dyn std::any::Any + Send>) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "unknown cause".to_owned())
}

fn adapt(
    schema: SchemaRef,
    batches: impl futures::Stream<Item = Result<RecordBatch, DataFusionError>> + Send + 'static,
) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;
    use futures::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn a_plan_runs_and_a_deadline_stops_it() {
        let cpu = CpuRuntime::new("test-cpu", 1).unwrap();
        let context = SessionContext::new();
        let plan = |sql: &'static str| {
            let context = context.clone();
            async move { context.sql(sql).await.unwrap().create_physical_plan().await.unwrap() }
        };
        let stream = cpu.run(plan("select count(*) from range(1000)").await, context.task_ctx(), None);
        let batches: Vec<_> = stream.try_collect().await.unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
        let endless = plan("select sum(a.value * b.value) from range(100000) a, range(100000) b").await;
        let stream = cpu.run(endless, context.task_ctx(), Some(Duration::from_millis(50)));
        let error = stream.try_collect::<Vec<_>>().await.unwrap_err();
        assert_eq!(crate::errors::classify(&error).kind, ErrorKind::DeadlineExceeded);
    }
}
