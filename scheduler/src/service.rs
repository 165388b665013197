//! What happens to a statement, whichever protocol it came by.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::FlightData;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};
use polarway_common::config::{DirectOn, ResultDelivery};
use polarway_common::{Error, ErrorKind, QueryId, Supervisor, TaskKind};
use polarway_engine::cpu::deadline_exceeded;
use polarway_engine::flight;
use polarway_engine::settings::{self, Settings};
use polarway_proto::progress::QueryProgress;
use polarway_proto::status::status_from_error;
use polarway_proto::ticket::{QueryTicket, TicketSigner, expiry};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::admission::{Admission, Admitted};
use crate::ddl;
use crate::direct::{DataStream, LocalRunner, RemoteRunner};
use crate::explain;
use crate::peers::PeerAddress;
use crate::plan::route::Target;
use crate::plan::{Command, Compiled, Explain, Planner, Statement, parse};
use crate::queries::{Queries, Running};
use crate::session::Sessions;
use crate::staged::{StagedRunner, attempt_id};

/// Messages a query may be ahead of its client, besides those in the connection's window.
const MESSAGES_AHEAD: usize = 2;

/// How long a failed query waits for its client to take the error.
const LAST_WORD: std::time::Duration = std::time::Duration::from_secs(5);

/// A statement as a client sent it.
#[derive(Debug, Clone)]
pub struct Request {
    pub query_id: String,
    pub sql: String,
    pub session: String,
    pub settings: Settings,
    pub now: DateTime<Utc>,
}

/// A statement that has been planned.
pub enum Prepared {
    Query(Arc<Compiled>),
    Explain(Explain),
    Command(Command),
}

/// Where a result can be fetched.
pub struct Endpoint {
    pub ticket: Bytes,
    /// An executor that takes the ticket; `None` means this server.
    pub location: Option<PeerAddress>,
}

/// What a client is told before it fetches.
pub struct Info {
    pub query_id: String,
    pub schema: SchemaRef,
    pub route: &'static str,
    pub endpoints: Vec<Endpoint>,
    /// Whether the order of the endpoints is the result's order.
    pub ordered: bool,
}

/// See the module's page.
pub struct QueryService {
    pub planner: Arc<Planner>,
    pub sessions: Sessions,
    pub queries: Arc<Queries>,
    pub admission: Admission,
    pub local: LocalRunner,
    pub remote: RemoteRunner,
    pub staged: StagedRunner,
    pub signer: Arc<TicketSigner>,
    pub direct_on: DirectOn,
    pub results: ResultDelivery,
    pub ticket_ttl: std::time::Duration,
    pub draining: AtomicBool,
    pub supervisor: Supervisor,
}

impl QueryService {
    pub fn request(&self, sql: &str, session: &str) -> Request {
        Request {
            query_id: QueryId::new().to_string(),
            sql: sql.to_owned(),
            session: session.to_owned(),
            settings: self.sessions.settings(session),
            now: Utc::now(),
        }
    }

