//! Decoding and computing run on threads of their own, so that a busy query never delays a heartbeat or an RPC.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{FutureExt, StreamExt};
use polarway_common::{Error, ErrorKind};
use tokio::runtime::{Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::guarded::StoppablePlan;
use crate::handover::{Giver, handover};

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
    ) -> Result<SendableRecordBatchStream, DataFusionError> {
        Ok(self.run_stoppable(StoppablePlan::of_query(plan)?, context, timeout))
    }

    /// Like [`run`](Self::run), of a plan that its caller looks at afterwards.
    pub fn run_stoppable(
        &self,
        StoppablePlan { plan, stop }: StoppablePlan,
        context: Arc<TaskContext>,
        timeout: Option<Duration>,
    ) -> SendableRecordBatchStream {
        let schema = plan.schema();
        let (giver, batches) =
            handover(AHEAD, || external(Error::internal("the plan was stopped before its end")));
        let work = async move {
            let outcome = to_its_end(pump(plan, context, &giver), timeout, external).await;
            giver.end(outcome);
        };
        let task = self.handle.spawn(work.in_current_span());
        let running = (stop.drop_guard(), AbortOnDropHandle::new(task));
        let batches = batches.map(move |batch| {
            let _running = &running;
            batch
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
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
    giver: &Giver<RecordBatch, DataFusionError>,
) -> Result<(), DataFusionError> {
    let mut batches = execute_stream(plan, context)?;
    while let Some(batch) = batches.next().await {
        if !giver.give(batch?).await {
            break;
        }
    }
    Ok(())
}

/// Runs the work of a plan, which may panic, for at most `limit`. `fault` makes an error of ours one of its own.
pub(crate) async fn to_its_end<E>(
    work: impl Future<Output = Result<(), E>>,
    limit: Option<Duration>,
    fault: fn(Error) -> E,
) -> Result<(), E> {
    let work = AssertUnwindSafe(work).catch_unwind();
    let ended = match limit {
        None => work.await,
        Some(limit) => match tokio::time::timeout(limit, work).await {
            Ok(ended) => ended,
            Err(_) => return Err(fault(deadline_exceeded(limit))),
        },
    };
    ended.unwrap_or_else(|panic| {
        Err(fault(Error::internal(format!("the plan panicked: {}", panic_text(&panic)))))
    })
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The message of a caught panic.
pub fn panic_text(panic: &Box<dyn std::any::Any + Send>) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "unknown cause".to_owned())
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
    use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
    use datafusion::prelude::SessionContext;
    use futures::{TryStreamExt, stream};

    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Fault {
        AtTheStart,
        Midway,
        Endless,
    }

    /// Gives one batch and then does what its fault says.
    #[derive(Debug)]
    struct Faulty {
        schema: SchemaRef,
        fault: Fault,
    }

    impl PartitionStream for Faulty {
        fn schema(&self) -> &SchemaRef {
            &self.schema
        }

        fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
            let fault = self.fault;
            assert!(fault != Fault::AtTheStart, "boom at the start");
            let column = Arc::new(Int64Array::from(vec![1]));
            let batch = RecordBatch::try_new(Arc::clone(&self.schema), vec![column]).unwrap();
            let rest = stream::poll_fn(move |_| {
                assert!(fault != Fault::Midway, "boom midway");
                Poll::<Option<Result<RecordBatch, DataFusionError>>>::Pending
            });
            let batches = stream::iter([Ok::<_, DataFusionError>(batch)]).chain(rest);
            Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
        }
    }

    fn faulty(fault: Fault) -> Arc<dyn ExecutionPlan> {
        let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let source: Arc<dyn PartitionStream> = Arc::new(Faulty { schema: Arc::clone(&schema), fault });
        Arc::new(StreamingTableExec::try_new(schema, vec![source], None, vec![], false, None).unwrap())
    }

    /// The batches that came before the error with which every faulty plan must end.
    async fn batches_and_error(mut stream: SendableRecordBatchStream) -> (usize, Error) {
        let mut batches = 0;
        loop {
            let item = tokio::time::timeout(Duration::from_secs(30), stream.next()).await.unwrap();
            match item.expect("a result that is not whole ended without an error") {
                Ok(_) => batches += 1,
                Err(error) => {
                    assert!(stream.next().await.is_none());
                    return (batches, crate::errors::classify(&error));
                }
            }
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_not_the_end() {
        let cpu = CpuRuntime::new("test-cpu", 1).unwrap();
        let context = SessionContext::new();
        for timeout in [None, Some(Duration::from_secs(30))] {
            for (fault, before, text) in
                [(Fault::AtTheStart, 0, "boom at the start"), (Fault::Midway, 1, "boom midway")]
            {
                let stream = cpu.run(faulty(fault), context.task_ctx(), timeout).unwrap();
                let (batches, error) = batches_and_error(stream).await;
                assert_eq!((batches, error.kind), (before, ErrorKind::Internal));
                assert!(error.message.contains(text), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn a_runtime_that_shuts_down_is_an_error_and_not_the_end() {
        let cpu = CpuRuntime::new("test-cpu", 1).unwrap();
        let mut stream = cpu.run(faulty(Fault::Endless), SessionContext::new().task_ctx(), None).unwrap();
        assert!(stream.next().await.unwrap().is_ok());
        drop(cpu);
        let (batches, error) = batches_and_error(stream).await;
        assert_eq!((batches, error.kind), (0, ErrorKind::Internal));
    }

    #[tokio::test]
    async fn a_plan_runs_and_a_deadline_stops_it() {
        let cpu = CpuRuntime::new("test-cpu", 1).unwrap();
        let context = SessionContext::new();
        let plan = |sql: &'static str| {
            let context = context.clone();
            async move { context.sql(sql).await.unwrap().create_physical_plan().await.unwrap() }
        };
        let stream =
            cpu.run(plan("select count(*) from range(1000)").await, context.task_ctx(), None).unwrap();
        let batches: Vec<_> = stream.try_collect().await.unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
        let endless = plan("select sum(a.value * b.value) from range(100000) a, range(100000) b").await;
        let stream = cpu.run(endless, context.task_ctx(), Some(Duration::from_millis(50))).unwrap();
        let error = stream.try_collect::<Vec<_>>().await.unwrap_err();
        assert_eq!(crate::errors::classify(&error).kind, ErrorKind::DeadlineExceeded);
    }
}
