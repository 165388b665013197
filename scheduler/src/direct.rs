//! The direct route: one process runs the whole plan and its batches are streamed as they are made.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use bytes::Bytes;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use polarway_common::{Error, ErrorKind};
use polarway_engine::cpu::CpuRuntime;
use polarway_engine::measure::{Measured, measure};
use polarway_engine::offload::{self, Work};
use polarway_engine::runtime::EngineRuntime;
use polarway_engine::{codec, settings};
use polarway_proto::status::status_from_error;
use polarway_proto::ticket::{Analyze, PlanTicket, Setting, TicketSigner, expiry};
use tonic::Status;

use crate::peers::{PeerAddress, Peers, executor_error};
use crate::plan::{Compiled, Planner};
use crate::staged::ballista::{AliveExecutor, Ballista};

pub type DataStream = BoxStream<'static, Result<FlightData, Status>>;

/// Executors tried before a direct query fails.
const TRIES: usize = 3;
/// How long another executor than those that have failed is waited for.
const SUCCESSOR_WAIT: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Runs plans in this process.
#[derive(Clone)]
pub struct LocalRunner {
    pub planner: Arc<Planner>,
    pub cpu: Arc<CpuRuntime>,
    pub runtime: EngineRuntime,
}

impl LocalRunner {
    /// Runs the query. If it runs out of memory before its first batch, it starts over with a plan that needs less.
    pub async fn stream(&self, compiled: &Arc<Compiled>) -> Result<DataStream, Error> {
        match self.start(compiled, false).await {
            Err(error) if error.kind == ErrorKind::OutOfMemory => self.start(compiled, true).await,
            other => other,
        }
    }

    /// Runs the query for its measurements, in the same two tries.
    pub async fn measure(&self, compiled: &Arc<Compiled>, verbose: bool) -> Result<Measured, Error> {
        match self.measure_once(compiled, false, verbose).await {
            Err(error) if error.kind == ErrorKind::OutOfMemory => {
                self.measure_once(compiled, true, verbose).await
            }
            other => other,
        }
    }

    async fn measure_once(
        &self,
        compiled: &Arc<Compiled>,
        spilling: bool,
        verbose: bool,
    ) -> Result<Measured, Error> {
        let work = offload::compute(&self.cpu, "planning the query", self.work(compiled, spilling)).await?;
        measure(&self.cpu, work, compiled.settings.timeout, verbose).await
    }

    /// Starts the query and waits for its first batch, so that an early error is still an answer and not a torn
    /// stream.
    async fn start(&self, compiled: &Arc<Compiled>, spilling: bool) -> Result<DataStream, Error> {
        let work = self.work(compiled, spilling);
        let mut messages = offload::messages(&self.cpu, work, compiled.settings.timeout);
        // The schema and the first batch, or the end.
        let mut head = vec![];
        while head.len() < 2 {
            match messages.try_next().await? {
                Some(message) => head.push(Ok(message)),
                None => break,
            }
        }
        Ok(stream::iter(head).chain(messages.map_err(|error| status_from_error(&error))).boxed())
    }

    /// A plan of the query's own and its context, made where the future runs.
    fn work(
        &self,
        compiled: &Arc<Compiled>,
        spilling: bool,
    ) -> impl Future<Output = Result<Work, Error>> + Send + use<> {
        let (compiled, runtime, planner) =
            (Arc::clone(compiled), self.runtime.clone(), Arc::clone(&self.planner));
        async move {
            let runnable =
                if spilling { planner.spilling(&compiled).await? } else { compiled.fresh_plan().await? };
            let context = runnable.task_context(&runtime, compiled.settings.memory_limit)?;
            Ok(Work { plan: runnable.plan, context })
        }
    }
}

/// A plan as it travels to an executor, with the settings that it has to run under.
#[derive(Debug, Clone)]
pub struct Travelling {
    plan: Bytes,
    settings: Vec<Setting>,
}

impl Travelling {
    fn of(plan: Arc<dyn ExecutionPlan>, config: &SessionConfig) -> Result<Self, Error> {
        let settings = settings::to_wire(&settings::to_travel(config));
        Ok(Self { plan: codec::encode_plan(plan)?, settings })
    }
}

/// A plan encoded once for all its runs.
#[derive(Debug, Default)]
pub struct EncodedPlan(OnceLock<Travelling>);

impl EncodedPlan {
    /// `plan` was made under `config`.
    pub fn get(&self, plan: &Arc<dyn ExecutionPlan>, config: &SessionConfig) -> Result<Travelling, Error> {
        if let Some(travelling) = self.0.get() {
            return Ok(travelling.clone());
        }
        let travelling = Travelling::of(Arc::clone(plan), config)?;
        Ok(self.0.get_or_init(|| travelling).clone())
    }
}

/// Runs plans on executors.
#[derive(Clone)]
pub struct RemoteRunner {
    pub planner: Arc<Planner>,
    pub ballista: Ballista,
    pub peers: Arc<Peers>,
    pub signer: Arc<TicketSigner>,
    pub executor_wait: Duration,
    pub ticket_ttl: Duration,
}

