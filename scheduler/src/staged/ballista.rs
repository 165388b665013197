//! Ballista's scheduler, built from its parts: our cluster and job state, our job ids, push scheduling.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ballista_core::BALLISTA_PROTOCOL_VERSION;
use ballista_core::JobId;
use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::extension::{EndpointOverrideFn, SessionConfigExt};
use ballista_core::serde::protobuf::executor_status::Status as ExecutorState;
use ballista_core::serde::protobuf::job_status::Status as JobState;
use ballista_core::serde::protobuf::scheduler_grpc_server::SchedulerGrpc;
use ballista_core::serde::protobuf::{
    ExecutorHeartbeat, ExecutorRegistration, ExecutorStatus, HeartBeatParams, HeartBeatResult, JobStatus,
    PartitionLocation, UpdateTaskStatusParams,
};
use ballista_core::serde::scheduler::{ExecutorData, ExecutorMetadata};
use ballista_core::utils::default_session_builder;
use ballista_scheduler::cluster::memory::InMemoryJobState;
use ballista_scheduler::cluster::{BallistaCluster, ClusterState};
use ballista_scheduler::config::{SchedulerConfig, TaskDistributionPolicy};
use ballista_scheduler::scheduler_process::create_scheduler;
use ballista_scheduler::scheduler_server::SchedulerServer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use futures::future::BoxFuture;
use polarway_common::{Error, ErrorKind};
use polarway_engine::extension::ExtensionCodec;
use polarway_engine::settings::Ground;
use polarway_tls::Tls;
use tokio::sync::{Notify, mpsc};
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status};

use super::cluster::Cluster;
use super::ids::{ChosenJobIds, with_job_id};
use super::jobs::{Ended, EndedJobs, Jobs};
use super::losses::{LossListener, Losses};
use super::report::{JobReport, RunningTask, report, running_tasks};
use crate::peers::{PeerAddress, Peers};

pub type Server = SchedulerServer<LogicalPlanNode, PhysicalPlanNode>;

const MESSAGE_BYTES: u32 = 256 * 1024 * 1024;
/// What an executor that registers may take to answer.
const FIRST_CONTACT: Duration = Duration::from_secs(2);
/// As Ballista has it for what it dials.
const DIAL_TIMEOUT: Duration = Duration::from_secs(20);
const KEEPALIVE: Duration = Duration::from_secs(300);

/// What [`Ballista::start`] needs.
#[derive(Debug, Clone)]
pub struct BallistaOptions {
    /// Host that executors reach this scheduler by.
    pub host: String,
    pub port: u16,
    pub executor_timeout: Duration,
    /// False only in tests that show why the graph wrapper is needed.
    pub guard_graphs: bool,
    /// Reaches executors before they are given tasks.
    pub peers: Arc<Peers>,
    /// How Ballista dials them.
    pub tls: Tls,
}

/// An executor that takes tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliveExecutor {
    pub id: String,
    pub address: PeerAddress,
    pub slots: u32,
}

/// What a plan for these executors is made for.
pub fn ground(executors: &[AliveExecutor], spilling: bool) -> Ground {
    let hosts: HashSet<&str> = executors.iter().map(|executor| executor.address.host.as_str()).collect();
    let slots = executors.iter().map(|executor| executor.slots).sum();
    Ground { slots, one_host: hosts.len() == 1, spilling }
}

/// The scheduler and what its jobs left behind.
#[derive(Clone)]
pub struct Ballista {
    server: Server,
    losses: Losses,
    ended: EndedJobs,
    cluster: Arc<Cluster>,
    membership: Arc<Notify>,
    peers: Arc<Peers>,
}

/// A submitted attempt.
pub struct Submitted {
    pub job_id: String,
    pub statuses: mpsc::Receiver<JobStatus>,
    pub loss: LossListener,
}

