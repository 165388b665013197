//! Flight SQL as `arrow-flight` defines it. Everything a driver needs to run statements, look at the catalog and
//! cancel; what is not here answers UNIMPLEMENTED.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any, Command as FlightCommand,
    CommandGetCatalogs, CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys,
    CommandGetImportedKeys, CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables,
    CommandGetXdbcTypeInfo, CommandPreparedStatementQuery, CommandPreparedStatementUpdate,
    CommandStatementIngest, CommandStatementQuery, CommandStatementUpdate, DoPutPreparedStatementResult,
    ProstMessageExt, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightDescriptor,
    FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse, IpcMessage, SchemaAsIpc, Ticket,
};
use bytes::Bytes;
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use polarway_common::{Caller, Error, ErrorKind};
use polarway_engine::live::{PutOptions, until_revoked};
use polarway_identity::connection::ConnectionInfo;
use polarway_identity::grpc::party_of;
use polarway_identity::{Identity, token_of};
use polarway_proto::handle::{
    CLOSE_HANDLE_ACTION, CREATE_HANDLE_ACTION, CreateHandle, HandleRenewed, RENEW_HANDLE_ACTION,
};
use polarway_proto::job::{CANCEL_JOB_ACTION, JOB_ACTION, SUBMIT_JOB_ACTION, SubmitJob};
use polarway_proto::progress::{QUERY_PROGRESS_ACTION, TICKET_KEY_ACTION};
use polarway_proto::statement::IDEMPOTENCY_KEY;
use polarway_proto::status::{error_from_status, status_from_error};
use polarway_proto::ticket::PreparedStatement;
use polarway_storage::catalog::Once;
use polarway_telemetry::traceparent_of;
use prost::Message;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use super::{metadata, prepared};
use crate::direct::DataStream;
use crate::opaque::Opaque;
use crate::plan::Statement;
use crate::service::{self, Info, Origin, QueryService, one_batch};
use crate::session::{by_connection, by_cookie, from_cookies};
use crate::write::Ingest;

/// How long the outcome of a statement is kept that is polled, in milliseconds.
const POLLED_FOR: u64 = 3_600_000;

const AUTHORIZATION: &str = "authorization";

const CANCEL_FLIGHT_INFO: &str = "CancelFlightInfo";

/// `ActionCancelQueryResult.CancelResult` of the protocol, which `arrow-flight` does not export.
const CANCEL_RESULT_CANCELLED: i32 = 1;
const CANCEL_RESULT_NOT_CANCELLABLE: i32 = 3;

/// See the module's page.
#[derive(Clone)]
pub struct FrontDoor {
    service: Opaque<QueryService>,
    identity: Identity,
    /// How executors are reached that a client is sent to.
    scheme: &'static str,
}

impl FrontDoor {
    /// `encrypted`: the processes of the cluster speak TLS.
    pub fn new(service: Arc<QueryService>, identity: Identity, encrypted: bool) -> Self {
        let scheme = if encrypted { "grpc+tls" } else { "grpc+tcp" };
        Self { service: Opaque::new(service), identity, scheme }
    }

    /// The query that a cancel request means: by the signed ticket in it, or by the id that came with it.
    fn query_of(&self, info: &FlightInfo) -> Option<String> {
        let ticket = info.endpoint.first().and_then(|endpoint| endpoint.ticket.as_ref());
        let signed = ticket
            .and_then(|ticket| Any::decode(ticket.ticket.as_ref()).ok())
            .and_then(|any| any.unpack::<TicketStatementQuery>().ok().flatten())
            .and_then(|ticket| {
                self.service.signer.verify_query(&ticket.statement_handle, std::time::SystemTime::now()).ok()
            })
            .map(|ticket| ticket.query_id);
        signed.or_else(|| {
            let metadata: serde_json::Value = serde_json::from_slice(&info.app_metadata).ok()?;
            metadata.get("query_id")?.as_str().map(str::to_owned)
        })
    }

    /// A statement of a call.
    fn request<T>(&self, sql: &str, call: &Request<T>) -> Result<service::Request, Status> {
        let from = origin_of(call)?;
        let mut request = self.service.request(sql, &from);
        if let Some(name) = call.metadata().get(IDEMPOTENCY_KEY) {
            // Bytes that are no text are no name either.
            let once = Once::new(name.to_str().unwrap_or_default(), sql).map_err(status)?;
            request.once = Some(once.of_caller(from.caller.owner()));
        }
        Ok(request)
    }

