//! Work for the computing threads that is more than running a finished plan: making one, and making messages of its
//! batches. All of it for one query is done by one task, so that a small query changes threads no more often than it
//! must.

use std::convert::identity;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::FlightData;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use polarway_common::Error;
use polarway_proto::status::error_from_status;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::cpu::{CpuRuntime, to_its_end};
use crate::errors::classify;
use crate::flight;
use crate::guarded::StoppablePlan;
use crate::handover::{Giver, handover};

/// Messages a plan may be ahead of their reader.
const AHEAD: usize = 4;

/// A plan and the context that it runs in.
#[derive(Debug)]
pub struct Work {
    pub plan: Arc<dyn ExecutionPlan>,
    pub context: Arc<TaskContext>,
}

/// Does `work` on the computing threads; `what` names it in errors. Dropping the future stops the work.
///
/// # Errors
/// Those of `work`; `Internal` when it panics.
pub async fn compute<T: Send + 'static>(
    cpu: &CpuRuntime,
    what: &str,
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let task = AbortOnDropHandle::new(cpu.handle().spawn(work.in_current_span()));
    task.await.map_err(|error| Error::internal(format!("{what} broke off: {error}")))?
}

/// Makes a plan, runs it and encodes its batches, all on the computing threads. Dropping the stream stops the plan.
pub fn messages(
    cpu: &CpuRuntime,
    work: impl Future<Output = Result<Work, Error>> + Send + 'static,
    timeout: Option<Duration>,
) -> BoxStream<'static, Result<FlightData, Error>> {
    let (giver, stream) = handover(AHEAD, || Error::internal("the plan was stopped before its end"));
    let fate = Arc::new(Mutex::new(Fate::Making));
    let task = cpu.handle().spawn({
        let fate = Arc::clone(&fate);
        let work = async move {
            let outcome = to_its_end(run(work, &fate, &giver), timeout, identity).await;
            giver.end(outcome);
        };
        work.in_current_span()
    });
    let guard = StopOnDrop { fate, _task: AbortOnDropHandle::new(task) };
    stream
        .map(move |message| {
            let _running = &guard;
            message
        })
        .boxed()
}

async fn run(
    work: impl Future<Output = Result<Work, Error>> + Send,
    fate: &Mutex<Fate>,
    giver: &Giver<FlightData, Error>,
) -> Result<(), Error> {
    let Work { plan, context } = work.await?;
    let StoppablePlan { plan, stop } = StoppablePlan::of_query(plan).map_err(|error| classify(&error))?;
    let wanted = fate.lock().runs(stop);
    if !wanted {
        return Ok(());
    }
    let batches = execute_stream(plan, context).map_err(|error| classify(&error))?;
    let mut encoded = flight::encode(batches).fuse();
    // The schema is there before the plan has done anything; it waits for the first batch, so that its reader is woken
    // once.
    let mut schema = next(&mut encoded).await?;
    loop {
        let message = next(&mut encoded).await?;
        let ended = message.is_none();
        for message in schema.take().into_iter().chain(message) {
            if !giver.give(message).await {
                return Ok(());
            }
        }
        if ended {
            return Ok(());
        }
    }
}

async fn next(
    encoded: &mut (impl Stream<Item = Result<FlightData, tonic::Status>> + Unpin + Send),
) -> Result<Option<FlightData>, Error> {
    encoded.next().await.transpose().map_err(|status| error_from_status(&status))
}

/// What has become of a plan, as its task and its reader both see it.
#[derive(Debug)]
enum Fate {
    Making,
    /// Aborting the task is not enough: loops over a join's pairs end at this token only.
    Running(CancellationToken),
    Unwanted,
}

impl Fate {
    /// Notes that the plan runs; false when nobody wants it any more.
    fn runs(&mut self, stop: CancellationToken) -> bool {
        if matches!(self, Fate::Unwanted) {
            return false;
        }
        *self = Fate::Running(stop);
        true
    }
}

#[derive(Debug)]
struct StopOnDrop {
    fate: Arc<Mutex<Fate>>,
    _task: AbortOnDropHandle<()>,
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        let before = std::mem::replace(&mut *self.fate.lock(), Fate::Unwanted);
        if let Fate::Running(stop) = before {
            stop.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;
    use futures::TryStreamExt;
    use polarway_common::ErrorKind;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    async fn work(context: SessionContext, sql: &'static str) -> Result<Work, Error> {
        let plan = context.sql(sql).await.map_err(|error| classify(&error))?;
        let plan = plan.create_physical_plan().await.map_err(|error| classify(&error))?;
        Ok(Work { plan, context: context.task_ctx() })
    }

    #[tokio::test]
    async fn a_query_is_planned_run_and_encoded_elsewhere() {
        let cpu = CpuRuntime::new("test-cpu", 1).unwrap();
        let context = SessionContext::new();
        let stream = messages(&cpu, work(context.clone(), "select count(*) from range(1000)"), Some(LIMIT));
        let whole: Vec<FlightData> = stream.try_collect().await.unwrap();
        assert_eq!(whole.len(), 2, "a schema and a batch");
        let nothing = messages(&cpu, work(context.clone(), "select 1 where false"), None);
        assert_eq!(nothing.try_collect::<Vec<_>>().await.unwrap().len(), 1, "a schema");
        let wrong = messages(&cpu, work(context, "select * from nowhere"), None);
        assert_eq!(wrong.try_collect::<Vec<_>>().await.unwrap_err().kind, ErrorKind::TableNotFound);
    }

    #[tokio::test]
    async fn a_panic_and_a_deadline_are_errors() {
        let cpu = CpuRuntime::new("test-cpu", 1).unwrap();
        let stream = messages(&cpu, async { panic!("boom") }, None);
        let error = stream.try_collect::<Vec<_>>().await.unwrap_err();
        assert!(error.message.contains("boom"), "{error}");
        let endless = "select sum(a.value * b.value) from range(100000) a, range(100000) b";
        let stream = messages(&cpu, work(SessionContext::new(), endless), Some(Duration::from_millis(50)));
        let error = stream.try_collect::<Vec<_>>().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::DeadlineExceeded);
        let outcome: Result<(), Error> = compute(&cpu, "planning", async { panic!("boom") }).await;
        assert!(outcome.unwrap_err().message.starts_with("planning broke off"));
    }

    #[tokio::test]
    async fn a_plan_that_nobody_reads_stops() {
        let cpu = CpuRuntime::new("test-cpu", 1).unwrap();
        let endless =
            "select a.value from range(1000000000) a, range(1000000000) b where a.value < 0 and b.value < 0";
        let (made, is_made) = tokio::sync::oneshot::channel();
        let making = async move {
            let work = work(SessionContext::new(), endless).await;
            let _ = made.send(());
            work
        };
        let stream = messages(&cpu, making, None);
        is_made.await.unwrap();
        drop(stream);
        // The one thread is free again.
        let after = tokio::time::timeout(LIMIT, compute(&cpu, "counting", async { Ok(1) })).await;
        assert_eq!(after.unwrap(), Ok(1));
    }
}
