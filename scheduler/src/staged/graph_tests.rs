//! The graph wrapper against Ballista's own graph, fed the same reports. What the stock graph does wrong is shown too:
//! when an upgrade mends it, these tests fail and the wrapper can be thought over.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use ballista_core::extension::SessionConfigExt;
use ballista_core::serde::protobuf::failed_task::FailedReason;
use ballista_core::serde::protobuf::{
    FailedTask, FetchPartitionError, ShuffleWritePartition, SuccessfulTask, TaskStatus, task_status,
};
use ballista_core::serde::scheduler::{
    ExecutorMetadata, ExecutorOperatingSystemSpecification, ExecutorSpecification,
};
use ballista_scheduler::planner::DefaultDistributedPlanner;
use ballista_scheduler::state::execution_graph::{
    ExecutionGraph, ExecutionGraphBox, StaticExecutionGraph, create_task_info,
};
use ballista_scheduler::state::execution_stage::ExecutionStage;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::graph::GuardedGraph;
use super::losses::Losses;

const ROWS: u64 = 10;

async fn stock() -> ExecutionGraphBox {
    let config = SessionConfig::new_with_ballista()
        .with_target_partitions(2)
        .set_bool("ballista.planner.adaptive.enabled", false);
    let context = SessionContext::new_with_config(config);
    let schema = Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, false),
        Field::new("v", DataType::Int64, false),
    ]));
    let column = || Arc::new(Int64Array::from_iter_values(0..100)) as _;
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column(), column()]).unwrap();
    let table = MemTable::try_new(schema, vec![vec![batch.clone()], vec![batch]]).unwrap();
    context.register_table("t", Arc::new(table)).unwrap();
    let plan = context
        .sql("select k, sum(v) from t group by k")
        .await
        .unwrap()
        .create_physical_plan()
        .await
        .unwrap();
    let config = Arc::new(context.copied_config());
    let mut planner = DefaultDistributedPlanner::new();
    let mut graph: ExecutionGraphBox = Box::new(
        StaticExecutionGraph::new("s", &"job".into(), "", "session", plan, 0, config, &mut planner, None)
            .unwrap(),
    );
    graph.revive();
    graph
}

fn executor(id: &str) -> ExecutorMetadata {
    ExecutorMetadata {
        id: id.to_owned(),
        host: "localhost".to_owned(),
        port: 1,
        grpc_port: 1,
        specification: ExecutorSpecification::default().with_vcores(1),
        os_info: ExecutorOperatingSystemSpecification::default(),
    }
}

/// Binds one input partition of the running stage to an executor; gives stage and task.
fn bind(graph: &mut dyn ExecutionGraph, executor: &str) -> Option<(usize, usize)> {
    let stage = graph.fetch_running_stage(&[])?;
    let slice = stage.pending.next_slice(1);
    if slice.is_empty() {
        return None;
    }
    let task = stage.task_infos.len();
    let mut info = create_task_info(executor.to_owned(), task);
    info.global_input_partition_ids = slice;
    info.vcores_consumed = 1;
    stage.task_infos.push(info);
    Some((stage.stage_id, task))
}

fn success(executor: &str, (stage, task): (usize, usize)) -> TaskStatus {
    let partitions = (0..2)
        .map(|partition_id| ShuffleWritePartition {
            partition_id,
            num_batches: 1,
            num_rows: ROWS,
            num_bytes: 80,
            file_id: Some(task as u64),
            is_sort_shuffle: true,
        })
        .collect();
    report(
        stage,
        task,
        task_status::Status::Successful(SuccessfulTask {
            executor_id: executor.to_owned(),
            partitions,
            ..SuccessfulTask::default()
        }),
    )
}

fn report(stage: usize, task: usize, status: task_status::Status) -> TaskStatus {
    TaskStatus {
        task_id: task as u32,
        job_id: "job".to_owned(),
        stage_id: stage as u32,
        status: Some(status),
        ..TaskStatus::default()
    }
}

fn update(graph: &mut dyn ExecutionGraph, id: &str, statuses: Vec<TaskStatus>) {
    graph.update_task_status(&executor(id), statuses, 4, 4).unwrap();
    graph.revive();
}

