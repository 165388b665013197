//! Ballista's executor service: launch, cancel, clean up.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use ballista_core::error::BallistaError;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_core::serde::BallistaCodec;
use ballista_core::serde::protobuf::executor_grpc_server::ExecutorGrpc;
use ballista_core::serde::protobuf::{
    CancelTasksParams, CancelTasksResult, LaunchMultiTaskParams, LaunchMultiTaskResult, LaunchTaskParams,
    LaunchTaskResult, MultiTaskDefinition, RemoveJobDataParams, RemoveJobDataResult, StopExecutorParams,
    StopExecutorResult,
};
use ballista_core::serde::scheduler::TaskDefinition;
use ballista_core::serde::scheduler::from_proto::get_task_definition_vec;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::SessionConfig;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use polarway_engine::cpu::CpuRuntime;
use polarway_proto::status::status_from_error;
use tokio::sync::{Semaphore, mpsc};
use tonic::{Request, Response, Status};

use crate::ledger::{Ledger, Outcome, TaskId};
use crate::report::Report;
use crate::task::{self, TaskEnv};
use crate::workdir::WorkDir;

/// See the module's page.
#[derive(Clone)]
pub struct TaskService {
    pub env: TaskEnv,
    pub cpu: Arc<CpuRuntime>,
    pub ledger: Arc<Ledger>,
    /// Bounds what runs at once, whatever schedulers believe to be free.
    pub slots: Arc<Semaphore>,
    pub slot_count: u32,
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
        get_task_definition_vec::<LogicalPlanNode, PhysicalPlanNode>(
            tasks,
            Arc::new(move |_| Ok(Arc::clone(&runtime))),
            self.base_config.clone(),
            self.functions.scalar_functions.clone(),
            self.functions.aggregate_functions.clone(),
            self.functions.window_functions.clone(),
            self.functions.higher_order_functions.clone(),
            BallistaCodec::default(),
        )
    }

    fn start(&self, scheduler: String, task: TaskDefinition) {
        let id = TaskId { job: task.job_id.to_string(), stage: task.stage_id, task: task.task_id };
        if !self.ledger.begin(&id) {
            tracing::warn!(?id, "a task was launched twice; the second launch is ignored");
            return;
        }
        let service = self.clone();
        let begun = id.clone();
        let handle = self.cpu.handle().spawn(async move {
            let wanted = task.vcores_consumed.clamp(1, service.slot_count);
            let Ok(_slots) = Arc::clone(&service.slots).acquire_many_owned(wanted).await else { return };
            tracing::debug!(?begun, "task starts");
            let status = task::execute(service.env.clone(), task).await;
            let outcome = match status.status {
                Some(ballista_core::serde::protobuf::task_status::Status::Successful(_)) => {
                    Outcome::Succeeded
                }
                _ => Outcome::Failed,
            };
            drop(_slots);
            if service.ledger.end(&begun, outcome) {
                let _ = service.reports.send(Report { scheduler, status }).await;
            }
        });
        self.ledger.attach(&id, handle.abort_handle());
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
        let mut failed_jobs = HashSet::new();
        for tasks in multi_tasks {
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
        Ok(Response::new(RemoveJobDataResult {}))
    }
}
