//! Flight as clients see it: all calls are Flight SQL's, and PollFlightInfo beside them, which `arrow-flight` leaves out. It
//! submits the statement as a job; the descriptor to poll with names that job, on any scheduler.

use std::time::SystemTime;

use arrow::datatypes::{Field, Schema};
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::{
    Any, CommandPreparedStatementQuery, CommandStatementQuery, ProstMessageExt, TicketStatementQuery,
};
use arrow_flight::{
    Action, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest,
    PollInfo, SchemaResult, Ticket,
};
use polarway_common::{Caller, Error, ErrorKind, QueryId};
use polarway_engine::settings;
use polarway_proto::job::{JobInfo, JobOutcome};
use polarway_proto::progress::QueryState;
use polarway_proto::status::status_from_error;
use polarway_proto::ticket::{QueryTicket, expiry};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use super::flight_sql::{FrontDoor, caller_of, schema_bytes, status};
use crate::write::{Outcome, Written};

/// What a descriptor to poll with begins with; a job's id follows.
const JOB: &[u8] = b"polarway.job:";

/// See the module's page.
#[derive(Clone)]
pub struct Door(FrontDoor);

impl Door {
    pub fn new(front: FrontDoor) -> Self {
        Self(front)
    }

    /// The job that a descriptor names, which is submitted if it is a statement.
    async fn job_of(&self, call: Request<FlightDescriptor>) -> Result<String, Status> {
        if let Some(id) = call.get_ref().cmd.strip_prefix(JOB) {
            return Ok(String::from_utf8_lossy(id).into_owned());
        }
        let any = Any::decode(call.get_ref().cmd.as_ref())
            .map_err(|error| Status::invalid_argument(format!("not a command of Flight SQL: {error}")))?;
        let unreadable = |error: arrow::error::ArrowError| Status::invalid_argument(error.to_string());
        let sql = match any.unpack::<CommandStatementQuery>().map_err(unreadable)? {
            Some(statement) => statement.query,
            None => {
                let prepared = any.unpack::<CommandPreparedStatementQuery>().map_err(unreadable)?;
                let prepared = prepared.ok_or_else(|| {
                    status(Error::new(ErrorKind::Unsupported, "only statements are polled"))
                })?;
                let signer = &self.0.service().signer;
                signer.verify_prepared(&prepared.prepared_statement_handle).map_err(status)?.sql
            }
        };
        self.0.submitted(&sql, &call).await
    }

    fn poll_info(
        &self,
        caller: &Caller,
        job: JobInfo,
        descriptor: FlightDescriptor,
    ) -> Result<PollInfo, Status> {
        if let Some(error) = job.error {
            return Err(status_from_error(&Error::from(error)));
        }
        if job.state == QueryState::Cancelled {
            return Err(status(Error::new(ErrorKind::Cancelled, "the job was cancelled")));
        }
        let app_metadata = serde_json::json!({ "job": job.id }).to_string();
        let mut info = FlightInfo {
            flight_descriptor: Some(descriptor),
            total_records: -1,
            total_bytes: -1,
            ordered: true,
            app_metadata: app_metadata.into(),
            ..FlightInfo::default()
        };
        let Some(outcome) = job.outcome else {
            let again = FlightDescriptor::new_cmd([JOB, job.id.as_bytes()].concat());
            let progress = job.progress.and_then(|progress| {
                let stages = progress.stages.iter();
                let (done, all) =
                    stages.fold((0, 0), |(done, all), stage| (done + stage.done, all + stage.tasks));
                (all > 0).then(|| done as f64 / all as f64)
            });
            return Ok(PollInfo {
                info: Some(info),
                flight_descriptor: Some(again),
                progress,
                expiration_time: None,
            });
        };
        let (schema, sql, outcome) = match outcome {
            JobOutcome::Rows { table, rows, columns } => {
                info.total_records = i64::try_from(rows).unwrap_or(-1);
                let fields = columns.into_iter().map(|column| {
                    let data_type = column
                        .data_type
                        .parse()
                        .map_err(|_| Status::internal(format!("`{}` is not a type", column.data_type)))?;
                    Ok::<_, Status>(Field::new(column.name, data_type, true))
                });
                let schema = Schema::new(fields.collect::<Result<Vec<_>, _>>()?);
                (schema, format!("SELECT * FROM {table}"), String::new())
            }
            JobOutcome::Written { count, files, bytes } => {
                let outcome = Outcome::Written(Written { count, files, bytes, write: None });
                (outcome.schema().as_ref().clone(), String::new(), outcome.to_text().map_err(status)?)
            }
            JobOutcome::Told { status } => {
                let outcome = Outcome::Told(status);
                (outcome.schema().as_ref().clone(), String::new(), outcome.to_text().map_err(self::status)?)
            }
        };
        info.schema = schema_bytes(&schema)?;
        let service = self.0.service();
        let session = format!("job:{}", job.id);
        let ticket = service.signer.sign_query(&QueryTicket {
            query_id: QueryId::new().to_string(),
            sql,
            settings: settings::to_wire(&service.settings(caller, &session)),
            now_micros: chrono::Utc::now().timestamp_micros(),
            expires_at: expiry(SystemTime::now(), service.ticket_ttl),
            session,
            outcome,
            trace: String::new(),
        });
        let ticket = TicketStatementQuery { statement_handle: ticket };
        info.endpoint = vec![FlightEndpoint::new().with_ticket(Ticket::new(ticket.as_any().encode_to_vec()))];
        Ok(PollInfo { info: Some(info), flight_descriptor: None, progress: Some(1.0), expiration_time: None })
    }
}

type Of<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl FlightService for Door {
    type HandshakeStream = <FrontDoor as FlightService>::HandshakeStream;
    type ListFlightsStream = <FrontDoor as FlightService>::ListFlightsStream;
    type DoGetStream = <FrontDoor as FlightService>::DoGetStream;
    type DoPutStream = <FrontDoor as FlightService>::DoPutStream;
    type DoActionStream = <FrontDoor as FlightService>::DoActionStream;
    type ListActionsStream = <FrontDoor as FlightService>::ListActionsStream;
    type DoExchangeStream = <FrontDoor as FlightService>::DoExchangeStream;

    async fn handshake(&self, request: Request<Streaming<HandshakeRequest>>) -> Of<Self::HandshakeStream> {
        FlightService::handshake(&self.0, request).await
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Of<Self::ListFlightsStream> {
        FlightService::list_flights(&self.0, request).await
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Of<FlightInfo> {
        FlightService::get_flight_info(&self.0, request).await
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Of<PollInfo> {
        let descriptor = request.get_ref().clone();
        let caller = caller_of(&request)?;
        let id = self.job_of(request).await?;
        let job = self.0.service().job(&caller, &id).await.map_err(status)?;
        Ok(Response::new(self.poll_info(&caller, job, descriptor)?))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Of<SchemaResult> {
        FlightService::get_schema(&self.0, request).await
    }

    async fn do_get(&self, request: Request<Ticket>) -> Of<Self::DoGetStream> {
        FlightService::do_get(&self.0, request).await
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Of<Self::DoPutStream> {
        FlightService::do_put(&self.0, request).await
    }

    async fn do_exchange(&self, request: Request<Streaming<FlightData>>) -> Of<Self::DoExchangeStream> {
        FlightService::do_exchange(&self.0, request).await
    }

    async fn do_action(&self, request: Request<Action>) -> Of<Self::DoActionStream> {
        FlightService::do_action(&self.0, request).await
    }

    async fn list_actions(&self, request: Request<Empty>) -> Of<Self::ListActionsStream> {
        FlightService::list_actions(&self.0, request).await
    }
}
