//! Drives one query through as many attempts as it takes.
//!
//! Each attempt is a Ballista job of its own, planned for the executors of the moment. An attempt ends with a result,
//! with an error that the next attempt would meet again, or with a loss. After a loss the attempt is cancelled, its
//! files are removed, and the next one starts. An attempt that runs out of memory is followed by one whose joins spill.
//!
//! Where output is copied to the object store, the loss of an executor is none as long as there are copies of what it
//! wrote; and an attempt that is lost all the same is followed by one with the same plan, whose tasks take over the
//! copies that they find.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ballista_core::serde::protobuf::PartitionLocation;
use datafusion::physical_plan::ExecutionPlanProperties;
use parking_lot::Mutex;
use polarway_common::config::ShuffleMode;
use polarway_common::{Attempt, Error, ErrorKind};
use polarway_engine::cpu::CpuRuntime;
use polarway_engine::settings::{Ground, QuerySettings};
use polarway_engine::{errors, offload, settings};
use polarway_proto::ticket::TicketSigner;
use polarway_telemetry::traceparent;
use tracing::{Instrument, Span};

use super::ballista::{AliveExecutor, Ballista, Submitted, ground, terminal};
use super::janitor::{Janitor, JobGuard, RunGuard};
use super::jobs::Ended;
use super::losses::{Doubt, Loss};
use super::report::RunningTask;
use super::results::{self, Holders, Messages, Partition};
use super::stored::{Claim, StoredRuns};
use super::watchdog::{Observation, Watchdog};
use crate::peers::Peers;
use crate::plan::{Compiled, Planner};
use crate::queries::Running;
use crate::spans;

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
    /// What is known of copies; none if no place for them is configured.
    pub stored: Option<Arc<StoredRuns>>,
    /// When output is copied, unless the session says otherwise.
    pub shuffle: ShuffleMode,
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
    /// Where this query's output is copied to.
    stored: Option<Arc<StoredRuns>>,
}

/// A query whose tasks' output is copied.
struct Begun {
    claim: Arc<Mutex<Claim>>,
    guard: Arc<RunGuard>,
}

impl StagedRunner {
    /// Runs the query until its result stands on the executors. Its attempts are planned on `cpu`.
    pub async fn run(
        &self,
        cpu: &CpuRuntime,
        compiled: &Arc<Compiled>,
        query: &Running,
    ) -> Result<StagedResult, Error> {
        self.drive(cpu, compiled, query)?.with_attempts(|result| async move { Ok(result) }).await
    }

    /// Runs the query and opens its result. An executor that dies while the beginning of the result is still held
    /// back costs an attempt; one that dies later fails the stream with a retryable error.
    pub async fn stream(
        &self,
        cpu: &CpuRuntime,
        compiled: &Arc<Compiled>,
        query: &Running,
    ) -> Result<(Messages, JobGuard), Error> {
        let drive = self.drive(cpu, compiled, query)?;
        let open = |result: StagedResult| self.open(compiled, result);
        drive.with_attempts(open).await
    }

    /// Whether the output of a query with these settings is copied.
    pub fn stores(&self, settings: &QuerySettings) -> bool {
        settings.shuffle.unwrap_or(self.shuffle).stores()
    }

    /// Opens a result. As long as the guard lives it can be read.
    ///
    /// # Errors
    /// Those of [`results::open`].
    pub async fn open(
        &self,
        compiled: &Compiled,
        result: StagedResult,
    ) -> Result<(Messages, JobGuard), Error> {
        let holders = Holders {
            peers: Arc::clone(&self.peers),
            others: self.stored.as_ref().map(|_| self.ballista.clone()),
        };
        let parallelism = self.options.of(&compiled.settings).result_parallelism;
        let schema = Arc::clone(&compiled.schema);
        let messages = results::open(holders, result.partitions, result.ordered, parallelism, schema).await?;
        Ok((messages, result.guard))
    }

