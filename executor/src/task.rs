//! One task, from decoded definition to report.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use ballista_core::error::BallistaError;
use ballista_core::serde::protobuf::failed_task::FailedReason;
use ballista_core::serde::protobuf::{
    ExecutionError, FailedTask, OperatorMetricsSet, ShuffleWritePartition, SuccessfulTask, TaskStatus,
    task_status,
};
use ballista_core::serde::scheduler::TaskDefinition;
use ballista_executor::execution_engine::{ExecutionEngine, QueryStageExecutor};
use datafusion::common::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use futures::FutureExt;
use polarway_common::clock::unix_millis;
use polarway_common::config::ShuffleMode;
use polarway_common::{Error, ErrorKind};
use polarway_engine::cpu::panic_text;
use polarway_engine::errors;
use polarway_engine::guarded::{StoppablePlan, with_counted_input};
use polarway_engine::settings::shuffle_mode;
use tokio_util::sync::CancellationToken;

use crate::budgets::JobBudgets;
use crate::ledger::TaskId;
use crate::stored::{MemoKey, Stored, memo_key};
use crate::verify::with_counted_shuffle;

/// What every task of this executor runs with.
#[derive(Clone)]
pub struct TaskEnv {
    pub executor_id: String,
    pub engine: Arc<dyn ExecutionEngine>,
    pub budgets: Arc<JobBudgets>,
    pub work_dir: String,
    /// Copies of output; none if no place for them is configured.
    pub stored: Option<Arc<Stored>>,
}

/// The parts of a task that its report repeats.
#[derive(Debug, Clone)]
struct Identity {
    job_id: String,
    stage_id: usize,
    stage_attempt_num: usize,
    task_id: usize,
    launch_time: u64,
    started: u64,
}

/// Runs `task`; always returns a report, whatever happens inside. Cancelling `stop` ends the plan's work also where it
/// never yields, so that aborting the caller takes effect.
pub async fn execute(env: TaskEnv, task: TaskDefinition, stop: CancellationToken) -> TaskStatus {
    let identity = Identity {
        job_id: task.job_id.to_string(),
        stage_id: task.stage_id,
        stage_attempt_num: task.stage_attempt_num,
        task_id: task.task_id,
        launch_time: task.launch_time,
        started: unix_millis(SystemTime::now()),
    };
    let reads_shuffle = reads_shuffle(&task.plan);
    let copies = match Copies::of(&env, &task) {
        Ok(copies) => copies,
        Err(error) => return failed(identity, DataFusionError::External(Box::new(error)).into(), false),
    };
    let (stoppable, written) = match watched(task.plan, stop) {
        Ok(watched) => watched,
        Err(error) => return failed(identity, error.into(), reads_shuffle),
    };
    // However this function is left, also when it is aborted: no part of the plan outlives the task.
    let _stop = stoppable.stop.drop_guard();
    let exec = match env.engine.create_query_stage_exec(
        task.job_id.clone(),
        task.stage_id,
        task.task_id,
        task.global_output_partition_ids,
        stoppable.plan,
        &env.work_dir,
        &task.session_config,
    ) {
        Ok(exec) => exec,
        Err(error) => return failed(identity, error.into(), reads_shuffle),
    };
    if let Some(copies) = &copies
        && let Some(earlier) = copies.earlier(&identity).await
    {
        // It has not run, but reports as many operators as one that has: the scheduler counts them.
        let metrics = metrics(exec.as_ref());
        let success = SuccessfulTask { executor_id: env.executor_id, ..earlier };
        return status(identity, metrics, task_status::Status::Successful(success));
    }
    tracing::debug!(
        job = identity.job_id,
        stage = identity.stage_id,
        task = identity.task_id,
        memo = copies.as_ref().and_then(|copies| copies.memo).map(u128::from_be_bytes),
        "a task is computed"
    );
    let environment = match env.budgets.environment(&identity.job_id, &task.session_config) {
        Ok(environment) => environment,
        Err(error) => return failed(identity, DataFusionError::External(Box::new(error)).into(), false),
    };
    let functions = task.function_registry;
    let context = Arc::new(TaskContext::new(
        Some(format!("{}/{}/{}", identity.job_id, identity.stage_id, identity.task_id)),
        task.session_id,
        task.session_config,
        functions.scalar_functions.clone(),
        functions.higher_order_functions.clone(),
        functions.aggregate_functions.clone(),
        functions.window_functions.clone(),
        environment,
    ));
    let work = AssertUnwindSafe(exec.execute_query_stage(identity.task_id, context)).catch_unwind();
    match work.await {
        Ok(Ok(partitions)) => {
            let reported: u64 = partitions.iter().map(|partition| partition.num_rows).sum();
            let written = written.load(Ordering::Relaxed);
            if reported != written {
                let message =
                    format!("shuffle output is damaged: {reported} of {written} rows are in its files");
                let error = Error::new(ErrorKind::ExecutorLost, message);
                return failed(identity, DataFusionError::External(Box::new(error)).into(), false);
            }
            let success = match success(env.executor_id, partitions, exec.as_ref()) {
                Ok(success) => success,
                Err(error) => return failed(identity, error.into(), false),
            };
            if let Some(copies) = &copies
                && let Err(error) = copies.keep(&identity, &success).await
            {
                return failed(identity, DataFusionError::External(Box::new(error)).into(), false);
            }
            status(identity, metrics(exec.as_ref()), task_status::Status::Successful(success))
        }
        Ok(Err(error)) => failed(identity, error.into(), reads_shuffle),
        Err(panic) => {
            let message = format!("a task panicked: {}", panic_text(&panic));
            failed(
                identity,
                BallistaError::DataFusionError(Box::new(DataFusionError::Internal(message))),
                false,
            )
        }
    }
}

