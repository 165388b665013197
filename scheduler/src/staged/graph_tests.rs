//! The graph wrapper against Ballista's own graph, fed the same reports. What the stock graph does wrong is shown too:
//! when an upgrade mends it, these tests fail and the wrapper can be thought over.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use ballista_core::JobId;
use ballista_core::extension::SessionConfigExt;
use ballista_core::serde::protobuf::failed_task::FailedReason;
use ballista_core::serde::protobuf::{
    FailedTask, FetchPartitionError, ShuffleWritePartition, SuccessfulTask, TaskStatus, task_status,
};
use ballista_core::serde::scheduler::{
    ExecutorData, ExecutorMetadata, ExecutorOperatingSystemSpecification, ExecutorSpecification,
};
use ballista_scheduler::planner::DefaultDistributedPlanner;
use ballista_scheduler::state::execution_graph::{
    ExecutionGraph, ExecutionGraphBox, StaticExecutionGraph, create_task_info,
};
use ballista_scheduler::state::execution_stage::ExecutionStage;
use datafusion::datasource::MemTable;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use polarway_common::Writer;
use polarway_common::config::ShuffleMode;
use polarway_engine::settings::PolarwayOptions;
use tokio::net::TcpListener;
use tokio::sync::RwLock;

use polarway_identity::{Credential, Tls};

use super::ballista::{Ballista, BallistaOptions, Submitted};
use super::graph::GuardedGraph;
use super::losses::{Doubt, Loss, LossListener, Losses};
use crate::peers::Peers;

const ROWS: u64 = 10;
const TWO_STAGES: &str = "select k, sum(v) from t group by k";
const THREE_STAGES: &str = "select k, sum(v) from t group by k order by k";

async fn planned(sql: &str) -> (SessionContext, Arc<dyn ExecutionPlan>) {
    planned_in(ShuffleMode::Local, sql).await
}

async fn planned_in(mode: ShuffleMode, sql: &str) -> (SessionContext, Arc<dyn ExecutionPlan>) {
    let options = PolarwayOptions { shuffle: mode.to_string(), ..PolarwayOptions::default() };
    let config = SessionConfig::new_with_ballista()
        .with_option_extension(options)
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
    let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    (context, plan)
}

async fn stock_of(sql: &str) -> ExecutionGraphBox {
    stock_in(ShuffleMode::Local, sql).await
}

async fn stock_in(mode: ShuffleMode, sql: &str) -> ExecutionGraphBox {
    let (context, plan) = planned_in(mode, sql).await;
    let config = Arc::new(context.copied_config());
    let mut planner = DefaultDistributedPlanner::new();
    let mut graph: ExecutionGraphBox = Box::new(
        StaticExecutionGraph::new("s", &"job".into(), "", "session", plan, 0, config, &mut planner, None)
            .unwrap(),
    );
    graph.revive();
    graph
}

