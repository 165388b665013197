//! What schedulers and executors ask of this process, and rows by gRPC.

use std::sync::Arc;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use polarway_common::{Error, ErrorKind, Role};
use polarway_engine::live::{Held, HotRows, HotSlice, PutOptions, StreamHost, query_of, until_revoked};
use polarway_engine::{errors, flight};
use polarway_identity::connection::ConnectionInfo;
use polarway_identity::grpc::{Callers, party_of};
use polarway_identity::{Identity, Party, audit};
use polarway_proto::status::status_from_error;
use polarway_proto::streams::{
    File, LOG_HEADER, LogState, SliceTicket, Span, Statuses, StreamId, StreamLog, StreamName, View, action,
};
use polarway_telemetry::{TARGET, adopt, traceparent_of};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument, field, info_span};

use crate::host::Host;

/// See the module's page.
#[derive(Debug, Clone)]
pub struct NodeFlight {
    pub host: Arc<Host>,
    /// Whom the guard of the port asks.
    pub identity: Identity,
}

/// Who may call what. Users may put rows; all the rest is between processes.
pub fn callers(path: &str) -> Callers {
    match path.strip_prefix("/arrow.flight.protocol.FlightService/") {
        Some("DoPut") => Callers::All,
        Some(_) => Callers::Processes,
        None => Callers::Nobody,
    }
}

impl NodeFlight {
    async fn act(&self, action: &Action) -> Result<Bytes, Error> {
        match action.r#type.as_str() {
            action::VIEW => Ok(self.view(&body::<StreamId>(action)?.id)?.encode_to_vec().into()),
            action::STATUS => Ok(self.statuses().encode_to_vec().into()),
            action::OPEN => {
                let StreamName { schema, name } = body(action)?;
                self.host.made(&schema, &name).await?;
                Ok(Bytes::new())
            }
            action::LOG_STATE => {
                let StreamLog { id, log } = body(action)?;
                Ok(LogState { taken: self.host.log_state(&id, log)? }.encode_to_vec().into())
            }
            action::LOG_SETTLED => {
                let StreamLog { id, log } = body(action)?;
                self.host.settle(&id, log).await?;
                Ok(Bytes::new())
            }
            action::DROP => {
                self.host.dropped(&body::<StreamId>(action)?.id).await?;
                Ok(Bytes::new())
            }
            other => Err(Error::new(ErrorKind::Unsupported, format!("there is no action `{other}`"))),
        }
    }

    fn statuses(&self) -> Statuses {
        let status = |(id, held): (String, Held)| polarway_proto::streams::Status {
            id,
            hot_rows: held.hot_rows,
            hot_bytes: held.hot_bytes,
            log_bytes: held.log_bytes,
            sealed_rows: held.sealed_rows,
            sealed_bytes: held.sealed_bytes,
            files: held.files,
            end: held.end,
            recent_rows: held.recent_rows,
            recent_ms: held.recent_ms,
            idle_ms: held.idle_ms,
            latest_event_ms: held.latest_event_ms,
            feed: held.feed,
        };
        Statuses { streams: self.host.held().into_iter().map(status).collect() }
    }

    fn view(&self, id: &str) -> Result<View, Error> {
        let seen = self.host.seen(id)?;
        let hot = seen.hot();
        let files = seen
            .files
            .into_iter()
            .map(|file| File {
                path: file.path.to_string(),
                bytes: file.bytes,
                rows: file.rows,
                first_event: file.events.map(|(first, _)| first),
                last_event: file.events.map(|(_, last)| last),
            })
            .collect();
        Ok(View {
            store: self.host.sealed().url.as_str().to_owned(),
            files,
            hot_from: hot.start,
            hot_to: hot.end,
            missing: seen.missing.iter().map(|rows| Span { from: rows.start, to: rows.end }).collect(),
        })
    }

    async fn slice(&self, bytes: &[u8]) -> Result<BoxStream<'static, Result<FlightData, Status>>, Error> {
        let ticket = SliceTicket::from_bytes(bytes).ok_or_else(|| {
            Error::new(ErrorKind::InvalidTicket, "this is not a ticket for rows of a stream")
        })?;
        let schema = self.host.schema(&ticket.stream)?;
        let query = query_of(&ticket, &schema)?;
        let slice = HotSlice {
            stream: ticket.stream,
            owner: self.host.node().address.clone(),
            from: ticket.from,
            to: ticket.to,
        };
        let schema = schema.project(&query.columns).map_err(|error| Error::internal(error.to_string()))?;
        let batches = self.host.read(&slice, &query).await.map_err(|error| errors::classify(&error))?;
        let batches = batches.map_err(|error| status_from_error(&errors::classify(&error)));
        Ok(flight::encode_batches(Arc::new(schema), batches))
    }
}