/// How many pieces the second stage would read; each piece is one task's output for one partition.
fn pieces(graph: &dyn ExecutionGraph) -> usize {
    let inputs = graph.stages().values().find_map(|stage| match stage {
        ExecutionStage::UnResolved(stage) => Some(&stage.inputs),
        ExecutionStage::Resolved(stage) => Some(&stage.inputs),
        ExecutionStage::Running(stage) if !stage.inputs.is_empty() => Some(&stage.inputs),
        _ => None,
    });
    inputs
        .into_iter()
        .flat_map(|inputs| inputs.values())
        .flat_map(|output| output.partition_locations.values())
        .map(Vec::len)
        .sum()
}

fn guarded(inner: ExecutionGraphBox, losses: &Losses) -> ExecutionGraphBox {
    Box::new(GuardedGraph::new(inner, losses.clone()))
}

#[tokio::test]
async fn the_stock_graph_still_counts_a_report_twice_and_the_wrapper_does_not() {
    let run = |mut graph: ExecutionGraphBox| {
        let first = bind(graph.as_mut(), "a").unwrap();
        let _second = bind(graph.as_mut(), "b").unwrap();
        update(graph.as_mut(), "a", vec![success("a", first)]);
        update(graph.as_mut(), "a", vec![success("a", first), success("a", first)]);
        pieces(graph.as_ref())
    };
    assert_eq!(run(guarded(stock().await, &Losses::default())), 2);
    assert!(run(stock().await) > 2, "Ballista has learned to drop duplicate reports");
}

#[tokio::test]
async fn executor_death_ends_the_attempt_and_freezes_the_graph() {
    let losses = Losses::default();
    let mut listener = losses.listen("job");
    let mut graph = guarded(stock().await, &losses);
    let first = bind(graph.as_mut(), "a").unwrap();
    update(graph.as_mut(), "a", vec![success("a", first)]);
    let second = bind(graph.as_mut(), "b").unwrap();
    graph.reset_stages_on_lost_executor("a").unwrap();
    assert!(listener.lost().await.contains("executor a"));
    assert_eq!(graph.available_tasks(), 0);
    assert!(bind(graph.as_mut(), "b").is_none());
    let before = pieces(graph.as_ref());
    update(graph.as_mut(), "b", vec![success("b", second)]);
    assert_eq!(pieces(graph.as_ref()), before);
    assert!(!graph.is_successful());
}

#[tokio::test]
async fn the_death_of_an_executor_that_took_no_part_changes_nothing() {
    let losses = Losses::default();
    let mut graph = guarded(stock().await, &losses);
    let first = bind(graph.as_mut(), "a").unwrap();
    graph.reset_stages_on_lost_executor("z").unwrap();
    update(graph.as_mut(), "a", vec![success("a", first)]);
    assert_eq!(pieces(graph.as_ref()), 2);
    assert!(graph.available_tasks() > 0);
}

#[tokio::test]
async fn a_missing_shuffle_file_ends_the_attempt() {
    let losses = Losses::default();
    let mut listener = losses.listen("job");
    let mut graph = guarded(stock().await, &losses);
    let first = bind(graph.as_mut(), "a").unwrap();
    let second = bind(graph.as_mut(), "b").unwrap();
    update(graph.as_mut(), "a", vec![success("a", first)]);
    update(graph.as_mut(), "b", vec![success("b", second)]);
    let reader = bind(graph.as_mut(), "b").unwrap();
    let failure = FailedTask {
        error: "no such file".to_owned(),
        failed_reason: Some(FailedReason::FetchPartitionError(FetchPartitionError {
            executor_id: "a".to_owned(),
            map_stage_id: first.0 as u32,
            map_partition_id: 0,
        })),
        ..FailedTask::default()
    };
    update(graph.as_mut(), "b", vec![report(reader.0, reader.1, task_status::Status::Failed(failure))]);
    assert!(listener.lost().await.contains("could not be read"));
}

#[tokio::test]
async fn an_undisturbed_job_ends_well() {
    let losses = Losses::default();
    let mut graph = guarded(stock().await, &losses);
    while let Some(task) = bind(graph.as_mut(), "a") {
        update(graph.as_mut(), "a", vec![success("a", task)]);
    }
    assert!(graph.is_successful());
}