impl Ballista {
    pub async fn start(options: &BallistaOptions) -> Result<Self, Error> {
        let timeout = options.executor_timeout.as_secs().max(2);
        let config = SchedulerConfig {
            external_host: options.host.clone(),
            bind_port: options.port,
            scheduling_policy: TaskSchedulingPolicy::PushStaged,
            task_distribution: TaskDistributionPolicy::RoundRobin,
            executor_timeout_seconds: timeout,
            expire_dead_executor_interval_seconds: 1,
            executor_termination_grace_period: 24 * 3600,
            // The driver of each job decides about executors, data and attempts; Ballista's own timers stay out.
            no_executors_grace_period_seconds: 24 * 3600,
            finished_job_data_clean_up_interval_seconds: 0,
            finished_job_state_clean_up_interval_seconds: 60,
            grpc_server_max_decoding_message_size: MESSAGE_BYTES,
            grpc_server_max_encoding_message_size: MESSAGE_BYTES,
            grpc_client_max_message_size: MESSAGE_BYTES,
            min_ready_executors: 0,
            // Nobody: pages of other sites are not to read or cancel jobs, which is what stands here otherwise.
            cors_allowed_origins: "https://nobody.invalid".to_owned(),
            cors_allowed_methods: "GET".to_owned(),
            job_id_generator: Some(Arc::new(ChosenJobIds)),
            override_create_grpc_client_endpoint: Some(dialling(options.tls.clone())),
            override_physical_codec: Some(Arc::new(ExtensionCodec::default())),
            ..SchedulerConfig::default()
        };
        let losses = Losses::default();
        let ended = EndedJobs::default();
        let cluster_state = Arc::new(Cluster::new(losses.clone(), options.guard_graphs));
        let membership = cluster_state.changed();
        let job_state = Jobs::new(
            InMemoryJobState::new(
                config.scheduler_id.clone(),
                Arc::new(default_session_builder),
                Arc::new(SessionConfig::new_with_ballista),
            ),
            ended.clone(),
        );
        let cluster =
            BallistaCluster::new(Arc::clone(&cluster_state) as Arc<dyn ClusterState>, Arc::new(job_state));
        let server = create_scheduler(cluster, Arc::new(config)).await.map_err(|error| {
            Error::new(ErrorKind::Configuration, format!("cannot start the scheduler: {error}"))
        })?;
        Ok(Self {
            server,
            losses,
            ended,
            cluster: cluster_state,
            membership,
            peers: Arc::clone(&options.peers),
        })
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Submits `plan` as the job `job_id`.
    pub async fn submit(
        &self,
        job_id: String,
        context: Arc<SessionContext>,
        plan: Arc<dyn ExecutionPlan>,
    ) -> Result<Submitted, Error> {
        let (sender, statuses) = mpsc::channel(16);
        let loss = self.losses.listen(&job_id);
        with_job_id(job_id.clone(), self.server.submit_physical_plan(&job_id, context, plan, Some(sender)))
            .await
            .map_err(|error| Error::internal(format!("the job could not be submitted: {error}")))?;
        Ok(Submitted { job_id, statuses, loss })
    }

    /// Cancels a job's tasks; a job that has ended is left alone.
    pub async fn cancel(&self, job_id: &str) {
        if let Err(error) = self.server.cancel_job(job_id.to_owned().into()).await {
            tracing::warn!(job = job_id, %error, "could not cancel");
        }
        self.offer_slots().await;
    }

    /// Makes an executor known, if it is not and answers. Ballista would only try whether something listens at the address that
    /// is named, without TLS.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for half a registration, `UNAVAILABLE` if it does not answer.
    pub fn register<'a>(&'a self, executor: &'a ExecutorRegistration) -> BoxFuture<'a, Result<bool, Status>> {
        Box::pin(async move {
            if executor.ballista_protocol_version != BALLISTA_PROTOCOL_VERSION {
                // Ballista says so itself.
                return Ok(false);
            }
            if self.cluster.get_executor_metadata(&executor.id).await.is_ok() {
                return Ok(false);
            }
            let metadata = metadata_of(executor)?;
            let address = PeerAddress { host: metadata.host.clone(), port: metadata.port };
            if let Err(error) = self.peers.greet(&address, FIRST_CONTACT).await {
                let told = format!("the executor at {address} cannot be reached: {}", error.message);
                return Err(Status::unavailable(told));
            }
            // Another beat may have been as fast.
            if self.cluster.get_executor_metadata(&executor.id).await.is_ok() {
                return Ok(false);
            }
            let slots = metadata.specification.vcores;
            let data = ExecutorData {
                executor_id: executor.id.clone(),
                total_vcores: slots,
                available_vcores: slots,
            };
            let known = self.cluster.register_executor(metadata, data).await;
            known.map_err(|error| Status::internal(error.to_string()))?;
            Ok(true)
        })
    }

    /// A sign of life; the first one makes the executor known.
    pub async fn heart_beat(
        &self,
        request: Request<HeartBeatParams>,
    ) -> Result<Response<HeartBeatResult>, Status> {
        let new = match &request.get_ref().metadata {
            Some(executor) if executor.id != request.get_ref().executor_id => {
                return Err(Status::invalid_argument("the registration is another executor's"));
            }
            Some(executor) => self.register(executor).await?,
            None => false,
        };
        let answer = SchedulerGrpc::heart_beat_from_executor(&self.server, request).await?;
        if new {
            self.offer_slots().await;
        }
        Ok(answer)
    }

    /// Has free slots offered to tasks that wait: a cancelled job gives its slots back, and Ballista offers them when some
    /// task reports next, which may be never. A report without tasks is one too.
    pub async fn offer_slots(&self) {
        let Some(executor) = self.executors().await.into_iter().next() else { return };
        let report = UpdateTaskStatusParams { executor_id: executor.id, task_status: vec![] };
        if let Err(status) = SchedulerGrpc::update_task_status(&self.server, Request::new(report)).await {
            tracing::warn!(%status, "free slots could not be offered");
        }
    }

    /// Executors that take tasks now.
    pub async fn executors(&self) -> Vec<AliveExecutor> {
        let manager = &self.server.state.executor_manager;
        let Ok(states) = manager.get_executors_state().await else { return vec![] };
        let oldest = now_seconds().saturating_sub(self.server.state.config.executor_timeout_seconds);
        let mut alive: Vec<AliveExecutor> = states
            .into_iter()
            .filter(|(metadata, _, _)| {
                manager.get_executor_hearbeat(&metadata.id).is_some_and(|beat| {
                    let active = beat.status.as_ref().and_then(|status| status.status.as_ref());
                    beat.timestamp > oldest && matches!(active, Some(ExecutorState::Active(_)))
                })
            })
            .map(|(metadata, _, _)| AliveExecutor {
                id: metadata.id,
                address: PeerAddress { host: metadata.host, port: metadata.port },
                slots: metadata.specification.vcores,
            })
            .collect();
        alive.sort_by(|a, b| a.id.cmp(&b.id));
        alive
    }

    /// Tells a job's graph again that an executor is lost: what it asked about has been found out.
    pub async fn lost(&self, job_id: &str, executor_id: &str) {
        let jobs = self.server.state.task_manager.get_running_job_cache();
        let Some(info) = jobs.get(&JobId::new(job_id)) else { return };
        if let Err(error) = info.execution_graph.write().await.reset_stages_on_lost_executor(executor_id) {
            tracing::warn!(job = job_id, executor = executor_id, %error, "the job graph was not told of a loss");
        }
        self.offer_slots().await;
    }

    /// An executor said that it stops: it is removed with the next round of expiry.
    pub fn gone<'a>(&'a self, executor_id: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Some(last) = self.cluster.get_executor_heartbeat(executor_id) else { return };
            let farewell = ExecutorHeartbeat {
                timestamp: 0,
                status: Some(ExecutorStatus { status: Some(ExecutorState::Terminating(String::new())) }),
                ..last
            };
            if let Err(error) = self.cluster.save_executor_heartbeat(farewell).await {
                tracing::warn!(executor = executor_id, %error, "could not note that an executor left");
            }
        })
    }

    /// An executor is no member any more: its jobs learn of it now.
    pub async fn left(&self, executor_id: &str) {
        self.gone(executor_id).await;
        let state = &self.server.state;
        let reason = Some("it is no member of the cluster any more".to_owned());
        if let Err(error) = state.executor_manager.remove_executor(executor_id, reason).await {
            tracing::warn!(executor = executor_id, %error, "could not remove an executor");
        }
        match state.task_manager.executor_lost(executor_id).await {
            Ok(_) => self.offer_slots().await,
            Err(error) => tracing::warn!(executor = executor_id, %error, "jobs were not told of a loss"),
        }
    }

    /// Where all executors listen, draining ones included.
    pub async fn registered(&self) -> Vec<PeerAddress> {
        match self.server.state.executor_manager.get_executors_state().await {
            Ok(states) => states
                .into_iter()
                .map(|(metadata, _, _)| PeerAddress { host: metadata.host, port: metadata.port })
                .collect(),
            Err(_) => vec![],
        }
    }

    /// Waits until some executor takes tasks, at most `limit`.
    pub async fn wait_for_executor(&self, limit: Duration) -> Result<(), Error> {
        let present = async {
            loop {
                let changed = self.membership.notified();
                if !self.executors().await.is_empty() {
                    return;
                }
                let _ = tokio::time::timeout(Duration::from_millis(500), changed).await;
            }
        };
        tokio::time::timeout(limit, present).await.map_err(|_| {
            Error::new(
                ErrorKind::NoExecutors,
                format!("no executor joined within {} ms", limit.as_millis()),
            )
            .with_hint("start one with `polarway executor --scheduler HOST:PORT`, or SET polarway.route = 'direct'")
            .with_retry_after(Duration::from_secs(1))
        })
    }

    /// How far a job has come, or what it did.
    pub async fn report(&self, job_id: &str) -> Option<JobReport> {
        if let Some(ended) = self.ended.get(job_id) {
            return Some(ended.report);
        }
        let jobs = self.server.state.task_manager.get_running_job_cache();
        let info = jobs.get(&JobId::new(job_id))?;
        let graph = info.execution_graph.read().await;
        Some(report(graph.as_ref()))
    }

    pub async fn running_tasks(&self, job_id: &str) -> Vec<RunningTask> {
        let jobs = self.server.state.task_manager.get_running_job_cache();
        match jobs.get(&JobId::new(job_id)) {
            Some(info) => running_tasks(info.execution_graph.read().await.as_ref()),
            None => vec![],
        }
    }

    pub fn ended(&self, job_id: &str) -> Option<Ended> {
        self.ended.get(job_id)
    }

    /// Slots in use by executor; a task may hold several.
    pub async fn load(&self) -> BTreeMap<String, u64> {
        let mut load = BTreeMap::new();
        for info in self.server.state.task_manager.get_running_job_cache().values() {
            let graph = info.execution_graph.read().await;
            for task in graph.running_tasks() {
                let held = graph.task_vcores(task.stage_id, task.task_id).unwrap_or(1);
                *load.entry(task.executor_id).or_default() += u64::from(held);
            }
        }
        load
    }

    /// Jobs that run though nobody waits for them: their cancel came before Ballista knew them.
    pub fn orphans(&self) -> Vec<String> {
        let jobs = self.server.state.task_manager.get_running_job_cache();
        jobs.keys().map(ToString::to_string).filter(|job| !self.losses.listened(job)).collect()
    }

    /// How a job stands, should its notification have been missed.
    pub async fn status(&self, job_id: &str) -> Option<JobStatus> {
        self.server.state.task_manager.get_job_status(&JobId::new(job_id)).await.ok().flatten()
    }
}

