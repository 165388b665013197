//! Ballista's executor service: launch, cancel, clean up.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use ballista_core::error::BallistaError;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_core::serde::protobuf::executor_grpc_server::ExecutorGrpc;
use ballista_core::serde::protobuf::{
    CancelTasksParams, CancelTasksResult, LaunchMultiTaskParams, LaunchMultiTaskResult, LaunchTaskParams,
    LaunchTaskResult, MultiTaskDefinition, RemoveJobDataParams, RemoveJobDataResult, StopExecutorParams,
    StopExecutorResult,
};
use ballista_core::serde::scheduler::TaskDefinition;
use ballista_core::serde::scheduler::from_proto::get_task_definition_vec;
use datafusion::common::config::ConfigOptions;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use polarway_common::{Error, ErrorKind};
use polarway_engine::codec;
use polarway_engine::cpu::CpuRuntime;
use polarway_engine::time_zone::all_localized;
use polarway_proto::status::status_from_error;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::Instrument;

use crate::launched::Launched;
use crate::ledger::{Ledger, Outcome, Stop, TaskId};
use crate::report::Report;
use crate::spans;
use crate::task::{self, TaskEnv};
use crate::waits::SlotWaits;
use crate::workdir::{WorkDir, is_plain};

/// See the module's page.
#[derive(Clone)]
pub struct TaskService {
    pub env: TaskEnv,
    pub cpu: Arc<CpuRuntime>,
    pub ledger: Arc<Ledger>,
    pub launched: Arc<Launched>,
    /// Bounds what runs at once, whatever schedulers believe to be free.
    pub slots: Arc<Semaphore>,
    pub slot_count: u32,
    pub waits: Arc<SlotWaits>,
    pub reports: mpsc::Sender<Report>,
    pub functions: Arc<BallistaFunctionRegistry>,
    pub base_config: SessionConfig,
    pub work_dir: WorkDir,
    /// Plans are decoded in it.
    pub runtime: Arc<RuntimeEnv>,
}

impl TaskService {
    fn decode(&self, tasks: MultiTaskDefinition) -> Result<Vec<TaskDefinition>, BallistaError> {
        let runtime = Arc::clone(&self.runtime);
        let scalar_functions = all_localized(&self.functions.scalar_functions, &time_zone_of(&tasks));
        let decoded = get_task_definition_vec::<LogicalPlanNode, PhysicalPlanNode>(
            tasks,
            Arc::new(move |_| Ok(Arc::clone(&runtime))),
            self.base_config.clone(),
            scalar_functions,
            self.functions.aggregate_functions.clone(),
            self.functions.window_functions.clone(),
            self.functions.higher_order_functions.clone(),
            codec::of_tasks(),
        )?;
        // All of them have the same plan.
        if decoded.first().is_some_and(|task| task.plan.children().into_iter().any(writes)) {
            return Err(BallistaError::General("a task writes shuffle files below its root".to_owned()));
        }
        Ok(decoded)
    }

    fn start(&self, scheduler: String, task: TaskDefinition) {
        let id = TaskId { job: task.job_id.to_string(), stage: task.stage_id, task: task.task_id };
        if !self.ledger.begin(&id) {
            tracing::warn!(?id, "a task was launched twice; the second launch is ignored");
            return;
        }
        let service = self.clone();
        let begun = id.clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let handle = self.cpu.handle().spawn(async move {
            let wanted = task.vcores_consumed.clamp(1, service.slot_count);
            let Some(_slots) = service.waits.take(&service.slots, wanted).await else { return };
            tracing::debug!(?begun, "task starts");
            let span = spans::task(&begun, &task);
            let status = task::execute(service.env.clone(), task, stopped).instrument(span.clone()).await;
            let outcome = match status.status {
                Some(ballista_core::serde::protobuf::task_status::Status::Successful(_)) => {
                    Outcome::Succeeded
                }
                _ => {
                    span.record("otel.status_code", "ERROR");
                    Outcome::Failed
                }
            };
            drop(span);
            drop(_slots);
            if service.ledger.end(&begun, outcome) {
                let _ = service.reports.send(Report { scheduler, status }).await;
            }
        });
        self.ledger.attach(&id, Stop { plan: stop, task: handle.abort_handle() });
    }

