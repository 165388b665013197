//! What a job's stages and tasks did, read off its graph.

use std::collections::BTreeMap;

use ballista_core::serde::protobuf::task_status;
use ballista_scheduler::display::DisplayableBallistaExecutionPlan;
use ballista_scheduler::state::execution_graph::ExecutionGraph;
use ballista_scheduler::state::execution_stage::{ExecutionStage, TaskInfo};
use datafusion::physical_plan::displayable;
use datafusion::physical_plan::metrics::MetricsSet;
use polarway_proto::progress::{ExecutorShare, StageProgress};

const NANOS_PER_MILLI: u64 = 1_000_000;

/// Stages in the order of their ids, and the share of each executor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobReport {
    pub stages: Vec<StageProgress>,
    pub executors: BTreeMap<String, ExecutorShare>,
}

/// A task that the graph believes to be running.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunningTask {
    pub executor: String,
    pub stage: u64,
    pub task: u64,
}

pub fn report(graph: &dyn ExecutionGraph) -> JobReport {
    let mut stages: Vec<StageProgress> =
        graph.stages().iter().map(|(id, stage)| stage_progress(*id as u64, stage)).collect();
    stages.sort_by_key(|stage| stage.id);
    let mut executors: BTreeMap<String, ExecutorShare> = BTreeMap::new();
    for stage in &stages {
        for (executor, tasks) in &stage.executors {
            executors.entry(executor.clone()).or_default().tasks += tasks;
        }
    }
    JobReport { stages, executors }
}

/// Tasks that the graph believes to be running, sorted.
pub fn running_tasks(graph: &dyn ExecutionGraph) -> Vec<RunningTask> {
    let mut running: Vec<RunningTask> = graph
        .running_tasks()
        .into_iter()
        .map(|task| RunningTask {
            executor: task.executor_id,
            stage: task.stage_id as u64,
            task: task.task_id as u64,
        })
        .collect();
    running.sort();
    running
}

/// Each stage's plan with what its operators measured: rows, time, bytes, spill.
pub fn measured_plans(graph: &dyn ExecutionGraph) -> Vec<(u64, String)> {
    let mut plans: Vec<(u64, String)> = graph
        .stages()
        .iter()
        .map(|(id, stage)| {
            let text = match stage {
                ExecutionStage::Successful(done) => {
                    DisplayableBallistaExecutionPlan::new(stage.plan(), &done.stage_metrics)
                        .indent()
                        .to_string()
                }
                _ => displayable(stage.plan()).indent(false).to_string(),
            };
            (*id as u64, text)
        })
        .collect();
    plans.sort_by_key(|(id, _)| *id);
    plans
}

fn stage_progress(id: u64, stage: &ExecutionStage) -> StageProgress {
    let tasks = stage.task_infos().unwrap_or_default();
    let mut progress = StageProgress { id, tasks: expected_tasks(stage, tasks), ..StageProgress::default() };
    for task in tasks {
        match &task.task_status {
            task_status::Status::Successful(success) => {
                progress.done += 1;
                progress.rows += success.partitions.iter().map(|partition| partition.num_rows).sum::<u64>();
                progress.bytes += success.partitions.iter().map(|partition| partition.num_bytes).sum::<u64>();
                *progress.executors.entry(success.executor_id.clone()).or_default() += 1;
            }
            task_status::Status::Running(running) => {
                progress.running += 1;
                *progress.running_on.entry(running.executor_id.clone()).or_default() += 1;
            }
            task_status::Status::Failed(_) => {}
        }
    }
    let time = |millis: u128| u64::try_from(millis).ok().filter(|millis| *millis > 0);
    progress.started_ms = tasks.iter().filter_map(|task| time(task.launch_time)).min();
    if progress.tasks > 0 && progress.done == progress.tasks {
        progress.ended_ms = tasks.iter().filter_map(|task| time(task.finish_time)).max();
    }
    for operator in measured(stage) {
        progress.compute_ms += operator.elapsed_compute().unwrap_or(0) as u64;
        progress.spilled_bytes += spilled(operator);
    }
    progress.compute_ms /= NANOS_PER_MILLI;
    progress.feeds = stage.output_links().iter().map(|stage| *stage as u64).collect();
    progress.feeds.sort_unstable();
    progress
}

/// What the operators of tasks that have ended measured.
fn measured(stage: &ExecutionStage) -> &[MetricsSet] {
    match stage {
        ExecutionStage::Running(running) => running.stage_metrics.as_deref().unwrap_or_default(),
        ExecutionStage::Successful(done) => &done.stage_metrics,
        ExecutionStage::UnResolved(_) | ExecutionStage::Resolved(_) | ExecutionStage::Failed(_) => &[],
    }
}

/// Bytes that an operator spilled. Ballista's sorting shuffle counts its own under another name.
fn spilled(operator: &MetricsSet) -> u64 {
    let shuffle = operator.sum_by_name("spill_bytes").map_or(0, |value| value.as_usize());
    (operator.spilled_bytes().unwrap_or(0) + shuffle) as u64
}

/// Tasks bound so far plus partitions still to be bound; several partitions may share a task.
fn expected_tasks(stage: &ExecutionStage, bound: &[TaskInfo]) -> u64 {
    let pending = match stage {
        ExecutionStage::Running(running) => running.available_tasks(),
        ExecutionStage::Resolved(resolved) => resolved.partitions,
        ExecutionStage::UnResolved(_) | ExecutionStage::Successful(_) | ExecutionStage::Failed(_) => 0,
    };
    (bound.len() + pending) as u64
}