fn metadata_of(executor: &ExecutorRegistration) -> Result<ExecutorMetadata, Status> {
    let missing = |what: &str| Status::invalid_argument(format!("the registration has no {what}"));
    let port = |port: u32| u16::try_from(port).map_err(|_| missing("valid port"));
    Ok(ExecutorMetadata {
        id: executor.id.clone(),
        host: executor.host.clone().ok_or_else(|| missing("host"))?,
        port: port(executor.port)?,
        grpc_port: port(executor.grpc_port)?,
        specification: executor.specification.clone().ok_or_else(|| missing("specification"))?.into(),
        os_info: executor.os_info.clone().ok_or_else(|| missing("system"))?.into(),
    })
}

/// What Ballista dials is dialled with TLS, if there is TLS.
fn dialling(tls: Tls) -> EndpointOverrideFn {
    Arc::new(move |endpoint: Endpoint| {
        if !tls.is_on() {
            return Ok(endpoint);
        }
        // A new endpoint, with what Ballista has set on its own.
        let endpoint = tls.on_endpoint(endpoint)?;
        Ok(endpoint
            .connect_timeout(DIAL_TIMEOUT)
            .timeout(DIAL_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(DIAL_TIMEOUT)
            .keep_alive_while_idle(true))
    })
}

/// How a job ended, if the status is terminal: its result's locations, or the failure's text.
pub fn terminal(status: JobStatus) -> Option<Result<Vec<PartitionLocation>, String>> {
    match status.status? {
        JobState::Successful(job) => Some(Ok(job.partition_location)),
        JobState::Failed(job) => Some(Err(job.error)),
        JobState::Queued(_) | JobState::Running(_) => None,
    }
}

fn now_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