    fn refuse_while_draining(&self) -> Result<(), Error> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(Error::new(
                ErrorKind::Draining,
                "this server is shutting down and takes no new statements",
            )
            .with_hint("send the statement to another server")
            .with_retry_after(std::time::Duration::from_secs(1)));
        }
        Ok(())
    }

    pub async fn prepare(&self, request: &Request) -> Result<Prepared, Error> {
        self.refuse_while_draining()?;
        if let Some(compiled) = self.planner.cached(&request.sql, &request.settings).await {
            let holds = match compiled.decided_for_slots {
                Some(slots) => slots == self.slots().await,
                None => true,
            };
            if holds {
                return Ok(Prepared::Query(compiled));
            }
        }
        match parse(&request.sql)? {
            Statement::Query(statement) => {
                let slots = self.slots().await;
                let planner = Arc::clone(&self.planner);
                let request = request.clone();
                // Planning computes and decodes footers: not on the threads that serve RPCs.
                let planning = self.local.cpu.handle().spawn(async move {
                    planner.compile(&request.sql, *statement, &request.settings, request.now, slots).await
                });
                let compiled = planning.await.map_err(|error| {
                    Error::internal(format!("planning the statement panicked: {error}"))
                })??;
                Ok(Prepared::Query(compiled))
            }
            Statement::Explain(explain) => Ok(Prepared::Explain(explain)),
            Statement::Command(command) => Ok(Prepared::Command(*command)),
        }
    }

    pub async fn slots(&self) -> u32 {
        self.staged.ballista.executors().await.iter().map(|executor| executor.slots).sum()
    }

    /// Plans a statement and tells where its result can be fetched.
    pub async fn info(&self, sql: &str, session: &str) -> Result<Info, Error> {
        let request = self.request(sql, session);
        let prepared = self.prepare(&request).await?;
        let schema = match &prepared {
            Prepared::Query(compiled) => Arc::clone(&compiled.schema),
            Prepared::Explain(explain) => explain::schema(explain),
            Prepared::Command(_) => status_schema(),
        };
        let (route, compiled, outcome) = match prepared {
            Prepared::Query(compiled) => (compiled.decision.target, Some(compiled), String::new()),
            Prepared::Explain(_) => (Target::Metadata, None, String::new()),
            // Now and not when the result is fetched: drivers send the next statement without waiting for that.
            Prepared::Command(command) => (Target::Metadata, None, self.command(&request, &command).await?),
        };
        if self.results == ResultDelivery::Direct
            && let Some(compiled) = &compiled
            && let Some(info) = self.executor_endpoints(&request, compiled).await?
        {
            return Ok(info);
        }
        let ticket = self.signer.sign_query(&QueryTicket {
            query_id: request.query_id.clone(),
            sql: request.sql.clone(),
            settings: settings::to_wire(&request.settings),
            now_micros: request.now.timestamp_micros(),
            expires_at: expiry(SystemTime::now(), self.ticket_ttl),
            session: request.session.clone(),
            outcome,
        });
        if let Some(compiled) = compiled {
            self.planner.cache.hold(&request.query_id, compiled);
        }
        Ok(Info {
            query_id: request.query_id,
            schema,
            route: route.name(),
            endpoints: vec![Endpoint { ticket, location: None }],
            ordered: true,
        })
    }

    /// Endpoints on the executors themselves. A staged query has run when this returns.
    async fn executor_endpoints(
        &self,
        request: &Request,
        compiled: &Arc<Compiled>,
    ) -> Result<Option<Info>, Error> {
        let route = compiled.decision.target;
        let (endpoints, ordered) = match route {
            Target::Metadata => return Ok(None),
            Target::Direct if self.direct_on == DirectOn::Local || compiled.local_only => return Ok(None),
            Target::Direct => {
                let plan = compiled.encoded.get(&compiled.physical())?;
                let (address, ticket) = self.remote.ticket(compiled, &request.query_id, plan, &[]).await?;
                (vec![Endpoint { ticket, location: Some(address) }], true)
            }
            Target::Staged => {
                let running = self.queries.begin(&request.query_id, &request.sql, route.name());
                let admitted_run = async {
                    let _admitted = self.admission.enter().await?;
                    self.staged.run(compiled, &running).await
                };
                let outcome = self.bounded(compiled, &running, admitted_run).await;
                running.finish(&outcome.as_ref().map(|_| ()).map_err(Clone::clone));
                let mut result = outcome?;
                result.guard.linger(self.ticket_ttl);
                let ordered = result.ordered;
                let endpoints = result
                    .partitions
                    .into_iter()
                    .map(|partition| Endpoint { ticket: partition.ticket, location: Some(partition.address) })
                    .collect();
                (endpoints, ordered)
            }
        };
        Ok(Some(Info {
            query_id: request.query_id.clone(),
            schema: Arc::clone(&compiled.schema),
            route: route.name(),
            endpoints,
            ordered,
        }))
    }

    /// Runs what a ticket names.
    pub async fn run_ticket(&self, ticket: &[u8]) -> Result<DataStream, Error> {
        let ticket = self.signer.verify_query(ticket, SystemTime::now())?;
        if !ticket.outcome.is_empty() {
            return Ok(one_batch(status_batch(&ticket.outcome)?));
        }
        let request = Request {
            query_id: ticket.query_id,
            sql: ticket.sql,
            session: ticket.session,
            settings: settings::from_wire(&ticket.settings),
            now: DateTime::from_timestamp_micros(ticket.now_micros)
                .ok_or_else(|| Error::new(ErrorKind::InvalidTicket, "the ticket's time is not valid"))?,
        };
        self.run(&request).await
    }

    /// Runs a statement from the beginning.
    pub async fn run(&self, request: &Request) -> Result<DataStream, Error> {
        self.refuse_while_draining()?;
        let prepared = match self.planner.held(&request.query_id).await {
            Some(compiled) => Prepared::Query(compiled),
            None => self.prepare(request).await?,
        };
        match prepared {
            Prepared::Query(compiled) => self.run_query(request, &compiled).await,
            Prepared::Explain(explain) => {
                let admitted =
                    if explain.options.analyze { Some(self.admission.enter().await?) } else { None };
                let running = self.queries.begin(&request.query_id, &request.sql, "metadata");
                let token = running.query.cancel.clone();
                let explaining = explain::run(self, request, &explain);
                let outcome = or_cancelled(&token, explaining).await;
                running.finish(&outcome.as_ref().map(|_| ()).map_err(Clone::clone));
                drop(admitted);
                Ok(one_batch(outcome?))
            }
            Prepared::Command(command) => {
                let tag = self.command(request, &command).await?;
                Ok(one_batch(status_batch(&tag)?))
            }
        }
    }

    /// Runs a statement that changes something; gives the text that tells what it did.
    pub async fn command(&self, request: &Request, command: &Command) -> Result<String, Error> {
        match command {
            Command::Set { name, value } => {
                settings::check(name, value, self.planner.base_config())?;
                self.sessions.set(&request.session, name, value);
            }
            Command::Reset { name } => {
                let known = self.planner.base_config().options().entries();
                if !known.iter().any(|entry| &entry.key == name) {
                    settings::check(name, "", self.planner.base_config())?;
                }
                self.sessions.reset(&request.session, name);
            }
            Command::Ddl { statement, text } => {
                let changed = ddl::run(self, request, statement.clone(), text).await?;
                if !changed {
                    return Ok(format!("{} (nothing to do)", command.tag()));
                }
            }
        }
        Ok(command.tag().to_owned())
    }

    async fn run_query(&self, request: &Request, compiled: &Arc<Compiled>) -> Result<DataStream, Error> {
        let target = compiled.decision.target;
        let running = self.queries.begin(&request.query_id, &request.sql, target.name());
        let starting = async {
            let admitted = match target {
                Target::Metadata => None,
                Target::Direct | Target::Staged => Some(self.admission.enter().await?),
            };
            let stream = self.start(request, compiled, &running).await?;
            Ok((stream, admitted))
        };
        let started = self.bounded(compiled, &running, starting).await;
        match started {
            Ok((stream, admitted)) => Ok(self.supervised(stream, compiled, running, admitted)),
            Err(error) => {
                running.finish(&Err(error.clone()));
                Err(error)
            }
        }
    }

    async fn start(
        &self,
        request: &Request,
        compiled: &Arc<Compiled>,
        running: &Running,
    ) -> Result<DataStream, Error> {
        match (compiled.decision.target, self.direct_on) {
            (Target::Metadata, _) | (Target::Direct, DirectOn::Local) => self.local.stream(compiled).await,
            (Target::Direct, DirectOn::Executor) if compiled.local_only => self.local.stream(compiled).await,
            (Target::Direct, DirectOn::Executor) => self.remote.stream(compiled, &request.query_id).await,
            (Target::Staged, _) => {
                let (messages, guard) = self.staged.stream(compiled, running).await?;
                let schema = schema_message(&compiled.schema)?;
                let rest = messages.map(move |message| {
                    let _files = &guard;
                    message.map_err(|error| status_from_error(&error))
                });
                Ok(stream::once(async { Ok(schema) }).chain(rest).boxed())
            }
        }
    }

    /// Ends `work` when the query is cancelled or past its deadline.
    async fn bounded<T>(
        &self,
        compiled: &Compiled,
        running: &Running,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let token = running.query.cancel.clone();
        match compiled.settings.timeout {
            None => or_cancelled(&token, work).await,
            Some(limit) => match tokio::time::timeout(limit, or_cancelled(&token, work)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(deadline_exceeded(limit)),
            },
        }
    }

    /// The stream with its query's fate tied to it: it ends at a cancel or the deadline even while the client reads
    /// nothing, and when the client is gone everything that works for it stops.
    fn supervised(
        &self,
        mut stream: DataStream,
        compiled: &Compiled,
        running: Running,
        admitted: Option<Admitted>,
    ) -> DataStream {
        let deadline = compiled.settings.timeout.map(|limit| (running.query.started + limit, limit));
        let (sender, receiver) = mpsc::channel(MESSAGES_AHEAD);
        let pump = async move {
            let _admitted = admitted;
            let outcome = loop {
                let next = tokio::select! {
                    () = sender.closed() => break Err(cancelled()),
                    next = next_message(&mut stream, &running.query.cancel, deadline) => next,
                };
                match next {
                    None => break Ok(()),
                    Some(Err(error)) => break Err(error),
                    Some(Ok(message)) => {
                        let sent = tokio::select! {
                            sent = sender.send(Ok(message)) => sent.is_ok(),
                            () = running.query.cancel.cancelled() => false,
                            () = passed(deadline) => break Err(too_late(deadline)),
                        };
                        if !sent {
                            break Err(cancelled());
                        }
                    }
                }
            };
            running.finish(&outcome);
            // What worked for the query stops before its client is told.
            drop(stream);
            if let Err(error) = outcome {
                let _ = tokio::time::timeout(LAST_WORD, sender.send(Err(status_from_error(&error)))).await;
            }
        };
        self.supervisor.spawn("query", TaskKind::Background, async move {
            pump.await;
            Ok(())
        });
        ReceiverStream::new(receiver).boxed()
    }

    /// How far a query has come; `None` when it is not known (any more).
    pub async fn progress(&self, query_id: &str) -> Option<QueryProgress> {
        let query = self.queries.get(query_id)?;
        let attempt = query.attempt();
        let report = match query.route {
            "staged" => {
                self.staged.ballista.report(&attempt_id(&query.run, attempt)).await.unwrap_or_default()
            }
            _ => Default::default(),
        };
        Some(QueryProgress {
            query_id: query_id.to_owned(),
            state: query.state(),
            route: query.route.to_owned(),
            attempt,
            stages: report.stages,
            executors: report.executors,
        })
    }

    /// Waits until no query runs, at most `limit`. New ones are refused from now on.
    pub async fn drain(&self, limit: std::time::Duration) {
        self.draining.store(true, Ordering::Relaxed);
        let idle = async {
            while self.queries.running() > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(limit, idle).await.is_err() {
            tracing::warn!(running = self.queries.running(), "drain timed out; running queries are cut off");
            self.queries.cancel_all();
        }
    }
}

