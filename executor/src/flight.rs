//! The executor's Flight service: shuffle files for other executors, result partitions and whole plans for
//! schedulers and clients that hold a signed ticket.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use async_trait::async_trait;
use ballista_core::execution_plans::create_shuffle_path;
use ballista_core::serde::decode_protobuf;
use ballista_core::serde::scheduler::Action as BallistaAction;
use ballista_executor::flight_service::BallistaFlightService;
use bytes::Bytes;
use datafusion::execution::TaskContext;
use datafusion::prelude::SessionConfig;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use polarway_common::{Error, ErrorKind};
use polarway_engine::cpu::CpuRuntime;
use polarway_engine::measure::measure;
use polarway_engine::offload::Work;
use polarway_engine::runtime::EngineRuntime;
use polarway_engine::time_zone::all_localized;
use polarway_engine::{codec, errors, flight, settings};
use polarway_identity::connection::ConnectionInfo;
use polarway_identity::grpc::party_of;
use polarway_identity::{Credential, audit};
use polarway_metastore::membership::{Members, Role};
use polarway_proto::progress::{
    FLUSH_SHUFFLE_ACTION, NODE_STATUS_ACTION, NodeStatus, RUNNING_TASKS_ACTION, SHUFFLE_REQUESTS_ACTION,
    TICKET_KEY_ACTION,
};
use polarway_proto::status::status_from_error;
use polarway_proto::ticket::{self, Analyze, PlanTicket, ResultPartition};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

use crate::ledger::{Ledger, Outcome, TaskId};
use crate::report::dial;
use crate::result_file;
use crate::spans;
use crate::stored::{Stored, Wanted};
use crate::workdir::is_plain;

type DataStream = BoxStream<'static, Result<FlightData, Status>>;

/// A key that fails is fetched again, but not more often than this.
const KEY_REFRESH: Duration = Duration::from_secs(1);

/// How long a scheduler that asks for copies is kept waiting.
const FLUSH_LIMIT: Duration = Duration::from_secs(8);

/// Whom to ask for the key, as `host:port`.
pub enum KeyHolders {
    One(String),
    /// Any scheduler: they share it.
    Members(Members),
}

impl KeyHolders {
    fn addresses(&self) -> Vec<String> {
        match self {
            KeyHolders::One(scheduler) => vec![scheduler.clone()],
            KeyHolders::Members(members) => {
                members.current().of(Role::Scheduler).map(|member| member.address.to_string()).collect()
            }
        }
    }
}

/// The schedulers' public key, fetched on first use.
pub struct TicketKey {
    holders: KeyHolders,
    credential: Credential,
    cached: Mutex<Option<(Bytes, Instant)>>,
}

impl TicketKey {
    /// `credential` is what this process shows to them.
    pub fn new(holders: KeyHolders, credential: Credential) -> Self {
        Self { holders, credential, cached: Mutex::new(None) }
    }

    async fn verify(&self, bytes: &Bytes) -> Result<PlanTicket, Error> {
        let cached = self.cached.lock().clone();
        if let Some((key, at)) = cached {
            let verdict = ticket::verify_plan(&key, bytes, SystemTime::now());
            if verdict.is_ok() || at.elapsed() < KEY_REFRESH {
                return verdict;
            }
        }
        let key = self.fetch().await?;
        *self.cached.lock() = Some((key.clone(), Instant::now()));
        ticket::verify_plan(&key, bytes, SystemTime::now())
    }

    async fn fetch(&self) -> Result<Bytes, Error> {
        let mut failure = "there is no scheduler".to_owned();
        for scheduler in self.holders.addresses() {
            match fetch_from(&scheduler, &self.credential).await {
                Ok(key) => return Ok(key),
                Err(cause) => failure = format!("{scheduler}: {cause}"),
            }
        }
        Err(Error::new(ErrorKind::Draining, format!("cannot fetch the ticket key: {failure}")))
    }
}