async fn stock() -> ExecutionGraphBox {
    stock_of(TWO_STAGES).await
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

/// How many pieces the last stage is to read; each is one task's output for one partition.
fn pieces(graph: &dyn ExecutionGraph) -> usize {
    let last = graph.stages().values().find(|stage| stage.output_links().is_empty());
    let inputs = match last {
        Some(ExecutionStage::UnResolved(stage)) => &stage.inputs,
        Some(ExecutionStage::Resolved(stage)) => &stage.inputs,
        Some(ExecutionStage::Running(stage)) => &stage.inputs,
        Some(ExecutionStage::Successful(stage)) => &stage.inputs,
        _ => return 0,
    };
    inputs.values().flat_map(|output| output.partition_locations.values()).map(Vec::len).sum()
}

/// Runs one task of whatever stage can run, and reports its success; false if none can.
fn run_one(graph: &mut dyn ExecutionGraph, executor: &str) -> bool {
    let Some((stage, task)) = bind(graph, executor) else { return false };
    let attempt = match &graph.stages()[&stage] {
        ExecutionStage::Running(running) => running.stage_attempt_num as u32,
        _ => 0,
    };
    let status = TaskStatus { stage_attempt_num: attempt, ..success(executor, (stage, task)) };
    update(graph, executor, vec![status]);
    true
}

async fn over(listener: &mut LossListener) -> String {
    match listener.next().await {
        Loss::Over(cause) => cause,
        Loss::Doubt(doubt) => panic!("{doubt:?}"),
    }
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

/// Runs the first stage on two executors and half of the second; then the first of them is lost.
fn lose_an_executor_midway(graph: &mut dyn ExecutionGraph) {
    assert_eq!(graph.stage_count(), 3);
    assert!(run_one(graph, "a") && run_one(graph, "b"));
    assert_eq!(pieces(graph), 0);
    assert!(run_one(graph, "b"));
    assert_eq!(pieces(graph), 2, "the second stage has published one of its two tasks' output");
    graph.reset_stages_on_lost_executor("a").unwrap();
    graph.revive();
}

#[tokio::test]
async fn the_stock_graph_still_publishes_pieces_twice_after_a_loss_and_the_wrapper_does_not() {
    let mut undisturbed = stock_of(THREE_STAGES).await;
    while run_one(undisturbed.as_mut(), "b") {}
    assert!(undisturbed.is_successful());
    assert_eq!(pieces(undisturbed.as_ref()), 4);

    // The second stage runs again from its beginning, and what it had published stays.
    let mut graph = stock_of(THREE_STAGES).await;
    lose_an_executor_midway(graph.as_mut());
    while run_one(graph.as_mut(), "b") {}
    assert!(graph.is_successful(), "Ballista's graph repairs itself, or seems to");
    assert!(pieces(graph.as_ref()) > 4, "Ballista has learned to forget what a stage had published");

    let losses = Losses::default();
    let mut listener = losses.listen("job");
    let mut graph = guarded(stock_of(THREE_STAGES).await, &losses);
    lose_an_executor_midway(graph.as_mut());
    assert!(over(&mut listener).await.contains("executor a"));
    assert!(!run_one(graph.as_mut(), "b"));
    assert_eq!(pieces(graph.as_ref()), 2);
    assert!(!graph.is_successful());
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
    assert!(over(&mut listener).await.contains("executor a"));
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

/// Tasks that run, as executor and stage.
fn running(graph: &dyn ExecutionGraph) -> Vec<(String, usize)> {
    let mut running: Vec<_> =
        graph.running_tasks().into_iter().map(|task| (task.executor_id, task.stage_id)).collect();
    running.sort();
    running
}

#[tokio::test]
async fn row_14_an_executor_that_had_finished_nothing_costs_only_its_running_tasks() {
    let losses = Losses::default();
    let mut listener = losses.listen("job");
    let mut graph = guarded(stock().await, &losses);
    let of_a = bind(graph.as_mut(), "a").unwrap();
    let of_b = bind(graph.as_mut(), "b").unwrap();
    graph.reset_stages_on_lost_executor("a").unwrap();
    assert_eq!(running(graph.as_ref()), [("b".to_owned(), of_b.0)]);
    update(graph.as_mut(), "b", vec![success("b", of_b)]);
    // Its report was on the way, or it was only cut off.
    update(graph.as_mut(), "a", vec![success("a", of_a)]);
    assert_eq!(pieces(graph.as_ref()), 2, "only that of b counts");
    while run_one(graph.as_mut(), "b") {}
    assert!(graph.is_successful());
    assert_eq!(pieces(graph.as_ref()), 4);
    assert!(futures::FutureExt::now_or_never(listener.next()).is_none());
}

#[tokio::test]
async fn row_14_what_is_no_longer_needed_may_go_with_its_executor() {
    let losses = Losses::default();
    let mut graph = guarded(stock_of(THREE_STAGES).await, &losses);
    assert!(run_one(graph.as_mut(), "a") && run_one(graph.as_mut(), "a"), "the first stage");
    assert!(run_one(graph.as_mut(), "b") && run_one(graph.as_mut(), "b"), "the second stage");
    graph.reset_stages_on_lost_executor("a").unwrap();
    while run_one(graph.as_mut(), "b") {}
    assert!(graph.is_successful());
}

#[tokio::test]
async fn row_14_finished_output_is_kept_once_its_copies_are_found() {
    let losses = Losses::default();
    let mut listener = losses.listen("job");
    let mut graph = guarded(stock_in(ShuffleMode::WriteBehind, THREE_STAGES).await, &losses);
    assert!(run_one(graph.as_mut(), "a") && run_one(graph.as_mut(), "b"), "the first stage");
    let (stage, task) = bind(graph.as_mut(), "a").unwrap();
    graph.reset_stages_on_lost_executor("a").unwrap();
    let Loss::Doubt(doubt) = listener.next().await else { panic!("the attempt is over") };
    let written = (1, Writer { attempt: None, task: 0 });
    assert_eq!(doubt, Doubt { executor: "a".to_owned(), outputs: vec![written] });
    // Until it is known whether there are copies, everything else goes on.
    assert!(run_one(graph.as_mut(), "b"));
    assert_eq!(running(graph.as_ref()), [("a".to_owned(), stage)]);

    listener.keep(&doubt);
    graph.reset_stages_on_lost_executor("a").unwrap();
    assert!(running(graph.as_ref()).is_empty());
    update(graph.as_mut(), "a", vec![success("a", (stage, task))]);
    while run_one(graph.as_mut(), "b") {}
    assert!(graph.is_successful());
    assert_eq!(pieces(graph.as_ref()), 4);
    assert!(futures::FutureExt::now_or_never(listener.next()).is_none());
}

#[tokio::test]
async fn an_output_of_an_earlier_attempt_is_not_at_stake() {
    let losses = Losses::default();
    let mut listener = losses.listen("job");
    let mut graph = guarded(stock_in(ShuffleMode::WriteBehind, TWO_STAGES).await, &losses);
    let reused = bind(graph.as_mut(), "a").unwrap();
    let mut status = success("a", reused);
    if let Some(task_status::Status::Successful(success)) = &mut status.status {
        for partition in &mut success.partitions {
            partition.file_id = Some(Writer { attempt: Some(1), task: 9 }.into());
        }
    }
    update(graph.as_mut(), "a", vec![status]);
    graph.reset_stages_on_lost_executor("a").unwrap();
    assert!(futures::FutureExt::now_or_never(listener.next()).is_none());
    while run_one(graph.as_mut(), "b") {}
    assert!(graph.is_successful());
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
    assert!(over(&mut listener).await.contains("could not be read"));
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

type SharedGraph = Arc<RwLock<ExecutionGraphBox>>;

/// A job that was submitted as `job`, and its graph, of which tasks are bound to the executor `mute`. That one takes
/// connections and never answers.
async fn submitted(guard_graphs: bool, job: &str) -> (Submitted, SharedGraph) {
    let options = BallistaOptions {
        host: "127.0.0.1".to_owned(),
        port: 1,
        executor_timeout: Duration::from_secs(600),
        guard_graphs,
        peers: Arc::new(Peers::new(Credential::default())),
        tls: Tls::default(),
    };
    let ballista = Ballista::start(&options).await.unwrap();
    let (context, plan) = planned(TWO_STAGES).await;
    let submitted = ballista.submit(job.to_owned(), Arc::new(context), plan).await.unwrap();
    let state = &ballista.server().state;
    let appearing = async {
        loop {
            let running = state.task_manager.get_running_job_cache();
            if let Some(info) = running.get(&JobId::new(job)) {
                return Arc::clone(&info.execution_graph);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let graph = tokio::time::timeout(Duration::from_secs(60), appearing).await.unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let grpc_port = listener.local_addr().unwrap().port();
    let metadata = ExecutorMetadata { host: "127.0.0.1".to_owned(), grpc_port, ..executor("mute") };
    let slots = ExecutorData { executor_id: "mute".to_owned(), total_vcores: 4, available_vcores: 4 };
    state.executor_manager.register_executor(metadata, slots).await.unwrap();
    state.executor_manager.bind_schedulable_tasks(state.task_manager.get_running_job_cache()).await.unwrap();
    (submitted, graph)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_under_the_id_that_was_chosen_and_on_a_guarded_graph() {
    let (submitted, graph) = submitted(true, "q-1-a2").await;
    assert_eq!(submitted.job_id, "q-1-a2");
    let mut graph = graph.write().await;
    assert_eq!(graph.job_id().to_string(), "q-1-a2");
    let bound = graph.running_tasks();
    assert!(!bound.is_empty());
    assert!(bound.iter().all(|task| task.job_id.to_string() == "q-1-a2" && task.executor_id == "mute"));
    let (reset, _) = graph.reset_stages_on_lost_executor("mute").unwrap();
    assert!(reset.is_empty(), "the stock graph was not asked");
    assert!(graph.running_tasks().is_empty());
    drop(submitted);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_guard_the_stock_graph_would_repair_itself() {
    let (_submitted, graph) = submitted(false, "q-2-a1").await;
    let (reset, _) = graph.write().await.reset_stages_on_lost_executor("mute").unwrap();
    assert!(!reset.is_empty());
}