/// The task's plan with its shuffle input checked, guards that stop it, and the count of the rows it writes.
fn watched(
    plan: Arc<dyn ExecutionPlan>,
    stop: CancellationToken,
) -> datafusion::common::Result<(StoppablePlan, Arc<AtomicU64>)> {
    let stoppable = StoppablePlan::of_task(with_counted_shuffle(plan)?, stop)?;
    let (plan, written) = with_counted_input(stoppable.plan)?;
    Ok((StoppablePlan { plan, stop: stoppable.stop }, written))
}

fn success(
    executor_id: String,
    partitions: Vec<ShuffleWritePartition>,
    exec: &dyn QueryStageExecutor,
) -> datafusion::common::Result<SuccessfulTask> {
    Ok(SuccessfulTask {
        executor_id,
        partitions,
        runtime_stats: exec.collect_runtime_stats_reports(),
        task_column_stats: exec.collect_column_stats(),
        window_state: exec.collect_window_state_reports()?,
    })
}

fn metrics(exec: &dyn QueryStageExecutor) -> Vec<OperatorMetricsSet> {
    exec.collect_plan_metrics()
        .into_iter()
        .map(TryInto::try_into)
        .collect::<Result<Vec<OperatorMetricsSet>, BallistaError>>()
        .unwrap_or_default()
}

/// How copies of one task's output are made.
struct Copies {
    stored: Arc<Stored>,
    mode: ShuffleMode,
    /// What the task computes; `None`: its output cannot be taken over.
    memo: Option<MemoKey>,
}

impl Copies {
    /// `None` if none are to be made.
    fn of(env: &TaskEnv, task: &TaskDefinition) -> Result<Option<Self>, Error> {
        let mode = shuffle_mode(&task.session_config);
        let stored = match (&env.stored, mode) {
            (None, ShuffleMode::Local) => return Ok(None),
            (Some(stored), ShuffleMode::Local) => {
                stored.is_local(task.job_id.as_str());
                return Ok(None);
            }
            (Some(stored), _) => Arc::clone(stored),
            (None, ShuffleMode::WriteBehind | ShuffleMode::Durable) => {
                return Err(Error::new(
                    ErrorKind::Configuration,
                    format!(
                        "executor {} has no `shuffle.url`, and the query's shuffle is {mode}",
                        env.executor_id
                    ),
                )
                .with_hint("give all schedulers and executors the same section [shuffle]"));
            }
        };
        let memo = memo_key(task.stage_id, &task.plan).unwrap_or_else(|error| {
            tracing::warn!(job = %task.job_id, %error, "a task's output cannot be taken over by later attempts");
            None
        });
        Ok(Some(Self { stored, mode, memo }))
    }

    /// What an earlier attempt has of the same task.
    async fn earlier(&self, identity: &Identity) -> Option<SuccessfulTask> {
        self.stored.reuse(&identity.job_id, self.memo?).await
    }

    async fn keep(&self, identity: &Identity, success: &SuccessfulTask) -> Result<(), Error> {
        let Identity { job_id, stage_id, task_id, .. } = identity;
        let wrote = TaskId { job: job_id.clone(), stage: *stage_id, task: *task_id };
        self.stored.keep(wrote, self.memo, self.mode, success).await
    }
}

/// The report of a task that could not even be decoded.
pub fn undecodable(
    job_id: String,
    stage_id: usize,
    stage_attempt_num: usize,
    task_id: usize,
    launch_time: u64,
    error: BallistaError,
) -> TaskStatus {
    let identity = Identity {
        job_id,
        stage_id,
        stage_attempt_num,
        task_id,
        launch_time,
        started: unix_millis(SystemTime::now()),
    };
    failed(identity, error, false)
}