fn body<M: Message + Default>(action: &Action) -> Result<M, Error> {
    M::decode(action.body.clone()).map_err(|error| {
        Error::new(
            ErrorKind::InvalidTicket,
            format!("the body of `{}` cannot be read: {error}", action.r#type),
        )
    })
}

/// Who puts rows here, if they may.
fn putting<T>(request: &Request<T>) -> Result<Party, Error> {
    let party = party_of(request.extensions())?;
    let allowed = if request.metadata().contains_key(LOG_HEADER) {
        party.must_be_process()
    } else {
        match &party {
            // For users of whom it has asked who they are.
            Party::Process => Ok(()),
            Party::Anyone | Party::AnyUser | Party::User { .. } => {
                party.caller().and_then(|caller| caller.must_be(Role::Write, "putting rows into a stream"))
            }
        }
    };
    if let Err(error) = &allowed {
        let from = request.extensions().get::<ConnectionInfo>().map(|info| info.remote);
        audit::denied(party.name(), "DoPut", from, error);
    }
    allowed.map(|()| party)
}

type Answer<T> = Result<Response<T>, Status>;

fn refused<T>() -> Answer<T> {
    Err(Status::unimplemented("this process takes rows of streams; query them through a scheduler"))
}

#[async_trait]
impl FlightService for NodeFlight {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;

    async fn do_get(&self, request: Request<Ticket>) -> Answer<Self::DoGetStream> {
        let span = info_span!(target: TARGET, "slice", otel.kind = "server", trace_id = field::Empty);
        adopt(&span, traceparent_of(request.metadata()).as_deref());
        let ticket = request.into_inner().ticket;
        self.slice(&ticket)
            .instrument(span)
            .await
            .map(Response::new)
            .map_err(|error| status_from_error(&error))
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Answer<Self::DoPutStream> {
        let party = putting(&request).map_err(|error| status_from_error(&error))?;
        let (headers, _, frames) = request.into_parts();
        let mut frames = frames.peekable();
        let first = std::pin::Pin::new(&mut frames).peek().await;
        let descriptor = match first {
            Some(Ok(first)) => first.flight_descriptor.clone().unwrap_or_default(),
            Some(Err(status)) => return Err(status.clone()),
            None => return Err(Status::invalid_argument("nothing was sent")),
        };
        if let Some(log) = headers.get(LOG_HEADER) {
            let log = log.to_str().ok().and_then(|log| log.parse().ok());
            let log = log.ok_or_else(|| Status::invalid_argument(format!("`{LOG_HEADER}` names no log")))?;
            let id = descriptor.path.join(".");
            let taken = self.host.take_in(&id, log, frames.boxed()).await;
            taken.map_err(|error| status_from_error(&error))?;
            let answer = futures::stream::once(async { Ok(PutResult::default()) });
            return Ok(Response::new(answer.boxed()));
        }
        let frames = until_revoked(frames.boxed(), self.identity.clone(), party.clone());
        let namespace = match &party {
            // Processes name streams as they are stored.
            Party::Process => None,
            Party::Anyone | Party::AnyUser | Party::User { .. } => {
                let caller = party.caller().map_err(|error| status_from_error(&error))?;
                Some(caller.namespace().clone())
            }
        };
        let put = async {
            let mut options = PutOptions::read(&descriptor, &headers)?;
            if let Some(namespace) = &namespace {
                options.stream = namespace.stored_stream(&options.stream)?;
            }
            self.host.put(options, frames).await
        };
        let answers = put.await.map_err(|error| match &namespace {
            Some(namespace) => namespace.told(error),
            None => error,
        });
        if let Party::User { caller, .. } = &party {
            audit::changed(caller, "writes to a stream", &descriptor.path.join("."), &answers);
        }
        answers.map(Response::new).map_err(|error| status_from_error(&error))
    }

    async fn do_action(&self, request: Request<Action>) -> Answer<Self::DoActionStream> {
        let body = self.act(&request.into_inner()).await.map_err(|error| status_from_error(&error))?;
        let result = futures::stream::once(async { Ok(arrow_flight::Result { body }) });
        Ok(Response::new(result.boxed()))
    }

    async fn handshake(&self, _: Request<Streaming<HandshakeRequest>>) -> Answer<Self::HandshakeStream> {
        refused()
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Answer<Self::ListFlightsStream> {
        refused()
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        refused()
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Answer<PollInfo> {
        refused()
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        refused()
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Answer<Self::DoExchangeStream> {
        refused()
    }

    async fn list_actions(&self, _: Request<Empty>) -> Answer<Self::ListActionsStream> {
        refused()
    }
}