    fn drive<'a>(
        &'a self,
        cpu: &'a CpuRuntime,
        compiled: &'a Arc<Compiled>,
        query: &'a Running,
    ) -> Result<Drive<'a>, Error> {
        let mode = compiled.settings.shuffle.unwrap_or(self.shuffle);
        let stored = match (&self.stored, mode.stores()) {
            (_, false) => None,
            (Some(stored), true) => Some(Arc::clone(stored)),
            (None, true) => {
                let message =
                    format!("`polarway.shuffle` cannot be `{mode}`: no place for copies is configured");
                return Err(Error::new(ErrorKind::InvalidSetting, message)
                    .with_hint("an operator sets `shuffle.url` for schedulers and executors"));
            }
        };
        Ok(Drive { runner: self, compiled, query, cpu, options: self.options.of(&compiled.settings), stored })
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
        let begun = self.begin().await?;
        let last = begun.as_ref().and_then(|begun| begun.claim.lock().last.clone());
        let mut ground = last.as_ref().map(|last| last.ground(false));
        let before = last.map_or(0, |last| last.attempt);
        let most = self.options.max_attempts.max(1);
        for attempt in before + 1..=before + most {
            self.query.attempt(attempt);
            let span = spans::attempt(attempt);
            let trying = self.attempt(attempt, spilling, &mut ground, begun.as_ref()).instrument(span);
            let cause = match trying.await {
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
            if attempt < before + most {
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

    /// Finds out whether the query has been begun before, here or by a scheduler that is gone.
    async fn begin(&self) -> Result<Option<Begun>, Error> {
        let Some(stored) = &self.stored else { return Ok(None) };
        let query = &self.query.query;
        let (mut found, before) = self.claim(stored).await?;
        query.goes_on_as(&found.run);
        let claim = Arc::new(Mutex::new(found.clone()));
        // Made before anything more is written: a write whose answer is lost is taken back, too.
        let guard = Arc::new(RunGuard::new(self.runner.janitor.clone(), Arc::clone(&claim)));
        if let Some(number) = before {
            tracing::info!(query = query.id, attempt = number, "a query is taken over");
            self.query.taken_over();
            // Its tasks may still be running: what they have finished is worth having, and the rest is in the way.
            let before = Attempt { run: std::mem::take(&mut found.run), number };
            self.copy_what_is_finished(&before).await;
            self.stop(&before).await;
        }
        Ok(Some(Begun { claim, guard }))
    }

    /// The query's run, and the attempt at which it was taken over from whoever had it: that one makes no further attempt.
    async fn claim(&self, stored: &StoredRuns) -> Result<(Claim, Option<u32>), Error> {
        let query = &self.query.query;
        loop {
            let mut claim = stored.claim(&query.id, &query.run()).await?;
            let Some(last) = claim.last.clone() else { return Ok((claim, None)) };
            match stored.attempt(&mut claim, last.attempt, last.ground(false)).await {
                Ok(()) => return Ok((claim, Some(last.attempt))),
                // It has ended meanwhile, or a third one has it.
                Err(error) if error.kind == ErrorKind::Cancelled => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends what executors do for an attempt that is not this scheduler's.
    async fn stop(&self, attempt: &Attempt) {
        let StagedRunner { ballista, peers, .. } = self.runner;
        let job = attempt.to_string();
        let executors = ballista.executors().await;
        let removals = executors.iter().map(|executor| peers.remove_job(&executor.address, &job));
        futures::future::join_all(removals).await;
    }

    /// `ground` is what the first attempt was planned for. The others take it over where output is copied: of another
    /// plan no output could be taken over.
    async fn attempt(
        &self,
        attempt: u32,
        spilling: bool,
        ground: &mut Option<Ground>,
        begun: Option<&Begun>,
    ) -> Result<StagedResult, AttemptEnd> {
        let StagedRunner { ballista, planner, signer, janitor, .. } = self.runner;
        ballista.wait_for_executor(self.options.executor_wait).await.map_err(AttemptEnd::Failed)?;
        let ground = match ground {
            Some(first) if self.stored.is_some() => Ground { spilling, ..*first },
            _ => *ground.insert(self::ground(&ballista.executors().await, spilling)),
        };
        let planning = {
            let (planner, compiled) = (Arc::clone(planner), Arc::clone(self.compiled));
            async move { planner.staged(&compiled, ground).await }
        };
        let staged =
            offload::compute(self.cpu, "planning the query", planning).await.map_err(AttemptEnd::Failed)?;
        let ordered = staged.plan.output_ordering().is_some();
        if let (Some(stored), Some(begun)) = (&self.stored, begun) {
            let mut claim = begun.claim.lock().clone();
            let written = stored.attempt(&mut claim, attempt, ground).await;
            *begun.claim.lock() = claim;
            written.map_err(AttemptEnd::Failed)?;
        }
        let attempt = Attempt { run: self.query.query.run().to_string(), number: attempt };
        let job_id = attempt.to_string();
        let run = begun.map(|begun| Arc::clone(&begun.guard));
        let mut guard = JobGuard::new(janitor.clone(), job_id.clone(), run);
        Span::current().record("job", &job_id);
        if let Some(trace) = traceparent() {
            settings::set_trace(staged.context.state_ref().write().config_mut(), &trace);
        }
        let submitted =
            ballista.submit(job_id, staged.context, staged.plan).await.map_err(AttemptEnd::Failed)?;
        let ended = self.watch(&attempt, submitted).await;
        if let Some(Ended { report, plans }) = ballista.ended(&attempt.to_string()) {
            self.query.query.stages_ended(report.stages, &plans);
        }
        if matches!(ended, Err(AttemptEnd::Lost(_))) && self.stored.is_some() {
            self.copy_what_is_finished(&attempt).await;
        }
        let locations = ended?;
        guard.finished();
        let partitions =
            results::partitions(&locations, &self.query.query.id, signer, self.options.ticket_ttl)
                .map_err(AttemptEnd::Failed)?;
        Ok(StagedResult { partitions, ordered, guard })
    }

    /// So that the next attempt finds what the executors that are left have finished and not copied yet.
    async fn copy_what_is_finished(&self, attempt: &Attempt) {
        let StagedRunner { ballista, peers, .. } = self.runner;
        let job = attempt.to_string();
        let executors = ballista.executors().await;
        let flushes = executors.iter().map(|executor| peers.flush_shuffle(&executor.address, &job));
        futures::future::join_all(flushes).await;
    }

    /// Waits for the end of an attempt, whichever comes.
    async fn watch(
        &self,
        attempt: &Attempt,
        mut job: Submitted,
    ) -> Result<Vec<PartitionLocation>, AttemptEnd> {
        let mut deserted = None;
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
                loss = job.loss.next() => match loss {
                    Loss::Over(cause) => return Err(AttemptEnd::Lost(cause)),
                    Loss::Doubt(doubt) => {
                        self.settle(attempt, &doubt).await.map_err(AttemptEnd::Lost)?;
                        job.loss.keep(&doubt);
                        self.runner.ballista.lost(&job.job_id, &doubt.executor).await;
                    }
                },
                _ = ticks.tick() => {
                    if let Some(end) = self.runner.ballista.status(&job.job_id).await.and_then(terminal) {
                        return end.map_err(|text| failure(&text));
                    }
                    let executors = self.runner.ballista.executors().await;
                    if !executors.is_empty() {
                        deserted = None;
                    } else if deserted.get_or_insert_with(Instant::now).elapsed() >= self.options.executor_wait {
                        return Err(AttemptEnd::Failed(self.nobody_left()));
                    }
                    let wants_denials = watchdog.wants_denials(Instant::now());
                    let seen = self.observe(&job.job_id, &executors, wants_denials).await;
                    if let Some(cause) = watchdog.observe(seen, Instant::now()) {
                        return Err(AttemptEnd::Lost(cause));
                    }
                }
            }
        }
    }

    /// Whether there are copies of all that a lost executor wrote; if not, the cause of the attempt's end.
    async fn settle(&self, attempt: &Attempt, doubt: &Doubt) -> Result<(), String> {
        let executor = &doubt.executor;
        let Some(stored) = &self.stored else { return Err(format!("executor {executor} was lost")) };
        match stored.missing(attempt, &doubt.outputs).await {
            Ok(0) => {
                tracing::info!(job = %attempt, executor, outputs = doubt.outputs.len(), "an executor was lost; there are copies of its output");
                Ok(())
            }
            Ok(missing) => Err(format!(
                "executor {executor} was lost, and {missing} of {} outputs that it had finished were not copied yet",
                doubt.outputs.len()
            )),
            Err(error) => Err(format!("executor {executor} was lost, and {error}")),
        }
    }

    fn nobody_left(&self) -> Error {
        Error::new(
            ErrorKind::NoExecutors,
            format!(
                "all executors were lost while the query ran, and none joined within {} ms",
                self.options.executor_wait.as_millis()
            ),
        )
        .with_hint("start executors and submit the query again")
        .with_retry_after(Duration::from_secs(1))
    }

    async fn observe(&self, job_id: &str, executors: &[AliveExecutor], ask_executors: bool) -> Observation {
        let StagedRunner { ballista, peers, .. } = self.runner;
        let believed = ballista.running_tasks(job_id).await;
        let report = ballista.report(job_id).await.unwrap_or_default();
        let load = ballista.load().await;
        // Without executors nothing can move either: the next attempt waits for one.
        let slots_free = executors.is_empty()
            || executors
                .iter()
                .any(|executor| load.get(&executor.id).copied().unwrap_or(0) < u64::from(executor.slots));
        let mut denied = BTreeSet::new();
        if ask_executors {
            for executor in executors {
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