    async fn report_undecodable(&self, scheduler: &str, tasks: &MultiTaskDefinition, error: &BallistaError) {
        for id in &tasks.task_ids {
            let status = task::undecodable(
                tasks.job_id.clone(),
                tasks.stage_id as usize,
                tasks.stage_attempt_num as usize,
                id.task_id as usize,
                tasks.launch_time,
                BallistaError::General(error.to_string()),
            );
            let _ = self.reports.send(Report { scheduler: scheduler.to_owned(), status }).await;
        }
    }
}

/// Job ids become names of directories, and Ballista's writers join them to theirs as they stand.
fn check_job_ids(tasks: &[MultiTaskDefinition]) -> Result<(), Error> {
    match tasks.iter().find(|tasks| !is_plain(&tasks.job_id)) {
        Some(tasks) => Err(Error::new(ErrorKind::Plan, format!("`{}` is not a job id", tasks.job_id))),
        None => Ok(()),
    }
}

/// Whether a plan has a shuffle writer in it. The one at a task's root writes under the task's job id; another would
/// under one that the plan names, and outside of the work directory.
fn writes(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.name().contains("ShuffleWriter") || plan.children().into_iter().any(writes)
}

/// The one of the job's settings that functions are built with.
fn time_zone_of(tasks: &MultiTaskDefinition) -> ConfigOptions {
    let mut options = ConfigOptions::default();
    let setting = tasks.props.iter().find(|setting| setting.key == "datafusion.execution.time_zone");
    options.execution.time_zone = setting.and_then(|setting| setting.value.clone());
    options
}

#[async_trait]
impl ExecutorGrpc for TaskService {
    async fn launch_task(&self, _: Request<LaunchTaskParams>) -> Result<Response<LaunchTaskResult>, Status> {
        Err(Status::unimplemented("schedulers launch tasks by LaunchMultiTask"))
    }

    async fn launch_multi_task(
        &self,
        request: Request<LaunchMultiTaskParams>,
    ) -> Result<Response<LaunchMultiTaskResult>, Status> {
        let LaunchMultiTaskParams { multi_tasks, scheduler_endpoint } = request.into_inner();
        check_job_ids(&multi_tasks).map_err(|error| status_from_error(&error))?;
        let mut failed_jobs = HashSet::new();
        for tasks in multi_tasks {
            self.launched.note(&tasks.job_id, &scheduler_endpoint);
            let service = self.clone();
            let definition = tasks.clone();
            let decoded = self.cpu.handle().spawn(async move { service.decode(definition) }).await;
            match decoded {
                Ok(Ok(tasks)) => {
                    tasks.into_iter().for_each(|task| self.start(scheduler_endpoint.clone(), task))
                }
                Ok(Err(error)) => {
                    tracing::error!(job = tasks.job_id, %error, "a task could not be decoded");
                    self.report_undecodable(&scheduler_endpoint, &tasks, &error).await;
                }
                Err(join) => {
                    tracing::error!(job = tasks.job_id, error = %join, "decoding a task panicked");
                    failed_jobs.insert(tasks.job_id);
                }
            }
        }
        Ok(Response::new(LaunchMultiTaskResult { failed_jobs: failed_jobs.into_iter().collect() }))
    }

    /// Ballista asks this of an executor whose heartbeat it missed. The executor is better judge of its own health:
    /// it goes on, and registers again with its next heartbeat.
    async fn stop_executor(
        &self,
        request: Request<StopExecutorParams>,
    ) -> Result<Response<StopExecutorResult>, Status> {
        tracing::warn!(
            reason = request.into_inner().reason,
            "a scheduler gave this executor up; it will rejoin"
        );
        Ok(Response::new(StopExecutorResult {}))
    }

    async fn cancel_tasks(
        &self,
        request: Request<CancelTasksParams>,
    ) -> Result<Response<CancelTasksResult>, Status> {
        for task in request.into_inner().task_infos {
            let id = TaskId { job: task.job_id, stage: task.stage_id as usize, task: task.task_id as usize };
            self.ledger.cancel(&id);
        }
        Ok(Response::new(CancelTasksResult { cancelled: true }))
    }

