//! What happens to a statement, whichever protocol it came by.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, SchemaRef};
use arrow_flight::FlightData;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use polarway_common::config::{DirectOn, ResultDelivery};
use polarway_common::{Attempt, Caller, Error, ErrorKind, QueryId, Role, Supervisor};
use polarway_engine::live::{PutAnswers, PutFrames, PutOptions};
use polarway_engine::settings::{self, Settings};
use polarway_engine::{flight, settable};
use polarway_identity::audit;
use polarway_metastore::membership::{Member, Members};
use polarway_proto::handle::{HandleColumn, HandleCreated};
use polarway_proto::progress::QueryProgress;
use polarway_proto::status::status_from_error;
use polarway_proto::ticket::{QueryTicket, TicketSigner, expiry};
use polarway_storage::catalog::Once;
use polarway_telemetry::traceparent;
use tonic::Status;
use tracing::{Instrument, Span};

use crate::admission::{Admission, Admitted};
use crate::catalog::no_streams;
use crate::direct::{DataStream, LocalRunner, RemoteRunner};
use crate::explain;
use crate::handles::Handles;
use crate::history::QueryRecord;
use crate::limits::{bounded, or_cancelled};
use crate::peers::PeerAddress;
use crate::plan::route::Target;
use crate::plan::{Command, Compiled, Description, Explain, Planner};
use crate::pump::supervised;
use crate::queries::{Over, Plans, Queries, Query, Running};
use crate::session::Sessions;
use crate::spans;
use crate::staged::{JobReport, StagedRunner};
use crate::submit::Submissions;
use crate::write::{Outcome, Writing};
use crate::{ddl, streams};

/// How often a query is planned, whose rows of streams leave memory before they are read.
const MOMENTS: usize = 3;

/// Where a statement comes from.
#[derive(Debug, Clone)]
pub struct Origin {
    pub caller: Caller,
    pub session: String,
    /// The trace that it is part of, if its client has begun one.
    pub trace: Option<String>,
}

/// A statement as a client sent it.
#[derive(Debug, Clone)]
pub struct Request {
    pub query_id: String,
    pub sql: String,
    /// Who sends it; the settings tell its name and namespace, too, so that they go wherever those go.
    pub caller: Caller,
    pub session: String,
    pub settings: Settings,
    /// The trace that it is part of, if there is one.
    pub trace: Option<String>,
    pub now: DateTime<Utc>,
    /// By what it is known when it comes again.
    pub once: Option<Once>,
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
    /// This process, as the cluster knows it.
    pub us: Member,
    pub planner: Arc<Planner>,
    pub handles: Handles,
    pub writing: Writing,
    pub submissions: Submissions,
    pub sessions: Arc<Sessions>,
    pub members: Members,
    pub queries: Arc<Queries>,
    pub admission: Admission,
    pub local: LocalRunner,
    pub remote: RemoteRunner,
    pub staged: StagedRunner,
    pub signer: Arc<TicketSigner>,
    pub direct_on: DirectOn,
    pub results: ResultDelivery,
    pub ticket_ttl: Duration,
    pub draining: AtomicBool,
    pub supervisor: Supervisor,
}

impl QueryService {
    pub fn request(&self, sql: &str, origin: &Origin) -> Request {
        let Origin { caller, session, trace } = origin;
        Request {
            query_id: QueryId::new().to_string(),
            sql: sql.to_owned(),
            caller: caller.clone(),
            session: session.clone(),
            settings: self.settings(caller, session),
            trace: trace.clone(),
            now: Utc::now(),
            once: None,
        }
    }

    /// What holds for statements of a session.
    pub fn settings(&self, caller: &Caller, session: &str) -> Settings {
        let mut settings = self.sessions.settings(session);
        // Plans are kept by statement and settings: nobody gets one that was made for somebody else.
        for name in [settings::USER, settings::NAMESPACE] {
            settings.remove(name);
        }
        settings.extend(settings::of_caller(caller));
        settings
    }

