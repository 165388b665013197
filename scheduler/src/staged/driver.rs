//! Drives one query through as many attempts as it takes.
//!
//! Each attempt is a Ballista job of its own, planned for the executors of the moment. An attempt ends with a result,
//! with an error that the next attempt would meet again, or with a loss. After a loss the attempt is cancelled, its
//! files are removed, and the next one starts from the beginning. An attempt that runs out of memory is followed by one
//! whose joins spill.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ballista_core::serde::protobuf::PartitionLocation;
use datafusion::physical_plan::ExecutionPlanProperties;
use polarway_common::{Error, ErrorKind};
use polarway_engine::cpu::CpuRuntime;
use polarway_engine::settings::QuerySettings;
use polarway_engine::{errors, offload};
use polarway_proto::ticket::TicketSigner;

use super::ballista::{Ballista, Submitted, ground, terminal};
use super::ids::attempt_id;
use super::janitor::{Janitor, JobGuard};
use super::report::RunningTask;
use super::results::{self, Messages, Partition};
use super::watchdog::{Observation, Watchdog};
use crate::peers::Peers;
use crate::plan::{Compiled, Planner};
use crate::queries::Running;

const WATCH_INTERVAL: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub struct StagedOptions {
    pub max_attempts: u32,
    pub executor_wait: Duration,
    pub stall_timeout: Duration,
    pub result_parallelism: usize,
    pub ticket_ttl: Duration,
}

impl StagedOptions {
    /// These, with what the query's session set in their place.
    pub fn of(&self, settings: &QuerySettings) -> Self {
        Self {
            max_attempts: settings.max_attempts.unwrap_or(self.max_attempts),
            executor_wait: settings.executor_wait.unwrap_or(self.executor_wait),
            stall_timeout: settings.stall_timeout.unwrap_or(self.stall_timeout),
            result_parallelism: settings.result_parallelism.unwrap_or(self.result_parallelism),
            ticket_ttl: self.ticket_ttl,
        }
    }
}

/// A job that ended well. Dropping it removes its files.
pub struct StagedResult {
    pub partitions: Vec<Partition>,
    /// Whether the partitions' order is the result's order.
    pub ordered: bool,
    pub guard: JobGuard,
}

/// See the module's page.
#[derive(Clone)]
pub struct StagedRunner {
    pub ballista: Ballista,
    pub planner: Arc<Planner>,
    pub peers: Arc<Peers>,
    pub signer: Arc<TicketSigner>,
    pub janitor: Janitor,
    pub options: StagedOptions,
}

enum AttemptEnd {
    /// The same statement may succeed as another attempt.
    Lost(String),
    Failed(Error),
}

/// One query on its way.
struct Drive<'a> {
    runner: &'a StagedRunner,
    compiled: &'a Arc<Compiled>,
    query: &'a Running,
    /// Plans the attempts.
    cpu: &'a CpuRuntime,
    options: StagedOptions,
}

impl StagedRunner {
    /// Runs the query until its result stands on the executors. Its attempts are planned on `cpu`.
    pub async fn run(
        &self,
        cpu: &CpuRuntime,
        compiled: &Arc<Compiled>,
        query: &Running,
    ) -> Result<StagedResult, Error> {
        self.drive(cpu, compiled, query).with_attempts(|result| async move { Ok(result) }).await
    }

    /// Runs the query and opens its result. An executor that dies while the beginning of the result is still held
    /// back costs an attempt; one that dies later fails the stream with a retryable error.
    pub async fn stream(
        &self,
        cpu: &CpuRuntime,
        compiled: &Arc<Compiled>,
        query: &Running,
    ) -> Result<(Messages, JobGuard), Error> {
        let drive = self.drive(cpu, compiled, query);
        let parallelism = drive.options.result_parallelism;
        let open = |result: StagedResult| async move {
            let messages = results::open(
                Arc::clone(&self.peers),
                result.partitions,
                result.ordered,
                parallelism,
                Arc::clone(&compiled.schema),
            )
            .await?;
            Ok::<_, Error>((messages, result.guard))
        };
        drive.with_attempts(open).await
    }

    fn drive<'a>(
        &'a self,
        cpu: &'a CpuRuntime,
        compiled: &'a Arc<Compiled>,
        query: &'a Running,
    ) -> Drive<'a> {
        Drive { runner: self, compiled, query, cpu, options: self.options.of(&compiled.settings) }
    }
}