    pub(super) fn service(&self) -> &Opaque<QueryService> {
        &self.service
    }

    /// Submits a statement that is to be polled; gives the job's id.
    pub(super) async fn submitted<T>(&self, sql: &str, call: &Request<T>) -> Result<String, Status> {
        let given =
            call.metadata().get(IDEMPOTENCY_KEY).map(|name| name.to_str().unwrap_or_default().to_owned());
        let key = given.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let request = self.service.request(sql, &origin_of(call)?);
        let submitted = SubmitJob { sql: sql.to_owned(), parameters: None, key, keep_ms: POLLED_FOR };
        self.service.submit(&request, submitted).await.map_err(status)
    }

    /// Runs a statement whose rows nobody wants; gives how many it has touched, or -1 where that is not known.
    fn update<'a>(&'a self, query: &'a service::Request) -> BoxFuture<'a, Result<i64, Status>> {
        Box::pin(async move {
            match self.service.parse(query).map_err(status)? {
                Statement::Command(command) => {
                    let outcome = self.service.command(query, &command).await.map_err(status)?;
                    Ok(i64::try_from(outcome.rows()).unwrap_or(i64::MAX))
                }
                Statement::Query(_) | Statement::Explain(_) => {
                    let stream = self.service.run(query).await.map_err(status)?;
                    stream.try_for_each(|_| async { Ok(()) }).await?;
                    Ok(-1)
                }
            }
        })
    }

    fn cancel(&self, caller: &Caller, info: Option<&FlightInfo>) -> bool {
        let query = info.and_then(|info| self.query_of(info));
        query.is_some_and(|id| self.service.queries.cancel(caller, &id))
    }
}

/// Rows as they arrive; a schema comes before them.
async fn ingest_rows(frames: PeekableFlightDataStream) -> Result<SendableRecordBatchStream, Status> {
    let frames = frames.map_err(|status| FlightError::Tonic(Box::new(status)));
    let mut rows = FlightRecordBatchStream::new_from_flight_data(frames).peekable();
    // The schema is known once the first batch has come; rows may be none.
    let first = std::pin::Pin::new(&mut rows).peek().await;
    if let Some(Err(error)) = first {
        return Err(match error {
            FlightError::Tonic(status) => (**status).clone(),
            other => Status::invalid_argument(format!("the rows cannot be read: {other}")),
        });
    }
    let first_schema = first.and_then(|batch| batch.as_ref().ok()).map(RecordBatch::schema);
    let schema = match first_schema.or_else(|| rows.get_ref().schema().cloned()) {
        Some(schema) => schema,
        None => return Err(Status::invalid_argument("rows came without their schema")),
    };
    let rows = rows.map_err(|error| match error {
        FlightError::Tonic(status) => DataFusionError::External(Box::new(error_from_status(&status))),
        other => DataFusionError::External(Box::new(Error::new(
            ErrorKind::SchemaMismatch,
            format!("rows that were sent cannot be read: {other}"),
        ))),
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}

/// Where a call comes from.
///
/// # Errors
/// `NotAllowed` if a process calls what only users do.
fn origin_of<T>(call: &Request<T>) -> Result<Origin, Status> {
    let caller = caller_of(call)?;
    let session = session_of(&caller, call);
    Ok(Origin { caller, session, trace: traceparent_of(call.metadata()) })
}

/// Who sends a call.
///
/// # Errors
/// `NotAllowed` if a process calls what only users do.
pub(super) fn caller_of<T>(call: &Request<T>) -> Result<Caller, Status> {
    party_of(call.extensions()).and_then(|party| party.caller()).map_err(status)
}

/// The session a request belongs to.
fn session_of<T>(caller: &Caller, request: &Request<T>) -> String {
    let cookie = request
        .metadata()
        .get_all("cookie")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .find_map(from_cookies)
        .map(|cookie| by_cookie(caller.owner(), cookie));
    cookie.unwrap_or_else(|| {
        let connection = request.extensions().get::<ConnectionInfo>().map_or(0, |info| info.id);
        by_connection(caller.owner(), connection)
    })
}

pub(super) fn status(error: Error) -> Status {
    status_from_error(&error)
}

pub(super) fn schema_bytes(schema: &Schema) -> Result<Bytes, Status> {
    let options = IpcWriteOptions::default();
    let message: IpcMessage = SchemaAsIpc::new(schema, &options)
        .try_into()
        .map_err(|error| Status::internal(format!("the schema cannot be encoded: {error}")))?;
    Ok(message.0)
}

fn to_flight_info(info: Info, descriptor: FlightDescriptor, scheme: &str) -> Result<FlightInfo, Status> {
    let app_metadata = serde_json::json!({ "query_id": info.query_id, "route": info.route }).to_string();
    let endpoint = info
        .endpoints
        .into_iter()
        .map(|endpoint| match endpoint.location {
            // Tickets for this server travel as the protocol's own message.
            None => {
                let ticket = TicketStatementQuery { statement_handle: endpoint.ticket };
                FlightEndpoint::new().with_ticket(Ticket::new(ticket.as_any().encode_to_vec()))
            }
            Some(at) => FlightEndpoint::new()
                .with_ticket(Ticket::new(endpoint.ticket))
                .with_location(format!("{scheme}://{at}")),
        })
        .collect();
    Ok(FlightInfo {
        schema: schema_bytes(&info.schema)?,
        flight_descriptor: Some(descriptor),
        endpoint,
        total_records: -1,
        total_bytes: -1,
        ordered: info.ordered,
        app_metadata: app_metadata.into(),
    })
}

/// The answer to a catalog command: its ticket is the command itself.
fn command_info<M: ProstMessageExt>(
    command: &M,
    schema: &Schema,
    request: Request<FlightDescriptor>,
) -> Result<Response<FlightInfo>, Status> {
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(command.as_any().encode_to_vec()));
    Ok(Response::new(FlightInfo {
        schema: schema_bytes(schema)?,
        flight_descriptor: Some(request.into_inner()),
        endpoint: vec![endpoint],
        total_records: -1,
        total_bytes: -1,
        ordered: true,
        app_metadata: Bytes::new(),
    }))
}

fn action_result(body: Bytes) -> Response<BoxStream<'static, Result<arrow_flight::Result, Status>>> {
    Response::new(stream::once(async { Ok(arrow_flight::Result { body }) }).boxed())
}