fn failed(identity: Identity, error: BallistaError, reads_shuffle: bool) -> TaskStatus {
    status(identity, vec![], task_status::Status::Failed(to_failure(error, reads_shuffle)))
}

/// Whether the task reads what other tasks wrote.
fn reads_shuffle(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.name().contains("ShuffleReader") || plan.children().into_iter().any(reads_shuffle)
}

/// Ballista's own classification decides about retries; everything it would give up on carries our typed error.
fn to_failure(error: BallistaError, reads_shuffle: bool) -> FailedTask {
    let mut typed = typed(&error);
    if reads_shuffle
        && let Some(error) = &mut typed
        && is_torn_stream(error)
    {
        // Ballista reports a fetch failure only while a stream is opened; one that breaks later looks like bad data.
        *error =
            Error::new(ErrorKind::ExecutorLost, format!("a shuffle stream broke off: {}", error.message));
    }
    let failure = FailedTask::from(error);
    match (&failure.failed_reason, typed) {
        (Some(FailedReason::ExecutionError(_)) | None, Some(typed)) => FailedTask {
            error: errors::to_text(&typed),
            retryable: false,
            count_to_failures: false,
            failed_reason: Some(FailedReason::ExecutionError(ExecutionError {})),
        },
        _ => failure,
    }
}

fn typed(error: &BallistaError) -> Option<Error> {
    match error {
        BallistaError::DataFusionError(inner) => Some(errors::classify(inner)),
        BallistaError::ArrowError(inner) => Some(errors::arrow_error(inner)),
        BallistaError::IoError(_) | BallistaError::Cancelled | BallistaError::FetchFailed(..) => None,
        other => {
            let text = other.to_string();
            Some(errors::of_text(&text).unwrap_or_else(|| Error::internal(text)))
        }
    }
}

/// Whether an error is what remains of a peer that died, or of a shuffle file that was removed, while it was read.
fn is_torn_stream(error: &Error) -> bool {
    const SIGNS: [&str; 11] = [
        "failed to fill whole buffer",
        "found empty stream",
        "Ipc error",
        "h2 protocol error",
        "transport error",
        "error reading a body",
        "connection reset",
        "broken pipe",
        "BrokenPipe",
        "No such file",
        "Unexpected End of Stream",
    ];
    // What Arrow says of a stream that ends too soon; a damaged table names its format or its line.
    let of_a_table = ["Parquet", "line ", "JSON"].iter().any(|sign| error.message.contains(sign));
    match error.kind {
        ErrorKind::CorruptFile if !of_a_table => true,
        ErrorKind::FileNotFound | ErrorKind::CorruptFile | ErrorKind::Internal | ErrorKind::ExecutorLost => {
            SIGNS.iter().any(|sign| error.message.contains(sign)) || error.kind == ErrorKind::ExecutorLost
        }
        _ => false,
    }
}

fn status(identity: Identity, metrics: Vec<OperatorMetricsSet>, status: task_status::Status) -> TaskStatus {
    TaskStatus {
        task_id: identity.task_id as u32,
        job_id: identity.job_id,
        stage_id: identity.stage_id as u32,
        stage_attempt_num: identity.stage_attempt_num as u32,
        launch_time: identity.launch_time,
        start_exec_time: identity.started,
        end_exec_time: unix_millis(SystemTime::now()),
        metrics,
        status: Some(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executor_death_in_the_middle_of_a_stream_is_a_loss_and_not_bad_data() {
        let torn = || {
            let text =
                "Ipc error: code: 'Unknown error', message: \"h2 protocol error: error reading a body\"";
            let arrow = arrow::error::ArrowError::IpcError(text.into());
            BallistaError::DataFusionError(Box::new(DataFusionError::ArrowError(Box::new(arrow), None)))
        };
        let kind = |reads_shuffle| {
            errors::find_in_text(&to_failure(torn(), reads_shuffle).error).map(|error| error.kind)
        };
        assert_eq!(kind(true), Some(ErrorKind::ExecutorLost));
        assert_eq!(kind(false), Some(ErrorKind::CorruptFile));
    }

    #[test]
    fn a_failure_keeps_its_kind_through_ballista() {
        let error = DataFusionError::ResourcesExhausted("no memory left".into());
        let failure = to_failure(BallistaError::DataFusionError(Box::new(error)), true);
        let text = format!("Job failed due to stage 2 failed: {}", failure.error);
        assert_eq!(errors::find_in_text(&text).unwrap().kind, ErrorKind::OutOfMemory);
        assert!(!failure.retryable);
    }

    #[test]
    fn a_missing_shuffle_file_stays_a_fetch_failure() {
        let failure = to_failure(BallistaError::FetchFailed("e1".into(), 1, 2, "gone".into()), true);
        assert!(matches!(failure.failed_reason, Some(FailedReason::FetchPartitionError(_))));
    }
}