    pub(crate) fn refuse_while_draining(&self) -> Result<(), Error> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(Error::new(
                ErrorKind::Draining,
                "this server is shutting down and takes no new statements",
            )
            .with_hint("send the statement to another server")
            .with_retry_after(Duration::from_secs(1)));
        }
        Ok(())
    }

    /// What a statement takes and gives.
    ///
    /// # Errors
    /// Those of parsing and planning it; `Overloaded`.
    pub fn describe<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Description, Error>> {
        Box::pin(async move {
            self.refuse_while_draining()?;
            let began = Instant::now();
            let (planner, of_plan) = (Arc::clone(&self.planner), request.clone());
            let work = async move { planner.describe(&of_plan.sql, &of_plan.settings, of_plan.now).await };
            let described = self.planned("planning the query", Box::pin(work)).await;
            self.note_failure(request, began, described.as_ref().err());
            described
        })
    }

    /// Leases a query that can be planned.
    ///
    /// # Errors
    /// Those of [`QueryService::describe`]; `Unsupported` for other statements; those of the metadata store.
    pub fn create_handle<'a>(
        &'a self,
        request: &'a Request,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<HandleCreated, Error>> {
        Box::pin(async move {
            let Description { parameters, result } = self.describe(request).await?;
            let Some(schema) = result else {
                return Err(Error::new(ErrorKind::Unsupported, "only a query can have a handle"));
            };
            if let Some(first) = parameters.fields().first() {
                let told =
                    format!("the parameter ${} has no value: a handle's query takes none", first.name());
                return Err(Error::new(ErrorKind::Plan, told));
            }
            let column = |field: &Arc<Field>| HandleColumn {
                name: field.name().clone(),
                data_type: field.data_type().to_string(),
            };
            let (id, ttl) = self.handles.create(request.caller.owner(), request.sql.clone(), ttl).await?;
            let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
            Ok(HandleCreated { id, ttl_ms, columns: schema.fields().iter().map(column).collect() })
        })
    }

    /// Plans a statement and tells where its result can be fetched.
    pub fn info(&self, request: Request) -> BoxFuture<'_, Result<Info, Error>> {
        let span = spans::plan(&request);
        self.info_in_span(request).instrument(span).boxed()
    }

    fn info_in_span(&self, request: Request) -> BoxFuture<'_, Result<Info, Error>> {
        Box::pin(async move {
            let began = Instant::now();
            let info = self.info_of(&request).await;
            self.note_failure(&request, began, info.as_ref().err());
            info
        })
    }

    fn info_of<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Info, Error>> {
        Box::pin(async move {
            let prepared = self.prepare(request).await?;
            let schema = match &prepared {
                Prepared::Query(compiled) => Arc::clone(&compiled.schema),
                Prepared::Explain(explain) => explain::schema(explain),
                Prepared::Command(command) => command.outcome_schema(),
            };
            let (route, compiled, outcome) = match prepared {
                Prepared::Query(compiled) => (compiled.decision.target, Some(compiled), String::new()),
                Prepared::Explain(_) => (Target::Metadata, None, String::new()),
                // Now and not when the result is fetched: drivers send the next statement without waiting for that.
                Prepared::Command(command) => {
                    (Target::Metadata, None, self.command(request, &command).await?.to_text()?)
                }
            };
            if let Some(compiled) = &compiled
                && compiled.decision.target == Target::Staged
                && compiled.settings.results.unwrap_or(self.results) == ResultDelivery::Direct
            {
                return self.executor_endpoints(request, compiled).await;
            }
            let ticket = self.signer.sign_query(&QueryTicket {
                query_id: request.query_id.clone(),
                sql: request.sql.clone(),
                settings: settings::to_wire(&request.settings),
                now_micros: request.now.timestamp_micros(),
                expires_at: expiry(SystemTime::now(), self.ticket_ttl),
                session: request.session.clone(),
                outcome,
                trace: traceparent().unwrap_or_default(),
            });
            if let Some(compiled) = compiled {
                self.planner.cache.hold(&request.query_id, compiled);
            }
            Ok(Info {
                query_id: request.query_id.clone(),
                schema,
                route: route.name(),
                endpoints: vec![Endpoint { ticket, location: None }],
                ordered: true,
            })
        })
    }

    /// Runs a staged query and gives endpoints on the executors that hold its result. What one executor runs whole has
    /// no result before it is read: it goes through this server, where it has a place, is listed and can be cancelled.
    async fn executor_endpoints(&self, request: &Request, compiled: &Arc<Compiled>) -> Result<Info, Error> {
        let route = compiled.decision.target.name();
        let running = self.queries.begin(&request.caller, &request.query_id, &request.sql, route);
        running.query.is_traced_in(&Span::current());
        running.planned(compiled);
        let outcome = async {
            let _place = self.admit(&running, compiled.takes_place).await?;
            let run = self.of_any_moment(request, compiled, &running, |compiled| {
                let running = &running;
                async move { self.staged.run(&self.local.cpu, &compiled, running).await }.boxed()
            });
            bounded(&running.query, compiled.settings.timeout, run).await
        }
        .await;
        if outcome.is_ok() {
            running.query.result_is_on_executors();
        }
        running.finish(&outcome.as_ref().map(|_| ()).map_err(Clone::clone));
        let mut result = outcome?;
        result.guard.linger(self.ticket_ttl);
        let endpoints = result
            .partitions
            .into_iter()
            .map(|partition| Endpoint { ticket: partition.ticket, location: Some(partition.address) })
            .collect();
        Ok(Info {
            query_id: request.query_id.clone(),
            schema: Arc::clone(&compiled.schema),
            route,
            endpoints,
            ordered: result.ordered,
        })
    }

    /// Runs what a ticket names, for whoever was given it.
    ///
    /// # Errors
    /// `InvalidTicket`, `NotAllowed` if it is another caller's; those of running it.
    pub fn run_ticket<'a>(
        &'a self,
        caller: &'a Caller,
        trace: Option<String>,
        ticket: &'a [u8],
    ) -> BoxFuture<'a, Result<DataStream, Error>> {
        Box::pin(async move {
            let ticket = self.signer.verify_query(ticket, SystemTime::now())?;
            let settings = settings::from_wire(&ticket.settings);
            if !settings::are_of(&settings, caller) {
                let error = Error::new(ErrorKind::NotAllowed, "the ticket was given to somebody else")
                    .with_hint(ErrorKind::InvalidTicket.hint());
                audit::denied(caller.owner(), "DoGet", None, &error);
                return Err(error);
            }
            if !ticket.outcome.is_empty() {
                return Ok(one_batch(Outcome::from_text(&ticket.outcome).batch()?));
            }
            let request = Request {
                query_id: ticket.query_id,
                sql: ticket.sql,
                caller: caller.clone(),
                session: ticket.session,
                settings,
                // Clients that trace say so with each call; of others this goes on with what planning began.
                trace: trace.or(Some(ticket.trace)).filter(|trace| !trace.is_empty()),
                now: DateTime::from_timestamp_micros(ticket.now_micros)
                    .ok_or_else(|| Error::new(ErrorKind::InvalidTicket, "the ticket's time is not valid"))?,
                once: None,
            };
            self.run(&request).await
        })
    }

    /// Runs a statement from the beginning.
    pub fn run<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<DataStream, Error>> {
        Box::pin(async move {
            self.refuse_while_draining()?;
            let began = Instant::now();
            // Not boxed once more: every query comes by here.
            let running = async {
                let prepared = match self.planner.held(&request.query_id).await {
                    Some(compiled) => Prepared::Query(compiled),
                    None => self.prepare(request).await?,
                };
                match prepared {
                    Prepared::Query(compiled) => self.run_query(request, &compiled).await,
                    Prepared::Explain(explain) => Ok(one_batch(explain::run(self, request, &explain).await?)),
                    Prepared::Command(command) => {
                        let outcome = self.command(request, &command).await?;
                        Ok(one_batch(outcome.batch()?))
                    }
                }
            };
            let stream: Result<DataStream, Error> = running.await;
            self.note_failure(request, began, stream.as_ref().err());
            stream
        })
    }

    /// Notes a statement that has failed before it became a query, for the history. One that was turned away has not been
    /// looked at, and there may be very many of them.
    pub(crate) fn note_failure(&self, request: &Request, began: Instant, error: Option<&Error>) {
        let failed = error.filter(|error| !matches!(error.kind, ErrorKind::Draining | ErrorKind::Overloaded));
        if failed.is_some() {
            self.note(request, "none", began, failed);
        }
    }

    fn note(&self, request: &Request, route: &'static str, began: Instant, error: Option<&Error>) {
        let Request { query_id: id, sql, caller, .. } = request;
        self.queries.note(caller, &Over { id, sql, route, began, error });
    }

    /// Runs a statement that changes something, if its caller may.
    pub fn command<'a>(
        &'a self,
        request: &'a Request,
        command: &'a Command,
    ) -> BoxFuture<'a, Result<Outcome, Error>> {
        Box::pin(async move {
            let began = Instant::now();
            let span = spans::command(request, command.tag());
            let outcome = match request.caller.must_be(command.needs(), command.tag()) {
                Ok(()) => self.carried_out(request, command).instrument(span).await,
                Err(refused) => Err(refused),
            };
            if command.needs() > Role::Read {
                audit::changed(&request.caller, command.tag(), &request.query_id, &outcome);
            }
            match (&outcome, command) {
                (Err(error), _) => self.note_failure(request, began, Some(error)),
                // Nothing is changed but the session, and drivers do that all the time.
                (Ok(_), Command::Set { .. } | Command::Reset { .. }) => {}
                (Ok(_), _) => self.note(request, Target::Metadata.name(), began, None),
            }
            outcome
        })
    }

    fn carried_out<'a>(
        &'a self,
        request: &'a Request,
        command: &'a Command,
    ) -> BoxFuture<'a, Result<Outcome, Error>> {
        Box::pin(async move {
            if let (Some(once), Command::Ddl { .. }) = (&request.once, command)
                && self.planner.catalog().is_done(once).await?
            {
                return Ok(Outcome::Told(command.tag().to_owned()));
            }
            let nothing_to_do = || Ok(Outcome::Told(format!("{} (nothing to do)", command.tag())));
            match command {
                Command::Write { statement, text } => {
                    let written = Box::pin(self.write(request, statement, text)).await?;
                    return Ok(Outcome::Written(written));
                }
                Command::Set { name, value } => {
                    settable::check(name, value, self.planner.base_config())?;
                    self.sessions.set(&request.session, name, value).await;
                }
                Command::Reset { name } => {
                    let known = self.planner.base_config().options().entries();
                    if !known.iter().any(|entry| &entry.key == name) {
                        settable::check(name, "", self.planner.base_config())?;
                    }
                    self.sessions.reset(&request.session, name).await;
                }
                Command::Stream { statement, text } => {
                    let (planner, request) = (Arc::clone(&self.planner), request.clone());
                    let (statement, text) = (statement.clone(), text.clone());
                    let work =
                        Box::pin(async move { streams::run(&planner, &request, statement, &text).await });
                    let changed = self.planned("changing the catalog", work).await?;
                    if !changed {
                        return nothing_to_do();
                    }
                }
                Command::Ddl { statement, text } => {
                    let (planner, request) = (Arc::clone(&self.planner), request.clone());
                    let (statement, text) = (statement.clone(), text.clone());
                    let work = Box::pin(async move { ddl::run(&planner, &request, statement, &text).await });
                    let changed = self.planned("changing the catalog", work).await?;
                    if !changed {
                        return nothing_to_do();
                    }
                }
            }
            Ok(Outcome::Told(command.tag().to_owned()))
        })
    }

    pub(crate) fn run_query<'a>(
        &'a self,
        request: &'a Request,
        compiled: &'a Arc<Compiled>,
    ) -> BoxFuture<'a, Result<DataStream, Error>> {
        Box::pin(async move {
            let (route, caller) = (compiled.decision.target.name(), &request.caller);
            let span = spans::query(request, route);
            let running = self.queries.begin(caller, &request.query_id, &request.sql, route);
            running.query.is_traced_in(&span);
            running.planned(compiled);
            let limit = compiled.settings.timeout;
            let starting = async {
                let admitted = self.admit(&running, compiled.takes_place).await?;
                let starting = self.of_any_moment(request, compiled, &running, |compiled| {
                    let running = &running;
                    async move { self.start(request, &compiled, running).await }.boxed()
                });
                let stream = bounded(&running.query, limit, starting).await?;
                Ok::<_, Error>((stream, admitted))
            };
            match starting.instrument(span).await {
                Ok((stream, admitted)) => Ok(supervised(&self.supervisor, stream, limit, running, admitted)),
                Err(error) => {
                    running.finish(&Err(error.clone()));
                    Err(error)
                }
            }
        })
    }

    /// Waits for the query's turn, if it needs one; from then on its time counts.
    pub(crate) async fn admit(
        &self,
        running: &Running,
        takes_place: bool,
    ) -> Result<Option<Admitted>, Error> {
        let place = if takes_place {
            let waiting = self.admission.enter().instrument(spans::admission());
            Some(or_cancelled(&running.query.cancel, waiting).await?)
        } else {
            None
        };
        running.admitted();
        Ok(place)
    }

    /// Whether an executor and not this process runs the query whole.
    pub(crate) fn runs_on_executor(&self, compiled: &Compiled) -> bool {
        compiled.decision.target == Target::Direct
            && self.direct_on == DirectOn::Executor
            && !compiled.local_only
    }

    /// Attempts the query, with a new plan while rows that the last one was to read have left memory.
    async fn of_any_moment<'a, T>(
        &'a self,
        request: &'a Request,
        compiled: &Arc<Compiled>,
        running: &'a Running,
        attempt: impl Fn(Arc<Compiled>) -> BoxFuture<'a, Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut compiled = Arc::clone(compiled);
        let mut moments = 1;
        loop {
            match attempt(Arc::clone(&compiled)).await {
                Err(error) if error.kind == ErrorKind::SnapshotTooOld && moments < MOMENTS => {
                    compiled = self.of_this_moment(request, &compiled, running, &error).await?;
                    moments += 1;
                }
                other => return other,
            }
        }
    }

    /// A plan of the query whose streams are read as they are now.
    async fn of_this_moment(
        &self,
        request: &Request,
        compiled: &Arc<Compiled>,
        running: &Running,
        cause: &Error,
    ) -> Result<Arc<Compiled>, Error> {
        tracing::info!(query = request.query_id, %cause, "a query is planned anew");
        running.begins_anew();
        let slots = self.slots().await;
        let (planner, compiled) = (Arc::clone(&self.planner), Arc::clone(compiled));
        let planning = async move { planner.plan_again(&compiled, slots).await };
        self.planned("planning the query", Box::pin(planning)).await
    }

    async fn start(
        &self,
        request: &Request,
        compiled: &Arc<Compiled>,
        running: &Running,
    ) -> Result<DataStream, Error> {
        match compiled.decision.target {
            Target::Direct if self.runs_on_executor(compiled) => {
                self.remote.stream(&self.local.cpu, compiled, &request.query_id).await
            }
            Target::Metadata | Target::Direct => self.local.stream(compiled).await,
            Target::Staged => {
                // Boxed for the same reason as EXPLAIN: a direct query need not carry it.
                let opening = Box::pin(self.staged.stream(&self.local.cpu, compiled, running));
                let (messages, guard) = opening.await?;
                let schema = schema_message(&compiled.schema)?;
                let rest = messages.map(move |message| {
                    let _files = &guard;
                    message.map_err(|error| status_from_error(&error))
                });
                Ok(stream::once(async { Ok(schema) }).chain(rest).boxed())
            }
        }
    }

    /// How far a query has come; `None` when it is not known (any more).
    pub fn progress<'a>(
        &'a self,
        caller: &'a Caller,
        query_id: &'a str,
    ) -> BoxFuture<'a, Option<QueryProgress>> {
        Box::pin(async move {
            let Some(query) = self.queries.get(caller, query_id) else {
                return self.queries.past.get(caller, query_id).map(|entry| entry.progress());
            };
            let report = self.report(&query).await.unwrap_or_default();
            Some(QueryProgress {
                query_id: query_id.to_owned(),
                state: query.state(),
                route: query.route.to_owned(),
                attempt: query.attempt(),
                stages: report.stages,
                executors: report.executors,
            })
        })
    }

    /// All that is known of a query, with its stages as they are now or were at its end.
    pub fn looked_at<'a>(
        &'a self,
        caller: &'a Caller,
        query_id: &'a str,
    ) -> BoxFuture<'a, Option<(QueryRecord, Plans)>> {
        Box::pin(async move {
            let Some(query) = self.queries.get(caller, query_id) else {
                let entry = self.queries.past.get(caller, query_id)?;
                return Some((entry.query.clone(), entry.plans()));
            };
            let mut record = query.record();
            // While it runs its job knows more; the job of a query that was cut off in its middle may be known, too.
            if (record.stages.is_empty() || !query.has_ended())
                && let Some(report) = self.report(&query).await
            {
                record.stages = report.stages;
            }
            Some((record, query.plans()))
        })
    }

    /// What the job of a query's attempt has done so far; `None` where it has none, or it is not known any more.
    async fn report(&self, query: &Query) -> Option<JobReport> {
        if query.route != Target::Staged.name() {
            return None;
        }
        let job = Attempt { run: query.run().to_string(), number: query.attempt() };
        self.staged.ballista.report(&job.to_string()).await
    }

    /// Puts rows into a stream.
    pub fn put<'a>(
        &'a self,
        caller: &'a Caller,
        options: PutOptions,
        frames: PutFrames,
    ) -> BoxFuture<'a, Result<PutAnswers, Error>> {
        Box::pin(async move {
            let stream = options.stream.clone();
            let namespace = caller.namespace();
            let put = async {
                caller.must_be(Role::Write, "sending rows into a stream")?;
                let host = self.planner.streams().ok_or_else(no_streams)?;
                let options = PutOptions { stream: namespace.stored_stream(&options.stream)?, ..options };
                host.put(options, frames).await.map_err(|error| namespace.told(error))
            };
            let answers = put.await;
            audit::changed(caller, "writes to a stream", &stream, &answers);
            answers
        })
    }

    /// Waits until no query runs, at most `limit`. New ones are refused from now on.
    pub async fn drain(&self, limit: Duration) {
        self.draining.store(true, Ordering::Relaxed);
        let idle = async {
            while self.queries.running() > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(limit, idle).await.is_err() {
            tracing::warn!(running = self.queries.running(), "drain timed out; running queries are cut off");
            self.queries.cancel_all();
        }
    }
}

pub fn one_batch(batch: RecordBatch) -> DataStream {
    flight::encode_batches(batch.schema(), stream::once(async { Ok::<_, Status>(batch) }))
}

fn schema_message(schema: &SchemaRef) -> Result<FlightData, Error> {
    let options = arrow::ipc::writer::IpcWriteOptions::default();
    Ok(arrow_flight::SchemaAsIpc::new(schema, &options).into())
}
