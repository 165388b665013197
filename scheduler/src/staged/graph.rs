//! The wrapper without which no staged job runs.
//!
//! When an executor dies, Ballista 55's own job graph either waits for ever (adaptive planning) or counts finished
//! rows twice (static planning). This wrapper decides in its place:
//!
//! 1. A report for a task that is already successful, for another attempt of its stage, or for a task twice in one
//!    batch, is dropped: the stock graph would publish its rows again.
//! 2. When an executor that ran any task of the job is lost, or a shuffle file cannot be fetched, the attempt is over.
//!    The stock graph is never asked to repair itself; it is frozen, the job's driver is told, and the driver submits
//!    the job again as a new attempt under a new id, whose files cannot mix with those of this one.
//!
//! Everything else is passed to the stock graph unchanged.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use ballista_core::JobId;
use ballista_core::error::Result;
use ballista_core::serde::protobuf::failed_task::FailedReason;
use ballista_core::serde::protobuf::{FailedTask, JobStatus, TaskStatus, task_status};
use ballista_core::serde::scheduler::{ExecutorMetadata, PartitionLocation};
use ballista_scheduler::scheduler_server::event::QueryStageSchedulerEvent;
use ballista_scheduler::state::execution_graph::{ExecutionGraph, ExecutionGraphBox, RunningTaskInfo};
use ballista_scheduler::state::execution_stage::{ExecutionStage, RunningStage};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;

use super::losses::{Loss, Losses};

/// See the module's page.
pub struct GuardedGraph {
    inner: ExecutionGraphBox,
    losses: Losses,
    /// Set once, when the attempt is over; nothing happens to the graph after it.
    lost: Option<String>,
}

impl GuardedGraph {
    pub fn new(inner: ExecutionGraphBox, losses: Losses) -> Self {
        Self { inner, losses, lost: None }
    }

    fn give_up(&mut self, cause: String) {
        if self.lost.is_none() && !self.inner.is_successful() {
            self.losses.tell(Loss { job_id: self.inner.job_id().to_string(), cause: cause.clone() });
            self.lost = Some(cause);
        }
    }

    /// Whether any task of the job ran or runs on the executor.
    fn involves(&self, executor_id: &str) -> bool {
        self.inner.stages().values().any(|stage| {
            stage
                .task_infos()
                .into_iter()
                .flatten()
                .any(|task| executor_of(&task.task_status).is_some_and(|id| id == executor_id))
        })
    }

    /// Drops reports that would count twice.
    fn fresh(&self, statuses: Vec<TaskStatus>) -> Vec<TaskStatus> {
        let mut seen = HashSet::new();
        statuses
            .into_iter()
            .filter(|status| {
                status.status.is_some()
                    && seen.insert((status.stage_id, status.task_id))
                    && !is_settled(self.inner.stages(), status)
            })
            .collect()
    }
}

/// The executor a task is on, while it runs or after it succeeded.
fn executor_of(status: &task_status::Status) -> Option<&str> {
    match status {
        task_status::Status::Running(running) => Some(&running.executor_id),
        task_status::Status::Successful(successful) => Some(&successful.executor_id),
        task_status::Status::Failed(_) => None,
    }
}

/// Whether the graph already holds the task's success, or has moved on from the attempt that the report is of.
fn is_settled(stages: &HashMap<usize, ExecutionStage>, status: &TaskStatus) -> bool {
    let Some(stage) = stages.get(&(status.stage_id as usize)) else { return true };
    let ExecutionStage::Running(running) = stage else { return true };
    if running.stage_attempt_num != status.stage_attempt_num as usize {
        return true;
    }
    running
        .task_infos
        .get(status.task_id as usize)
        .is_none_or(|task| matches!(task.task_status, task_status::Status::Successful(_)))
}

/// The cause, if the failure means that finished work is gone or that the task was stopped from outside.
fn loss_of(failure: &FailedTask) -> Option<String> {
    match &failure.failed_reason {
        Some(FailedReason::FetchPartitionError(fetch)) => Some(format!(
            "a shuffle file of stage {} on executor {} could not be read: {}",
            fetch.map_stage_id, fetch.executor_id, failure.error
        )),
        Some(FailedReason::ExecutorLost(_) | FailedReason::ResultLost(_) | FailedReason::TaskKilled(_)) => {
            Some(failure.error.clone())
        }
        _ => None,
    }
}

impl fmt::Debug for GuardedGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuardedGraph(lost: {:?}, {:?})", self.lost, self.inner)
    }
}