async fn next_message(
    stream: &mut DataStream,
    cancel: &CancellationToken,
    deadline: Deadline,
) -> Option<Result<FlightData, Error>> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Some(Err(cancelled())),
        message = stream.next() => {
            message.map(|message| message.map_err(|status| polarway_proto::status::error_from_status(&status)))
        }
        () = passed(deadline) => Some(Err(too_late(deadline))),
    }
}

type Deadline = Option<(Instant, std::time::Duration)>;

async fn passed(deadline: Deadline) {
    match deadline {
        Some((at, _)) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn too_late(deadline: Deadline) -> Error {
    deadline_exceeded(deadline.map_or_else(Default::default, |(_, limit)| limit))
}

async fn or_cancelled<T>(
    token: &CancellationToken,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        biased;
        () = token.cancelled() => Err(cancelled()),
        outcome = work => outcome,
    }
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the query was cancelled")
}

/// The result of a statement that gives no rows of its own.
fn status_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("status", DataType::Utf8, false)]))
}

fn status_batch(text: &str) -> Result<RecordBatch, Error> {
    RecordBatch::try_new(status_schema(), vec![Arc::new(StringArray::from(vec![text]))])
        .map_err(|error| Error::internal(error.to_string()))
}

pub fn one_batch(batch: RecordBatch) -> DataStream {
    flight::encode_batches(batch.schema(), stream::once(async { Ok::<_, Status>(batch) }))
}

fn schema_message(schema: &SchemaRef) -> Result<FlightData, Error> {
    let options = arrow::ipc::writer::IpcWriteOptions::default();
    Ok(arrow_flight::SchemaAsIpc::new(schema, &options).into())
}
