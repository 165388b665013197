//! What a job's stages and tasks did, read off its graph.

use std::collections::BTreeMap;

use ballista_core::serde::protobuf::task_status;
use ballista_scheduler::display::DisplayableBallistaExecutionPlan;
use ballista_scheduler::state::execution_graph::ExecutionGraph;
use ballista_scheduler::state::execution_stage::{ExecutionStage, TaskInfo};
use datafusion::physical_plan::displayable;
use polarway_proto::progress::{ExecutorShare, StageProgress};

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
    let mut executors: BTreeMap<String, u64> = BTreeMap::new();
    let (mut done, mut running, mut rows) = (0, 0, 0);
    for task in tasks {
        match &task.task_status {
            task_status::Status::Successful(success) => {
                done += 1;
                rows += success.partitions.iter().map(|partition| partition.num_rows).sum::<u64>();
                *executors.entry(success.executor_id.clone()).or_default() += 1;
            }
            task_status::Status::Running(_) => running += 1,
            task_status::Status::Failed(_) => {}
        }
    }
    StageProgress { id, tasks: expected_tasks(stage, tasks), done, running, rows, executors }
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