impl ExecutionGraph for GuardedGraph {
    fn update_task_status(
        &mut self,
        executor: &ExecutorMetadata,
        task_statuses: Vec<TaskStatus>,
        max_task_failures: usize,
        max_stage_failures: usize,
    ) -> Result<Vec<QueryStageSchedulerEvent>> {
        if self.lost.is_some() {
            return Ok(vec![]);
        }
        let fresh = self.fresh(task_statuses);
        let loss = fresh.iter().find_map(|status| match &status.status {
            Some(task_status::Status::Failed(failure)) => loss_of(failure),
            _ => None,
        });
        if let Some(cause) = loss {
            self.give_up(cause);
            return Ok(vec![]);
        }
        if fresh.is_empty() {
            return Ok(vec![]);
        }
        let outcome = self.inner.update_task_status(executor, fresh, max_task_failures, max_stage_failures);
        if let Err(error) = &outcome {
            // Ballista only logs this and would wait for ever.
            self.give_up(format!("the job graph refused a task report: {error}"));
            return Ok(vec![]);
        }
        outcome
    }

    fn reset_stages_on_lost_executor(
        &mut self,
        executor_id: &str,
    ) -> Result<(HashSet<usize>, Vec<RunningTaskInfo>)> {
        if self.lost.is_none() && self.involves(executor_id) {
            self.give_up(format!("executor {executor_id} was lost"));
        }
        Ok((HashSet::new(), vec![]))
    }

    fn revive(&mut self) -> bool {
        self.lost.is_none() && self.inner.revive()
    }

    fn available_tasks(&self) -> usize {
        if self.lost.is_some() { 0 } else { self.inner.available_tasks() }
    }

    fn fetch_running_stage(&mut self, black_list: &[usize]) -> Option<&mut RunningStage> {
        if self.lost.is_some() { None } else { self.inner.fetch_running_stage(black_list) }
    }

    fn cloned(&self) -> ExecutionGraphBox {
        Box::new(Self { inner: self.inner.cloned(), losses: self.losses.clone(), lost: self.lost.clone() })
    }

    fn job_id(&self) -> &JobId {
        self.inner.job_id()
    }

    fn job_name(&self) -> &str {
        self.inner.job_name()
    }

    fn session_id(&self) -> &str {
        self.inner.session_id()
    }

    fn scheduler_id(&self) -> Option<&str> {
        self.inner.scheduler_id()
    }

    fn session_config(&self) -> Arc<SessionConfig> {
        self.inner.session_config()
    }

    fn status(&self) -> &JobStatus {
        self.inner.status()
    }

    fn logical_plan(&self) -> Option<&str> {
        self.inner.logical_plan()
    }

    fn physical_plan(&self) -> Arc<dyn ExecutionPlan> {
        self.inner.physical_plan()
    }

    fn start_time(&self) -> u64 {
        self.inner.start_time()
    }

    fn end_time(&self) -> u64 {
        self.inner.end_time()
    }

    fn completed_stages(&self) -> usize {
        self.inner.completed_stages()
    }

    fn is_successful(&self) -> bool {
        self.inner.is_successful()
    }

    fn running_stages(&self) -> Vec<usize> {
        self.inner.running_stages()
    }

    fn running_tasks(&self) -> Vec<RunningTaskInfo> {
        self.inner.running_tasks()
    }

    fn update_status(&mut self, status: JobStatus) {
        self.inner.update_status(status);
    }

    fn output_locations(&self) -> Vec<PartitionLocation> {
        self.inner.output_locations()
    }

    fn resolve_stage(&mut self, stage_id: usize) -> Result<bool> {
        self.inner.resolve_stage(stage_id)
    }

    fn succeed_stage(&mut self, stage_id: usize) -> bool {
        self.inner.succeed_stage(stage_id)
    }

    fn fail_stage(&mut self, stage_id: usize, message: String) -> bool {
        self.inner.fail_stage(stage_id, message)
    }

    fn rollback_running_stage(
        &mut self,
        stage_id: usize,
        failure_reasons: HashSet<String>,
    ) -> Result<Vec<RunningTaskInfo>> {
        self.inner.rollback_running_stage(stage_id, failure_reasons)
    }

    fn rollback_resolved_stage(&mut self, stage_id: usize) -> Result<bool> {
        self.inner.rollback_resolved_stage(stage_id)
    }

    fn rerun_successful_stage(&mut self, stage_id: usize) -> bool {
        self.inner.rerun_successful_stage(stage_id)
    }

    fn fail_job(&mut self, error: String) {
        self.inner.fail_job(error);
    }

    fn abort_running(&mut self, error: String) -> Vec<RunningTaskInfo> {
        self.inner.abort_running(error)
    }

    fn succeed_job(&mut self) -> Result<()> {
        self.inner.succeed_job()
    }

    fn stages(&self) -> &HashMap<usize, ExecutionStage> {
        self.inner.stages()
    }

    fn intermediate_stage_ids(&self) -> Vec<u32> {
        self.inner.intermediate_stage_ids()
    }

    fn task_vcores(&self, stage_id: usize, task_id: usize) -> Option<u32> {
        self.inner.task_vcores(stage_id, task_id)
    }

    fn stage_count(&self) -> usize {
        self.inner.stage_count()
    }
}