async fn fetch_from(scheduler: &str, credential: &Credential) -> Result<Bytes, String> {
    let channel = dial(scheduler, credential).await?;
    let action = Action { r#type: TICKET_KEY_ACTION.to_owned(), body: Bytes::new() };
    let mut results = FlightServiceClient::new(channel)
        .do_action(action)
        .await
        .map_err(|status| status.to_string())?
        .into_inner();
    match results.message().await {
        Ok(Some(result)) => Ok(result.body),
        Ok(None) => Err("no key came".to_owned()),
        Err(status) => Err(status.to_string()),
    }
}

/// See the module's page.
#[derive(Clone)]
pub struct ExecutorFlight {
    pub shuffle: Arc<BallistaFlightService>,
    pub work_dir: String,
    pub key: Arc<TicketKey>,
    pub cpu: Arc<CpuRuntime>,
    pub runtime: EngineRuntime,
    pub base_config: SessionConfig,
    pub functions: Arc<ballista_core::registry::BallistaFunctionRegistry>,
    pub ledger: Arc<Ledger>,
    /// Copies of output; none if no place for them is configured.
    pub stored: Option<Arc<Stored>>,
    pub slots: u32,
    pub free: Arc<Semaphore>,
}

impl ExecutorFlight {
    fn status(&self) -> NodeStatus {
        let free = u32::try_from(self.free.available_permits()).unwrap_or(u32::MAX);
        NodeStatus {
            slots: self.slots,
            slots_used: self.slots.saturating_sub(free),
            tasks_running: self.ledger.running() as u64,
            memory_reserved: self.runtime.reserved() as u64,
            memory_limit: self.runtime.memory_limit() as u64,
            spill_used: self.runtime.spilled(),
        }
    }

    async fn run_ticket(&self, bytes: &Bytes) -> Result<DataStream, Error> {
        let ticket = self.key.verify(bytes).await?;
        match &ticket.partition {
            Some(partition) => self.send_partition(partition).await,
            None => self.run_plan(&ticket).await,
        }
    }

    async fn run_plan(&self, ticket: &PlanTicket) -> Result<DataStream, Error> {
        let config = settings::apply(self.base_config.clone(), &settings::from_wire(&ticket.settings))?;
        let scalar_functions = all_localized(&self.functions.scalar_functions, config.options());
        let limit = (ticket.memory_limit > 0).then_some(ticket.memory_limit as usize);
        let context = Arc::new(TaskContext::new(
            Some(ticket.query_id.clone()),
            ticket.query_id.clone(),
            config,
            scalar_functions,
            self.functions.higher_order_functions.clone(),
            self.functions.aggregate_functions.clone(),
            self.functions.window_functions.clone(),
            self.runtime.for_query(limit)?,
        ));
        let plan_bytes = ticket.plan.clone();
        let decode_context = Arc::clone(&context);
        let plan = self
            .cpu
            .handle()
            .spawn(async move { codec::decode_plan(&plan_bytes, &decode_context) })
            .await
            .map_err(|error| Error::internal(format!("decoding a plan panicked: {error}")))??;
        let id = TaskId { job: ticket.query_id.clone(), stage: 0, task: 0 };
        self.ledger.begin(&id);
        let guard = LedgerGuard { ledger: Arc::clone(&self.ledger), id };
        let timeout = (ticket.timeout_ms > 0).then(|| Duration::from_millis(ticket.timeout_ms));
        let stream = match ticket.analyze {
            None => {
                let batches =
                    self.cpu.run(plan, context, timeout).map_err(|error| errors::classify(&error))?;
                flight::encode(batches)
            }
            Some(Analyze { verbose }) => {
                let work = Work { plan, context };
                let batch = measure(&self.cpu, work, timeout, verbose).await?.to_batch()?;
                flight::encode_batches(batch.schema(), futures::stream::once(async { Ok(batch) }))
            }
        };
        Ok(stream
            .inspect(move |_| {
                let _running = &guard;
            })
            .boxed())
    }

    async fn send_partition(&self, partition: &ResultPartition) -> Result<DataStream, Error> {
        let path = create_shuffle_path(
            &self.work_dir,
            &partition.job_id.clone().into(),
            partition.stage_id as usize,
            partition.partition_id as usize,
            partition.file_id,
            partition.sort_layout,
        )
        .map_err(result_file::gone)?;
        if let Some(stored) = &self.stored
            && !tokio::fs::try_exists(&path).await.unwrap_or(false)
        {
            stored.fetch(partition, &path).await?;
        }
        let (schema, batches) = result_file::open(self.cpu.handle().clone(), path, partition.rows).await?;
        let schema = polarway_engine::output::plain_schema(&schema);
        Ok(flight::encode_batches(schema, batches.map_err(|error| status_from_error(&error))))
    }
}

/// Ballista's service joins the job id of a request to its directory as it stands.
fn checked_shuffle_request(encoded: &[u8]) -> Result<BallistaAction, Status> {
    let refused = || {
        status_from_error(&Error::new(ErrorKind::InvalidTicket, "this is not a request for a shuffle file"))
    };
    match decode_protobuf(encoded) {
        Ok(BallistaAction::FetchPartition { ref job_id, .. }) if !is_plain(job_id.as_str()) => Err(refused()),
        Ok(action) => Ok(action),
        Err(_) => Err(refused()),
    }
}

/// Only processes come without a ticket.
fn by_process<T>(request: &Request<T>) -> Result<(), Status> {
    let party = party_of(request.extensions()).map_err(|error| status_from_error(&error))?;
    party.must_be_process().map_err(|error| {
        let from = request.extensions().get::<ConnectionInfo>().map(|info| info.remote);
        audit::denied(party.name(), "an executor's own call", from, &error);
        status_from_error(&error)
    })
}

fn one_result(body: Bytes) -> Response<BoxStream<'static, Result<arrow_flight::Result, Status>>> {
    Response::new(futures::stream::once(async { Ok(arrow_flight::Result { body }) }).boxed())
}

