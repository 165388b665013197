//! The direct route: one process runs the whole plan and its batches are streamed as they are made.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arrow::record_batch::RecordBatch;
use arrow_flight::FlightData;
use bytes::Bytes;
use datafusion::common::DataFusionError;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use polarway_common::{Error, ErrorKind};
use polarway_engine::cpu::CpuRuntime;
use polarway_engine::memory::QueryPool;
use polarway_engine::runtime::EngineRuntime;
use polarway_engine::{codec, errors, flight, settings};
use polarway_proto::status::status_from_error;
use polarway_proto::ticket::{PlanTicket, TicketSigner, expiry};
use tonic::Status;

use crate::peers::{PeerAddress, Peers, executor_error};
use crate::plan::Compiled;
use crate::staged::ballista::Ballista;

pub type DataStream = BoxStream<'static, Result<FlightData, Status>>;

/// Executors tried before a direct query fails.
const TRIES: usize = 3;

/// Runs plans in this process.
#[derive(Clone)]
pub struct LocalRunner {
    pub cpu: Arc<CpuRuntime>,
    pub runtime: EngineRuntime,
}

impl LocalRunner {
    /// Runs the query. If it runs out of memory before its first batch, it starts over with a plan that needs less.
    pub async fn batches(&self, compiled: &Compiled) -> Result<SendableRecordBatchStream, Error> {
        let first = self.start(compiled, compiled.fresh_plan().await?).await;
        match first {
            Err(error) if error.kind == ErrorKind::OutOfMemory => {
                self.start(compiled, compiled.spilling_plan().await?).await
            }
            other => other,
        }
    }

    pub async fn stream(&self, compiled: &Compiled) -> Result<DataStream, Error> {
        Ok(flight::encode(self.batches(compiled).await?))
    }

    /// The context of a run whose memory is measured by `pool`.
    pub fn with_pool(&self, compiled: &Compiled, pool: Arc<QueryPool>) -> Result<Arc<TaskContext>, Error> {
        let env = RuntimeEnvBuilder::from_runtime_env(&self.runtime.env)
            .with_memory_pool(pool)
            .build_arc()
            .map_err(|error| errors::classify(&error))?;
        Ok(compiled.context_in(env))
    }

    /// Starts `plan` and waits for its first batch, so that an early error is still an answer and not a torn stream.
    async fn start(
        &self,
        compiled: &Compiled,
        plan: Arc<dyn ExecutionPlan>,
    ) -> Result<SendableRecordBatchStream, Error> {
        let context = compiled.task_context(&self.runtime)?;
        let mut stream = self.cpu.run(plan, context, compiled.settings.timeout);
        let schema = stream.schema();
        let head: Vec<Result<RecordBatch, DataFusionError>> = match stream.try_next().await {
            Ok(Some(batch)) => vec![Ok(batch)],
            Ok(None) => vec![],
            Err(error) => return Err(errors::classify(&error)),
        };
        let whole = stream::iter(head).chain(stream);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, whole)))
    }
}

/// A plan encoded once for all its runs.
#[derive(Debug, Default)]
pub struct EncodedPlan(OnceLock<Bytes>);

impl EncodedPlan {
    pub fn get(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<Bytes, Error> {
        if let Some(bytes) = self.0.get() {
            return Ok(bytes.clone());
        }
        let bytes = codec::encode_plan(Arc::clone(plan))?;
        Ok(self.0.get_or_init(|| bytes).clone())
    }
}

/// Runs plans on executors.
#[derive(Clone)]
pub struct RemoteRunner {
    pub ballista: Ballista,
    pub peers: Arc<Peers>,
    pub signer: Arc<TicketSigner>,
    pub executor_wait: Duration,
    pub ticket_ttl: Duration,
}

impl RemoteRunner {
    /// A ticket with which the executor at the address runs the query.
    pub async fn ticket(
        &self,
        compiled: &Compiled,
        query_id: &str,
        plan: Bytes,
        failed: &[PeerAddress],
    ) -> Result<(PeerAddress, Bytes), Error> {
        self.ballista.wait_for_executor(self.executor_wait).await?;
        let executors = self.ballista.executors().await;
        let address = executors
            .into_iter()
            .min_by_key(|executor| {
                let load = self.peers.load(&executor.address) * 1000 / executor.slots.max(1) as usize;
                (failed.contains(&executor.address), load, executor.id.clone())
            })
            .map(|executor| executor.address)
            .ok_or_else(|| Error::new(ErrorKind::NoExecutors, "no executor is there to run the query"))?;
        let ticket = PlanTicket {
            query_id: query_id.to_owned(),
            plan,
            settings: settings::to_wire(&compiled.raw_settings),
            expires_at: expiry(SystemTime::now(), self.ticket_ttl),
            timeout_ms: compiled.settings.timeout.map_or(0, |limit| limit.as_millis() as u64),
            memory_limit: compiled.settings.memory_limit.unwrap_or_default() as u64,
            partition: None,
        };
        Ok((address, self.signer.sign_plan(&ticket)))
    }

    /// Runs the query on the executor with the least work and passes its messages on. An executor that fails before
    /// its first batch is replaced by another.
    pub async fn stream(&self, compiled: &Compiled, query_id: &str) -> Result<DataStream, Error> {
        let mut plan = compiled.encoded.get(&compiled.physical())?;
        let mut spilling = false;
        let mut last = None;
        let mut failed = vec![];
        for _ in 0..TRIES {
            let (address, ticket) = self.ticket(compiled, query_id, plan.clone(), &failed).await?;
            match self.once(&address, ticket).await {
                Ok(stream) => return Ok(stream),
                Err(error) if error.kind == ErrorKind::OutOfMemory && !spilling => {
                    plan = codec::encode_plan(compiled.spilling_plan().await?)?;
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