impl RemoteRunner {
    /// A ticket with which the executor at the address runs the query.
    async fn ticket(
        &self,
        compiled: &Compiled,
        query_id: &str,
        travelling: Travelling,
        analyze: Option<Analyze>,
        failed: &[PeerAddress],
    ) -> Result<(PeerAddress, Bytes), Error> {
        let wait = compiled.settings.executor_wait.unwrap_or(self.executor_wait);
        let address = self.least_loaded(wait, failed).await?;
        let ticket = PlanTicket {
            query_id: query_id.to_owned(),
            plan: travelling.plan,
            settings: travelling.settings,
            expires_at: expiry(SystemTime::now(), self.ticket_ttl),
            timeout_ms: compiled.settings.timeout.map_or(0, |limit| limit.as_millis() as u64),
            memory_limit: compiled.settings.memory_limit.unwrap_or_default() as u64,
            partition: None,
            analyze,
        };
        Ok((address, self.signer.sign_plan(&ticket)))
    }

    /// The executor with the least work. One that has failed is tried again only if no other comes soon: an executor that
    /// has died counts as one for a while, and its successor may be on its way.
    async fn least_loaded(&self, wait: Duration, failed: &[PeerAddress]) -> Result<PeerAddress, Error> {
        let patience = Instant::now() + wait.min(SUCCESSOR_WAIT);
        loop {
            self.ballista.wait_for_executor(wait).await?;
            let executors = self.ballista.executors().await;
            let least = executors.into_iter().min_by_key(|executor| {
                let load = self.peers.load(&executor.address) * 1000 / executor.slots.max(1) as usize;
                (failed.contains(&executor.address), load, executor.id.clone())
            });
            match least {
                Some(AliveExecutor { address, .. })
                    if !failed.contains(&address) || Instant::now() >= patience =>
                {
                    return Ok(address);
                }
                Some(_) => tokio::time::sleep(LOOK_AGAIN).await,
                None => {
                    let told = "no executor is there to run the query";
                    return Err(Error::new(ErrorKind::NoExecutors, told));
                }
            }
        }
    }

    /// Runs the query on the executor with the least work and passes its messages on. An executor that fails before
    /// its first batch is replaced by another. A plan that needs less memory is made on `cpu`.
    pub async fn stream(
        &self,
        cpu: &CpuRuntime,
        compiled: &Arc<Compiled>,
        query_id: &str,
    ) -> Result<DataStream, Error> {
        self.run(cpu, compiled, query_id, None).await
    }

    /// Runs the query in the same way for its measurements.
    pub async fn measure(
        &self,
        cpu: &CpuRuntime,
        compiled: &Arc<Compiled>,
        query_id: &str,
        verbose: bool,
    ) -> Result<Measured, Error> {
        let messages = self.run(cpu, compiled, query_id, Some(Analyze { verbose })).await?;
        let messages = messages.map_err(|status| FlightError::Tonic(Box::new(status)));
        let mut batches = FlightRecordBatchStream::new_from_flight_data(messages);
        match batches.try_next().await {
            Ok(Some(batch)) => Measured::from_batch(&batch),
            Ok(None) => Err(Error::internal("an executor sent no measurements of its run")),
            Err(FlightError::Tonic(status)) => Err(executor_error(&status)),
            Err(error) => Err(Error::internal(format!("an executor's measurements cannot be read: {error}"))),
        }
    }

    async fn run(
        &self,
        cpu: &CpuRuntime,
        compiled: &Arc<Compiled>,
        query_id: &str,
        analyze: Option<Analyze>,
    ) -> Result<DataStream, Error> {
        let mut travelling = compiled.encoded.get(&compiled.physical(), compiled.config())?;
        let mut spilling = false;
        let mut last = None;
        let mut failed = vec![];
        for _ in 0..TRIES {
            let (address, ticket) =
                self.ticket(compiled, query_id, travelling.clone(), analyze, &failed).await?;
            match self.once(&address, ticket).await {
                Ok(stream) => return Ok(stream),
                Err(error) if error.kind == ErrorKind::OutOfMemory && !spilling => {
                    let (compiled, planner) = (Arc::clone(compiled), Arc::clone(&self.planner));
                    travelling = offload::compute(cpu, "planning the query", async move {
                        let runnable = planner.spilling(&compiled).await?;
                        Travelling::of(Arc::clone(&runnable.plan), runnable.config())
                    })
                    .await?;
                    spilling = true;
                    last = Some(error);
                }
                Err(error) if error.kind == ErrorKind::ExecutorLost => {
                    failed.push(address);
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::internal("no executor was tried")))
    }

    async fn once(&self, address: &PeerAddress, ticket: Bytes) -> Result<DataStream, Error> {
        let (mut stream, in_flight) = self.peers.open(address, ticket).await?;
        // The schema and the first batch, or the end: until then another executor can take over unseen.
        let mut head = vec![];
        while head.len() < 2 {
            match stream.message().await.map_err(|status| executor_error(&status))? {
                Some(message) => head.push(Ok(message)),
                None => break,
            }
        }
        let rest = stream.map(move |message| {
            let _running = &in_flight;
            message.map_err(|status| status_from_error(&executor_error(&status)))
        });
        Ok(stream::iter(head).chain(rest).boxed())
    }
}