impl Drive<'_> {
    async fn with_attempts<T, F: Future<Output = Result<T, Error>>>(
        &self,
        take: impl Fn(StagedResult) -> F,
    ) -> Result<T, Error> {
        let mut pause = FIRST_PAUSE;
        let mut spilling = false;
        let mut last_cause = String::new();
        let most = self.options.max_attempts.max(1);
        for attempt in 1..=most {
            self.query.attempt(attempt);
            let cause = match self.attempt(attempt, spilling).await {
                Ok(result) => match take(result).await {
                    Ok(taken) => return Ok(taken),
                    Err(error) if error.kind == ErrorKind::ExecutorLost => error.message,
                    Err(error) => return Err(error),
                },
                Err(AttemptEnd::Lost(cause)) => cause,
                Err(AttemptEnd::Failed(error)) if error.kind == ErrorKind::OutOfMemory && !spilling => {
                    spilling = true;
                    error.message
                }
                Err(AttemptEnd::Failed(error)) => return Err(error),
            };
            tracing::warn!(query = self.query.query.id, attempt, cause, "an attempt was lost");
            last_cause = cause;
            if attempt < most {
                tokio::time::sleep(pause).await;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(Error::new(
            ErrorKind::ExecutorLost,
            format!("gave up after {most} attempts; the last was lost because {last_cause}"),
        )
        .with_retry_after(Duration::from_secs(1))
        .with_hint("the cluster keeps losing executors; submit again when it has settled"))
    }

    async fn attempt(&self, attempt: u32, spilling: bool) -> Result<StagedResult, AttemptEnd> {
        let StagedRunner { ballista, planner, signer, janitor, .. } = self.runner;
        ballista.wait_for_executor(self.options.executor_wait).await.map_err(AttemptEnd::Failed)?;
        let ground = ground(&ballista.executors().await, spilling);
        let planning = {
            let (planner, compiled) = (Arc::clone(planner), Arc::clone(self.compiled));
            async move { planner.staged(&compiled, ground).await }
        };
        let staged =
            offload::compute(self.cpu, "planning the query", planning).await.map_err(AttemptEnd::Failed)?;
        let ordered = staged.plan.output_ordering().is_some();
        let job_id = attempt_id(&self.query.query.run, attempt);
        let mut guard = JobGuard::new(janitor.clone(), job_id.clone());
        let submitted =
            ballista.submit(job_id.clone(), staged.context, staged.plan).await.map_err(AttemptEnd::Failed)?;
        let locations = self.watch(submitted).await?;
        guard.finished();
        let partitions =
            results::partitions(&locations, &self.query.query.id, signer, self.options.ticket_ttl)
                .map_err(AttemptEnd::Failed)?;
        Ok(StagedResult { partitions, ordered, guard })
    }

    /// Waits for the end of an attempt, whichever comes.
    async fn watch(&self, mut job: Submitted) -> Result<Vec<PartitionLocation>, AttemptEnd> {
        let mut watchdog = Watchdog::new(self.options.stall_timeout, Instant::now());
        let mut ticks = tokio::time::interval(WATCH_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                status = job.statuses.recv() => match status {
                    Some(status) => match terminal(status) {
                        Some(Ok(locations)) => return Ok(locations),
                        Some(Err(text)) => return Err(failure(&text)),
                        None => {}
                    },
                    None => return Err(AttemptEnd::Lost("the scheduler forgot the job".to_owned())),
                },
                cause = job.loss.lost() => return Err(AttemptEnd::Lost(cause)),
                _ = ticks.tick() => {
                    if let Some(end) = self.runner.ballista.status(&job.job_id).await.and_then(terminal) {
                        return end.map_err(|text| failure(&text));
                    }
                    let seen = self.observe(&job.job_id, watchdog.wants_denials(Instant::now())).await;
                    if let Some(cause) = watchdog.observe(seen, Instant::now()) {
                        return Err(AttemptEnd::Lost(cause));
                    }
                }
            }
        }
    }

    async fn observe(&self, job_id: &str, ask_executors: bool) -> Observation {
        let StagedRunner { ballista, peers, .. } = self.runner;
        let believed = ballista.running_tasks(job_id).await;
        let report = ballista.report(job_id).await.unwrap_or_default();
        let executors = ballista.executors().await;
        let load = ballista.load().await;
        // Without executors nothing can move either: the next attempt waits for one.
        let slots_free = executors.is_empty()
            || executors
                .iter()
                .any(|executor| load.get(&executor.id).copied().unwrap_or(0) < u64::from(executor.slots));
        let mut denied = BTreeSet::new();
        if ask_executors {
            for executor in &executors {
                let mine: Vec<&RunningTask> =
                    believed.iter().filter(|task| task.executor == executor.id).collect();
                if mine.is_empty() {
                    continue;
                }
                // An executor that does not answer is the heartbeat's business.
                let Ok(known) = peers.running_tasks(&executor.address, job_id).await else { continue };
                denied.extend(
                    mine.into_iter().filter(|task| !known.contains(&(task.stage, task.task))).cloned(),
                );
            }
        }
        Observation { report, believed, denied, slots_free }
    }
}

/// What a failed job's text means: our own error if a task reported one.
fn failure(text: &str) -> AttemptEnd {
    match errors::from_text(text) {
        Some(error) if error.kind == ErrorKind::ExecutorLost => AttemptEnd::Lost(error.message),
        Some(error) => AttemptEnd::Failed(error),
        None if text == "Cancelled" => {
            AttemptEnd::Failed(Error::new(ErrorKind::Cancelled, "the job was cancelled by an operator"))
        }
        None => AttemptEnd::Failed(Error::new(ErrorKind::Internal, format!("the job failed: {text}"))),
    }
}
