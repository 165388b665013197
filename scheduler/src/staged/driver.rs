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
use polarway_engine::errors;
use polarway_proto::ticket::TicketSigner;

use super::ballista::{Ballista, Submitted, terminal};
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

#[derive(Debug, Clone)]
pub struct StagedOptions {
    pub max_attempts: u32,
    pub executor_wait: Duration,
    pub stall_timeout: Duration,
    pub result_parallelism: usize,
    pub ticket_ttl: Duration,
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

impl StagedRunner {
    /// Runs the query until its result stands on the executors.
    pub async fn run(&self, compiled: &Compiled, query: &Running) -> Result<StagedResult, Error> {
        self.with_attempts(query, |result| async move { Ok(result) }, compiled).await
    }

    /// Runs the query and opens its result. An executor that dies while the beginning of the result is still held
    /// back costs an attempt; one that dies later fails the stream with a retryable error.
    pub async fn stream(&self, compiled: &Compiled, query: &Running) -> Result<(Messages, JobGuard), Error> {
        self.with_attempts(
            query,
            |result: StagedResult| async move {
                let messages = results::open(
                    Arc::clone(&self.peers),
                    result.partitions,
                    result.ordered,
                    self.options.result_parallelism,
                    Arc::clone(&compiled.schema),
                )
                .await?;
                Ok((messages, result.guard))
            },
            compiled,
        )
        .await
    }

    async fn with_attempts<T, F: Future<Output = Result<T, Error>>>(
        &self,
        query: &Running,
        take: impl Fn(StagedResult) -> F,
        compiled: &Compiled,
    ) -> Result<T, Error> {
        let mut pause = FIRST_PAUSE;
        let mut spilling = false;
        let mut last_cause = String::new();
        for attempt in 1..=self.options.max_attempts.max(1) {
            query.attempt(attempt);
            let cause = match self.attempt(compiled, query, attempt, spilling).await {
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
            tracing::warn!(query = query.query.id, attempt, cause, "an attempt was lost");
            last_cause = cause;
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Err(Error::new(
            ErrorKind::ExecutorLost,
            format!(
                "gave up after {} attempts; the last was lost because {last_cause}",
                self.options.max_attempts
            ),
        )
        .with_retry_after(Duration::from_secs(1))
        .with_hint("the cluster keeps losing executors; submit again when it has settled"))
    }

    async fn attempt(
        &self,
        compiled: &Compiled,
        query: &Running,
        attempt: u32,
        spilling: bool,
    ) -> Result<StagedResult, AttemptEnd> {
        self.ballista.wait_for_executor(self.options.executor_wait).await.map_err(AttemptEnd::Failed)?;
        let slots: u32 = self.ballista.executors().await.iter().map(|executor| executor.slots).sum();
        let staged = self.planner.staged(compiled, slots, spilling).await.map_err(AttemptEnd::Failed)?;
        let ordered = staged.plan.output_ordering().is_some();
        let job_id = attempt_id(&query.query.run, attempt);
        let mut guard = JobGuard::new(self.janitor.clone(), job_id.clone());
        let submitted = self
            .ballista
            .submit(job_id.clone(), staged.context, staged.plan)
            .await
            .map_err(AttemptEnd::Failed)?;
        let locations = self.watch(submitted).await?;
        guard.finished();
        let partitions =
            results::partitions(&locations, &query.query.id, &self.signer, self.options.ticket_ttl)
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
                    if let Some(end) = self.ballista.status(&job.job_id).await.and_then(terminal) {
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
        let believed = self.ballista.running_tasks(job_id).await;
        let report = self.ballista.report(job_id).await.unwrap_or_default();
        let executors = self.ballista.executors().await;
        let load = self.ballista.load().await;
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
                let Ok(known) = self.peers.running_tasks(&executor.address, job_id).await else { continue };
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