struct LedgerGuard {
    ledger: Arc<Ledger>,
    id: TaskId,
}

impl Drop for LedgerGuard {
    fn drop(&mut self) {
        self.ledger.end(&self.id, Outcome::Succeeded);
    }
}

#[async_trait]
impl FlightService for ExecutorFlight {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = DataStream;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoExchangeStream = DataStream;
    type DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        if ticket::is_plan_ticket(&request.get_ref().ticket) {
            let span = spans::fetch(request.metadata());
            let bytes = request.into_inner().ticket;
            let stream =
                self.run_ticket(&bytes).instrument(span).await.map_err(|error| status_from_error(&error))?;
            return Ok(Response::new(stream));
        }
        by_process(&request)?;
        checked_shuffle_request(&request.get_ref().ticket)?;
        self.shuffle.do_get(request).await
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        by_process(&request)?;
        if request.get_ref().r#type == RUNNING_TASKS_ACTION {
            let job = String::from_utf8_lossy(&request.get_ref().body).into_owned();
            let body = serde_json::to_vec(&self.ledger.tasks_of(&job))
                .map_err(|error| Status::internal(format!("the task list cannot be written: {error}")))?;
            return Ok(one_result(body.into()));
        }
        if request.get_ref().r#type == NODE_STATUS_ACTION {
            let body = serde_json::to_vec(&self.status())
                .map_err(|error| Status::internal(format!("the status cannot be written: {error}")))?;
            return Ok(one_result(body.into()));
        }
        if request.get_ref().r#type == FLUSH_SHUFFLE_ACTION {
            let job = String::from_utf8_lossy(&request.get_ref().body).into_owned();
            let left = match &self.stored {
                Some(stored) => stored.flush(&job, FLUSH_LIMIT).await,
                None => 0,
            };
            return Ok(one_result(left.to_string().into()));
        }
        if request.get_ref().r#type == SHUFFLE_REQUESTS_ACTION {
            let job = String::from_utf8_lossy(&request.get_ref().body).into_owned();
            let requests = self.stored.as_ref().map(|stored| stored.requests_of(&job)).unwrap_or_default();
            let body = serde_json::to_vec(&requests)
                .map_err(|error| Status::internal(format!("counts cannot be written: {error}")))?;
            return Ok(one_result(body.into()));
        }
        let action = checked_shuffle_request(&request.get_ref().body)?;
        if let Some(stored) = &self.stored
            && let Some(wanted) = Wanted::of(action)
            && !wanted.is_in(Path::new(&self.work_dir))
        {
            let blocks = stored.blocks(wanted).await.map_err(|error| status_from_error(&error))?;
            return Ok(Response::new(blocks.map_err(|error| status_from_error(&error)).boxed()));
        }
        self.shuffle.do_action(request).await
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        Err(Status::unimplemented("executors take tickets only"))
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(Status::unimplemented("executors take tickets only"))
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        Err(Status::unimplemented("ask a scheduler"))
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        Err(Status::unimplemented("ask a scheduler"))
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        Err(Status::unimplemented("ask a scheduler"))
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        Err(Status::unimplemented("executors take no uploads"))
    }

    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(Status::unimplemented("executors take no exchanges"))
    }

    async fn list_actions(
        &self,
        request: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        self.shuffle.list_actions(request).await
    }
}