    async fn remove_job_data(
        &self,
        request: Request<RemoveJobDataParams>,
    ) -> Result<Response<RemoveJobDataResult>, Status> {
        let params = request.into_inner();
        if params.remove_stage_ids.is_empty() {
            self.ledger.cancel_job(&params.job_id);
        }
        self.work_dir
            .remove_job(&params.job_id, &params.remove_stage_ids)
            .await
            .map_err(|error| status_from_error(&error))?;
        if params.remove_stage_ids.is_empty()
            && let Some(stored) = &self.env.stored
        {
            stored.forget(&params.job_id);
        }
        Ok(Response::new(RemoveJobDataResult {}))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use arrow::datatypes::Schema;
    use ballista_core::execution_plans::ShuffleWriterExec;
    use ballista_core::extension::SessionConfigExt;
    use ballista_core::serde::protobuf;
    use ballista_executor::execution_engine::DefaultExecutionEngine;
    use datafusion::physical_plan::empty::EmptyExec;
    use polarway_common::config::{CacheConfig, StorageConfig};
    use polarway_engine::runtime::{EngineRuntime, MemoryBudget, RuntimeOptions};
    use polarway_engine::settings::PolarwayOptions;

    use super::*;
    use crate::budgets::JobBudgets;
    use crate::report;
    use crate::workdir::SPILL;

    fn service(base: &Path) -> (TaskService, mpsc::Receiver<Report>) {
        let work_dir = WorkDir::open(base, "1").unwrap();
        let runtime = EngineRuntime::build(&RuntimeOptions {
            storage: &StorageConfig::default(),
            cache: &CacheConfig::default(),
            memory: MemoryBudget::new(64 << 20),
            spill_dir: base.join(SPILL),
            spill_limit: 1 << 20,
            private: vec![],
        })
        .unwrap();
        let (reports, queue) = report::channel();
        let service = TaskService {
            env: TaskEnv {
                executor_id: "e".into(),
                engine: Arc::new(DefaultExecutionEngine::new()),
                budgets: Arc::new(JobBudgets::new(runtime.clone())),
                work_dir: work_dir.path().to_string_lossy().into_owned(),
                stored: None,
            },
            cpu: Arc::new(CpuRuntime::new("test-task", 1).unwrap()),
            ledger: Arc::default(),
            launched: Arc::default(),
            slots: Arc::new(Semaphore::new(1)),
            slot_count: 1,
            waits: Arc::default(),
            reports,
            functions: Arc::default(),
            base_config: SessionConfig::new_with_ballista().with_option_extension(PolarwayOptions::default()),
            work_dir,
            runtime: runtime.env,
        };
        (service, queue)
    }

    fn launch(jobs: &[&str]) -> Request<LaunchMultiTaskParams> {
        let task_ids = vec![protobuf::TaskId { task_id: 1, ..Default::default() }];
        let task = |job: &&str| MultiTaskDefinition {
            job_id: (*job).to_owned(),
            task_ids: task_ids.clone(),
            ..Default::default()
        };
        Request::new(LaunchMultiTaskParams {
            multi_tasks: jobs.iter().map(task).collect(),
            scheduler_endpoint: "scheduler:1".into(),
        })
    }

    #[tokio::test]
    async fn a_launch_under_a_job_id_that_leads_out_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let (service, mut reports) = service(base.path());
        for bad in ["../x", "/x", "..", "", "a/b"] {
            let status = service.launch_multi_task(launch(&["q-1-a1", bad])).await.unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument, "{bad}");
            assert!(reports.try_recv().is_err(), "{bad}");
        }
        // One that is taken gets as far as its plan, which is none.
        service.launch_multi_task(launch(&["q-1-a1"])).await.unwrap();
        assert_eq!(reports.try_recv().unwrap().status.job_id, "q-1-a1");
    }

    #[test]
    fn a_writer_below_the_root_is_found() {
        let leaf: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(Arc::new(Schema::empty())));
        let writer = |input: &Arc<dyn ExecutionPlan>| -> Arc<dyn ExecutionPlan> {
            let writer = ShuffleWriterExec::try_new("../x".into(), 1, Arc::clone(input), String::new());
            Arc::new(writer.unwrap())
        };
        let (task, forged) = (writer(&leaf), writer(&writer(&leaf)));
        assert!(!task.children().into_iter().any(writes));
        assert!(forged.children().into_iter().any(writes));
    }
}
