//! Flight SQL without our client: what any driver sees on the wire.

use std::net::SocketAddr;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt};
use arrow_flight::{FlightData, FlightDescriptor, FlightInfo, Ticket};
use polarway_common::{Error, ErrorKind};
use polarway_proto::status::error_from_status;
use prost::Message;
use tonic::Request;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};

/// A connection with gRPC's defaults, among them that no message may be larger than 4 MiB.
pub async fn connect(server: SocketAddr) -> FlightServiceClient<Channel> {
    let channel = Endpoint::from_shared(format!("http://{server}")).unwrap().connect().await.unwrap();
    FlightServiceClient::new(channel)
}

/// Plans a statement; sessions are those of the connection.
pub async fn info(client: &FlightServiceClient<Channel>, sql: &str) -> FlightInfo {
    let mut client = FlightSqlServiceClient::new_from_inner(client.clone());
    client.execute(sql.to_owned(), None).await.unwrap_or_else(|error| panic!("{sql}\n{error}"))
}

/// Plans a statement, or carries it out, by the name that `key` gives it; the error is the one that the server sent.
pub async fn keyed(client: &FlightServiceClient<Channel>, sql: &str, key: &str) -> Result<FlightInfo, Error> {
    let command = CommandStatementQuery { query: sql.to_owned(), transaction_id: None };
    let mut request = Request::new(FlightDescriptor::new_cmd(command.as_any().encode_to_vec()));
    request.metadata_mut().insert("idempotency-key", key.parse().unwrap());
    let info = client.clone().get_flight_info(request).await;
    info.map(tonic::Response::into_inner).map_err(|status| error_from_status(&status))
}

/// The one ticket of a result that the planning server serves itself.
pub fn ticket(info: &FlightInfo) -> Ticket {
    let [endpoint] = &info.endpoint[..] else { panic!("not one endpoint: {info}") };
    endpoint.ticket.clone().unwrap()
}

/// Size of a message without the few bytes of its frame.
pub fn size(message: &FlightData) -> usize {
    message.data_header.len() + message.data_body.len() + message.app_metadata.len()
}

/// Reads what a ticket stands for to its end; the error is the one that the server sent.
pub async fn redeem(server: SocketAddr, ticket: impl Into<Vec<u8>>) -> Result<Vec<FlightData>, Error> {
    let mut client = connect(server).await;
    let ticket = Ticket { ticket: ticket.into().into() };
    let mut stream = client.do_get(ticket).await.map_err(|status| error_from_status(&status))?.into_inner();
    let mut messages = vec![];
    while let Some(message) = stream.message().await.map_err(|status| error_from_status(&status))? {
        messages.push(message);
    }
    Ok(messages)
}

fn signed<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// Plans a statement as whoever has `token`; the error is the one that the server sent.
pub async fn info_as(server: SocketAddr, token: &str, sql: &str) -> Result<FlightInfo, Error> {
    let command = CommandStatementQuery { query: sql.to_owned(), transaction_id: None };
    let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
    let info = connect(server).await.get_flight_info(signed(descriptor, token)).await;
    info.map(tonic::Response::into_inner).map_err(|status| error_from_status(&status))
}

/// The same over a channel that is there.
pub async fn info_over(channel: &Channel, token: &str, sql: &str) -> Result<FlightInfo, Error> {
    let command = CommandStatementQuery { query: sql.to_owned(), transaction_id: None };
    let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
    let info = FlightServiceClient::new(channel.clone()).get_flight_info(signed(descriptor, token)).await;
    info.map(tonic::Response::into_inner).map_err(|status| error_from_status(&status))
}

/// Begins to read what a ticket stands for, as whoever has `token`.
pub async fn redeem_as(server: SocketAddr, token: &str, ticket: impl Into<Vec<u8>>) -> Result<(), Error> {
    let ticket = Ticket { ticket: ticket.into().into() };
    let reading = connect(server).await.do_get(signed(ticket, token)).await;
    reading.map(drop).map_err(|status| error_from_status(&status))
}

/// Why a call with an empty message was refused, if it was.
pub async fn bare_call(server: SocketAddr, path: &'static str, token: Option<&str>) -> Option<ErrorKind> {
    let channel = Endpoint::from_shared(format!("http://{server}")).unwrap().connect().await.unwrap();
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let request = match token {
        Some(token) => signed(arrow_flight::Empty {}, token),
        None => Request::new(arrow_flight::Empty {}),
    };
    let codec = tonic_prost::ProstCodec::<arrow_flight::Empty, arrow_flight::Empty>::default();
    let answer = grpc.unary(request, PathAndQuery::from_static(path), codec).await;
    answer.err().map(|status| error_from_status(&status).kind)
}