fn json_result(
    answer: &impl serde::Serialize,
) -> Result<Response<BoxStream<'static, Result<arrow_flight::Result, Status>>>, Status> {
    let body = serde_json::to_vec(answer)
        .map_err(|error| Status::internal(format!("an answer cannot be written: {error}")))?;
    Ok(action_result(body.into()))
}

type Get = Result<Response<<FrontDoor as FlightService>::DoGetStream>, Status>;
type GetInfo = Result<Response<FlightInfo>, Status>;

fn rows(batch: Result<arrow::record_batch::RecordBatch, Error>) -> Get {
    let stream: DataStream = one_batch(batch.map_err(status)?);
    Ok(Response::new(stream))
}

#[tonic::async_trait]
impl FlightSqlService for FrontDoor {
    type FlightService = FrontDoor;

    /// Drivers that send name and password ask for a token here: it is the password. Who it is, or that nobody is asked, was
    /// found out before.
    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<
        Response<std::pin::Pin<Box<dyn futures::Stream<Item = Result<HandshakeResponse, Status>> + Send>>>,
        Status,
    > {
        caller_of(&request)?;
        let answer = HandshakeResponse { protocol_version: 0, payload: Bytes::new() };
        let mut response: Response<
            std::pin::Pin<Box<dyn futures::Stream<Item = Result<HandshakeResponse, Status>> + Send>>,
        > = Response::new(Box::pin(stream::once(async { Ok(answer) })));
        let token = request.metadata().get(AUTHORIZATION).and_then(|sent| token_of(sent.as_bytes()));
        if let Some(token) = token {
            let bearer = [b"Bearer ", token.as_ref()].concat();
            let mut value = MetadataValue::try_from(bearer.as_slice())
                .map_err(|_| Status::invalid_argument("the token has characters that cannot be sent"))?;
            value.set_sensitive(true);
            response.metadata_mut().insert(AUTHORIZATION, value);
        }
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> GetInfo {
        let query = self.request(&query.query, &request)?;
        let info = self.service.info(query).await.map_err(status)?;
        Ok(Response::new(to_flight_info(info, request.into_inner(), self.scheme)?))
    }

    async fn do_get_statement(&self, ticket: TicketStatementQuery, request: Request<Ticket>) -> Get {
        let (caller, trace) = (caller_of(&request)?, traceparent_of(request.metadata()));
        let running = self.service.run_ticket(&caller, trace, &ticket.statement_handle);
        let stream = running.await.map_err(status)?;
        Ok(Response::new(stream))
    }

    /// Statements that change something; gives how many rows were written.
    async fn do_put_statement_update(
        &self,
        command: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let query = self.request(&command.query, &request)?;
        self.update(&query).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        action: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let query = self.request(&action.query, &request)?;
        let description = self.service.describe(&query).await.map_err(status)?;
        prepared::created(&self.service.signer, action.query, &description)
    }

    /// There is nothing to free.
    async fn do_action_close_prepared_statement(
        &self,
        _action: ActionClosePreparedStatementRequest,
        _request: Request<Action>,
    ) -> Result<(), Status> {
        Ok(())
    }

    async fn do_put_prepared_statement_query(
        &self,
        command: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let from = origin_of(&request)?;
        let settings = self.service.settings(&from.caller, &from.session);
        let values = prepared::values(request.into_inner()).await?;
        let (signer, handle) = (&self.service.signer, &command.prepared_statement_handle);
        let mut texts = prepared::bound(signer, handle, &settings, &values).map_err(status)?;
        let (Some(sql), true) = (texts.pop(), texts.is_empty()) else {
            let told = "a query takes one row of parameters, and several were sent";
            return Err(status(Error::new(ErrorKind::Unsupported, told)));
        };
        let handle = signer.sign_prepared(&PreparedStatement { sql });
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) })
    }

    async fn get_flight_info_prepared_statement(
        &self,
        command: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> GetInfo {
        let handle = &command.prepared_statement_handle;
        let PreparedStatement { sql } = self.service.signer.verify_prepared(handle).map_err(status)?;
        let statement = CommandStatementQuery { query: sql, transaction_id: None };
        self.get_flight_info_statement(statement, request).await
    }

    /// Once for each row of parameters, in their order; what was done before one that fails stays done.
    async fn do_put_prepared_statement_update(
        &self,
        command: CommandPreparedStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let from = origin_of(&request)?;
        let name = request.metadata().get(IDEMPOTENCY_KEY).cloned();
        let name = name.as_ref().map(|name| name.to_str().unwrap_or_default());
        let values = prepared::values(request.into_inner()).await?;
        let (signer, handle) = (&self.service.signer, &command.prepared_statement_handle);
        let settings = self.service.settings(&from.caller, &from.session);
        let mut touched: i64 = 0;
        let texts = prepared::bound(signer, handle, &settings, &values).map_err(status)?;
        for (row, sql) in texts.iter().enumerate() {
            let mut query = self.service.request(sql, &from);
            let once = name.map(|name| Once::new(&format!("{name}-{row}"), sql)).transpose();
            query.once = once.map_err(status)?.map(|once| once.of_caller(from.caller.owner()));
            // What does not tell counts as nothing.
            touched = touched.saturating_add(self.update(&query).await?.max(0));
        }
        Ok(touched)
    }

    /// Rows that are to be a table, or to be added to one; gives how many.
    async fn do_put_statement_ingest(
        &self,
        command: CommandStatementIngest,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let ingest = Ingest::read(&command).map_err(status)?;
        let text = format!("INSERT INTO {}.{} (rows that a client sends)", ingest.schema, ingest.table);
        let query = self.request(&text, &request)?;
        let rows = ingest_rows(request.into_inner()).await?;
        let written = self.service.ingest(&query, &ingest, rows).await.map_err(status)?;
        Ok(i64::try_from(written.count).unwrap_or(i64::MAX))
    }

    /// Rows of a stream, whose name is the descriptor's path.
    async fn do_put_fallback(
        &self,
        request: Request<PeekableFlightDataStream>,
        message: Any,
    ) -> Result<Response<<Self as FlightService>::DoPutStream>, Status> {
        if !message.type_url.is_empty() {
            let kind = message.type_url;
            return Err(status(Error::new(ErrorKind::Unsupported, format!("{kind} is not offered"))));
        }
        let party = party_of(request.extensions()).map_err(status)?;
        let caller = party.caller().map_err(status)?;
        let (headers, _, frames) = request.into_parts();
        let mut frames = frames.into_peekable();
        let first = std::pin::Pin::new(&mut frames).peek().await;
        let descriptor = match first {
            Some(Ok(first)) => first.flight_descriptor.clone().unwrap_or_default(),
            Some(Err(status)) => return Err(status.clone()),
            None => return Err(Status::invalid_argument("nothing was sent")),
        };
        let put = async {
            let options = PutOptions::read(&descriptor, &headers)?;
            let frames = until_revoked(frames.boxed(), self.identity.clone(), party);
            self.service.put(&caller, options, frames).await
        };
        put.await.map(Response::new).map_err(status)
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> GetInfo {
        command_info(&query, &query.into_builder().schema(), request)
    }

    async fn do_get_catalogs(&self, query: CommandGetCatalogs, _request: Request<Ticket>) -> Get {
        rows(metadata::catalogs(query))
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> GetInfo {
        command_info(&query, &query.clone().into_builder().schema(), request)
    }

    async fn do_get_schemas(&self, query: CommandGetDbSchemas, request: Request<Ticket>) -> Get {
        rows(metadata::schemas(&self.service, &caller_of(&request)?, query))
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> GetInfo {
        command_info(&query, &query.clone().into_builder().schema(), request)
    }

    async fn do_get_tables(&self, query: CommandGetTables, request: Request<Ticket>) -> Get {
        let caller = caller_of(&request)?;
        rows(metadata::tables(&self.service, caller, query).await)
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> GetInfo {
        command_info(&query, &query.into_builder().schema(), request)
    }

    async fn do_get_table_types(&self, query: CommandGetTableTypes, _request: Request<Ticket>) -> Get {
        rows(metadata::table_types(query))
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> GetInfo {
        let schema = metadata::sql_info(query.clone()).map_err(status)?.schema();
        command_info(&query, &schema, request)
    }

    async fn do_get_sql_info(&self, query: CommandGetSqlInfo, _request: Request<Ticket>) -> Get {
        rows(metadata::sql_info(query))
    }

    async fn get_flight_info_xdbc_type_info(
        &self,
        query: CommandGetXdbcTypeInfo,
        request: Request<FlightDescriptor>,
    ) -> GetInfo {
        let schema = super::type_info::batch(query).map_err(status)?.schema();
        command_info(&query, &schema, request)
    }

    async fn do_get_xdbc_type_info(&self, query: CommandGetXdbcTypeInfo, _request: Request<Ticket>) -> Get {
        rows(super::type_info::batch(query))
    }

    async fn get_flight_info_primary_keys(
        &self,
        query: CommandGetPrimaryKeys,
        request: Request<FlightDescriptor>,
    ) -> GetInfo {
        command_info(&query, &metadata::primary_keys_schema(), request)
    }

    async fn do_get_primary_keys(&self, _query: CommandGetPrimaryKeys, _request: Request<Ticket>) -> Get {
        rows(Ok(metadata::no_rows(metadata::primary_keys_schema())))
    }

    async fn get_flight_info_exported_keys(
        &self,
        query: CommandGetExportedKeys,
        request: Request<FlightDescriptor>,
    ) -> GetInfo {
        command_info(&query, &metadata::foreign_keys_schema(), request)
    }

    async fn do_get_exported_keys(&self, _query: CommandGetExportedKeys, _request: Request<Ticket>) -> Get {
        rows(Ok(metadata::no_rows(metadata::foreign_keys_schema())))
    }

    async fn get_flight_info_imported_keys(
        &self,
        query: CommandGetImportedKeys,
        request: Request<FlightDescriptor>,
    ) -> GetInfo {
        command_info(&query, &metadata::foreign_keys_schema(), request)
    }

    async fn do_get_imported_keys(&self, _query: CommandGetImportedKeys, _request: Request<Ticket>) -> Get {
        rows(Ok(metadata::no_rows(metadata::foreign_keys_schema())))
    }

    async fn get_flight_info_cross_reference(
        &self,
        query: CommandGetCrossReference,
        request: Request<FlightDescriptor>,
    ) -> GetInfo {
        command_info(&query, &metadata::foreign_keys_schema(), request)
    }

    async fn do_get_cross_reference(
        &self,
        _query: CommandGetCrossReference,
        _request: Request<Ticket>,
    ) -> Get {
        rows(Ok(metadata::no_rows(metadata::foreign_keys_schema())))
    }

    async fn get_flight_info_fallback(
        &self,
        command: FlightCommand,
        _request: Request<FlightDescriptor>,
    ) -> GetInfo {
        Err(status(Error::new(ErrorKind::Unsupported, format!("{} is not offered", command.type_url()))))
    }

    async fn do_action_cancel_query(
        &self,
        query: ActionCancelQueryRequest,
        request: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        let info = FlightInfo::decode(query.info.as_ref())
            .map_err(|error| Status::invalid_argument(format!("not a FlightInfo: {error}")))?;
        let cancelled = self.cancel(&caller_of(&request)?, Some(&info));
        let result = if cancelled { CANCEL_RESULT_CANCELLED } else { CANCEL_RESULT_NOT_CANCELLABLE };
        Ok(ActionCancelQueryResult { result })
    }

    async fn do_action_fallback(
        &self,
        request: Request<Action>,
    ) -> Result<Response<<Self as FlightService>::DoActionStream>, Status> {
        // Executors ask for it, too: they verify tickets with it, and no secret is in it.
        if request.get_ref().r#type == TICKET_KEY_ACTION {
            return Ok(action_result(self.service.signer.public_key()));
        }
        let origin = origin_of(&request)?;
        let caller = origin.caller.clone();
        let Action { r#type: kind, body } = request.into_inner();
        match kind.as_str() {
            CANCEL_FLIGHT_INFO => {
                let request = CancelFlightInfoRequest::decode(body.as_ref()).map_err(|error| {
                    Status::invalid_argument(format!("not a CancelFlightInfoRequest: {error}"))
                })?;
                let cancelled = self.cancel(&caller, request.info.as_ref());
                let status = if cancelled { CancelStatus::Cancelled } else { CancelStatus::NotCancellable };
                let result = CancelFlightInfoResult { status: status as i32 };
                Ok(action_result(result.encode_to_vec().into()))
            }
            QUERY_PROGRESS_ACTION => {
                let id = String::from_utf8_lossy(&body).into_owned();
                let Some(progress) = self.service.progress(&caller, &id).await else {
                    return Err(status(Error::new(ErrorKind::NotFound, format!("there is no query `{id}`"))));
                };
                json_result(&progress)
            }
            CREATE_HANDLE_ACTION => {
                let CreateHandle { sql, ttl_ms } = serde_json::from_slice(&body)
                    .map_err(|error| Status::invalid_argument(format!("not a handle: {error}")))?;
                let query = self.service.request(&sql, &origin);
                let ttl = Duration::from_millis(ttl_ms);
                json_result(&self.service.create_handle(&query, ttl).await.map_err(status)?)
            }
            RENEW_HANDLE_ACTION => {
                let id = String::from_utf8_lossy(&body);
                let ttl = self.service.handles.renew(&caller, &id).await.map_err(status)?;
                json_result(&HandleRenewed { ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX) })
            }
            CLOSE_HANDLE_ACTION => {
                let id = String::from_utf8_lossy(&body);
                self.service.handles.close(&caller, &id).await.map_err(status)?;
                Ok(action_result(Bytes::new()))
            }
            SUBMIT_JOB_ACTION => {
                let submitted: SubmitJob = serde_json::from_slice(&body)
                    .map_err(|error| Status::invalid_argument(format!("not a job: {error}")))?;
                let request = self.service.request(&submitted.sql, &origin);
                let id = self.service.submit(&request, submitted).await.map_err(status)?;
                Ok(action_result(id.into()))
            }
            JOB_ACTION => {
                let id = String::from_utf8_lossy(&body);
                json_result(&self.service.job(&caller, &id).await.map_err(status)?)
            }
            CANCEL_JOB_ACTION => {
                let id = String::from_utf8_lossy(&body);
                json_result(&self.service.cancel_job(&caller, &id).await.map_err(status)?)
            }
            other => Err(status(Error::new(ErrorKind::Unsupported, format!("there is no action `{other}`")))),
        }
    }

    async fn list_custom_actions(&self) -> Option<Vec<Result<ActionType, Status>>> {
        let action = |name: &str, description: &str| {
            Ok(ActionType { r#type: name.to_owned(), description: description.to_owned() })
        };
        Some(vec![
            action(
                CANCEL_FLIGHT_INFO,
                "Cancel a running query.\nRequest: CancelFlightInfoRequest\nResponse: CancelFlightInfoResult",
            ),
            action(QUERY_PROGRESS_ACTION, "How far a query has come.\nRequest: query id\nResponse: JSON"),
            action(CREATE_HANDLE_ACTION, "Lease a query.\nRequest: JSON (sql, ttl_ms)\nResponse: JSON"),
            action(RENEW_HANDLE_ACTION, "Let a handle's lease begin anew.\nRequest: id\nResponse: JSON"),
            action(
                SUBMIT_JOB_ACTION,
                "Submit a statement.\nRequest: JSON (sql, key, keep_ms)\nResponse: job id",
            ),
            action(JOB_ACTION, "What is known of a job.\nRequest: job id\nResponse: JSON"),
            action(CANCEL_JOB_ACTION, "End a job.\nRequest: job id\nResponse: true or false"),
            action(CLOSE_HANDLE_ACTION, "End a handle's lease.\nRequest: id\nResponse: empty"),
        ])
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}
