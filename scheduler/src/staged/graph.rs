//! The wrapper without which no staged job runs.
//!
//! When an executor dies, Ballista 55's own job graph either waits for ever (adaptive planning) or counts finished
//! rows twice (static planning). This wrapper decides in its place:
//!
//! 1. A report for a task that is already successful, for another attempt of its stage, or for a task twice in one
//!    batch, is dropped: the stock graph would publish its rows again.
//! 2. When an executor is lost, its running tasks go back to those that wait, as if they had failed for a reason that
//!    passes. What it had finished stays, if nobody needs it any more or if the job's driver finds stored copies of it.
//! 3. When an executor is lost with the only copy of what is needed, or a shuffle file can be fetched from nowhere, the
//!    attempt is over. The stock graph is never asked to repair itself; it is frozen, the job's driver is told, and the
//!    driver submits the job again as a new attempt under a new id, whose files cannot mix with those of this one.
//!
//! Everything else is passed to the stock graph unchanged.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use ballista_core::JobId;
use ballista_core::error::Result;
use ballista_core::serde::protobuf::failed_task::FailedReason;
use ballista_core::serde::protobuf::{FailedTask, JobStatus, ResultLost, TaskStatus, task_status};
use ballista_core::serde::scheduler::{
    ExecutorMetadata, ExecutorOperatingSystemSpecification, ExecutorSpecification, PartitionLocation,
};
use ballista_scheduler::scheduler_server::event::QueryStageSchedulerEvent;
use ballista_scheduler::state::execution_graph::{ExecutionGraph, ExecutionGraphBox, RunningTaskInfo};
use ballista_scheduler::state::execution_stage::{ExecutionStage, RunningStage};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use polarway_common::Writer;
use polarway_engine::settings::shuffle_mode;

use super::losses::{Doubt, Losses, OutputOf};

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
            self.losses.over(self.inner.job_id().as_str(), cause.clone());
            self.lost = Some(cause);
        }
    }

    fn lose(&mut self, executor: &str) {
        let doubt = Doubt { executor: executor.to_owned(), outputs: self.at_stake(executor) };
        let job = self.inner.job_id().as_str();
        if doubt.outputs.is_empty() || self.losses.is_kept(job, &doubt) {
            self.run_again(executor);
        } else if shuffle_mode(&self.inner.session_config()).stores() {
            self.losses.doubt(job, doubt);
        } else {
            self.give_up(format!("executor {executor} was lost"));
        }
    }

    /// Outputs of this attempt that the executor wrote and that are still to be read. Those of earlier attempts were
    /// read from their stored copies in the first place.
    fn at_stake(&self, executor: &str) -> Vec<OutputOf> {
        let stages = self.inner.stages();
        let is_done = |id: &usize| matches!(stages.get(id), Some(ExecutionStage::Successful(_)));
        let mut outputs: Vec<OutputOf> = vec![];
        for (id, stage) in stages {
            let consumers = stage.output_links();
            if !consumers.is_empty() && consumers.iter().all(is_done) {
                continue;
            }
            for task in stage.task_infos().into_iter().flatten() {
                let task_status::Status::Successful(success) = &task.task_status else { continue };
                if success.executor_id == executor {
                    let writers = success.partitions.iter().map(|partition| {
                        partition
                            .file_id
                            .map_or(Writer { attempt: None, task: task.task_id as u32 }, Writer::from)
                    });
                    outputs.extend(
                        writers.filter(|writer| writer.attempt.is_none()).map(|writer| (*id as u32, writer)),
                    );
                }
            }
        }
        outputs.sort_unstable();
        outputs.dedup();
        outputs
    }

    /// Has the tasks that the executor was running run elsewhere. This does not count as their failure.
    fn run_again(&mut self, executor: &str) {
        let mut interrupted = vec![];
        for (id, stage) in self.inner.stages() {
            let ExecutionStage::Running(running) = stage else { continue };
            for task in &running.task_infos {
                if matches!(&task.task_status, task_status::Status::Running(running) if running.executor_id == executor)
                {
                    interrupted.push(lost_with_executor(*id, running.stage_attempt_num, task.task_id));
                }
            }
        }
        if interrupted.is_empty() {
            return;
        }
        tracing::info!(job = %self.inner.job_id(), executor, tasks = interrupted.len(), "tasks of a lost executor run again");
        if let Err(error) =
            self.inner.update_task_status(&nobody(executor), interrupted, usize::MAX, usize::MAX)
        {
            self.give_up(format!(
                "the job graph did not take back the tasks of executor {executor}: {error}"
            ));
        }
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

/// The report that an executor can no longer send of a task.
fn lost_with_executor(stage: usize, attempt: usize, task: usize) -> TaskStatus {
    let failure = FailedTask {
        error: "the executor was lost".to_owned(),
        retryable: true,
        count_to_failures: false,
        // The graph takes no report of the task after this one.
        failed_reason: Some(FailedReason::ResultLost(ResultLost::default())),
    };
    TaskStatus {
        task_id: task as u32,
        stage_id: stage as u32,
        stage_attempt_num: attempt as u32,
        status: Some(task_status::Status::Failed(failure)),
        ..TaskStatus::default()
    }
}

/// Where the output of tasks that failed would be.
fn nobody(executor: &str) -> ExecutorMetadata {
    ExecutorMetadata {
        id: executor.to_owned(),
        host: String::new(),
        port: 0,
        grpc_port: 0,
        specification: ExecutorSpecification::default(),
        os_info: ExecutorOperatingSystemSpecification::default(),
    }
}

/// Whether the graph already holds the task's success, has given the task up with its executor, or has moved on from the
/// attempt that the report is of.
fn is_settled(stages: &HashMap<usize, ExecutionStage>, status: &TaskStatus) -> bool {
    let Some(stage) = stages.get(&(status.stage_id as usize)) else { return true };
    let ExecutionStage::Running(running) = stage else { return true };
    if running.stage_attempt_num != status.stage_attempt_num as usize {
        return true;
    }
    running.task_infos.get(status.task_id as usize).is_none_or(|task| match &task.task_status {
        task_status::Status::Running(_) => false,
        task_status::Status::Successful(_) => true,
        task_status::Status::Failed(failure) => {
            matches!(failure.failed_reason, Some(FailedReason::ResultLost(_)))
        }
    })
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
        if self.lost.is_none() {
            self.lose(executor_id);
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
