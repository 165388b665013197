//! What a client asks a server to plan.

use arrow::array::RecordBatch;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any,
    CommandPreparedStatementQuery, CommandStatementQuery, DoPutPreparedStatementResult, ProstMessageExt,
};
use arrow_flight::{Action, FlightClient, FlightDescriptor};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use prost::Message;

/// A statement, with values for its placeholders if it has some.
#[derive(Clone, Copy)]
pub(crate) struct Statement<'a> {
    pub sql: &'a str,
    pub parameters: Option<&'a RecordBatch>,
}

impl Statement<'_> {
    /// What names it in a call to a server, which is told of the values first. Handles of prepared statements are not freed:
    /// servers keep nothing of them.
    pub async fn descriptor(&self, client: &mut FlightClient) -> Result<FlightDescriptor, FlightError> {
        let Some(parameters) = self.parameters else {
            let command = CommandStatementQuery { query: self.sql.to_owned(), transaction_id: None };
            return Ok(command_of(&command));
        };
        let prepared = prepare(client, self.sql).await?;
        Ok(command_of(&bind(client, prepared, parameters).await?))
    }
}

pub(crate) fn command_of(command: &impl ProstMessageExt) -> FlightDescriptor {
    FlightDescriptor::new_cmd(command.as_any().encode_to_vec())
}

fn unreadable(what: &str) -> FlightError {
    FlightError::DecodeError(format!("{what} cannot be read"))
}

async fn prepare(client: &mut FlightClient, sql: &str) -> Result<Bytes, FlightError> {
    let request = ActionCreatePreparedStatementRequest { query: sql.to_owned(), transaction_id: None };
    let action = Action::new("CreatePreparedStatement", request.as_any().encode_to_vec());
    let answer: Bytes = client.do_action(action).await?.try_next().await?.unwrap_or_default();
    let created = Any::decode(answer)
        .ok()
        .and_then(|any| any.unpack::<ActionCreatePreparedStatementResult>().ok().flatten())
        .ok_or_else(|| unreadable("a prepared statement"))?;
    Ok(created.prepared_statement_handle)
}

async fn bind(
    client: &mut FlightClient,
    prepared: Bytes,
    parameters: &RecordBatch,
) -> Result<CommandPreparedStatementQuery, FlightError> {
    let command = CommandPreparedStatementQuery { prepared_statement_handle: prepared };
    let values = FlightDataEncoderBuilder::new()
        .with_schema(parameters.schema())
        .with_flight_descriptor(Some(command_of(&command)))
        .build(stream::iter([Ok(parameters.clone())]).boxed());
    let answer = client.do_put(values).await?.try_next().await?;
    let bound = answer
        .and_then(|answer| DoPutPreparedStatementResult::decode(answer.app_metadata).ok())
        .and_then(|result| result.prepared_statement_handle)
        .ok_or_else(|| unreadable("a statement whose parameters were bound"))?;
    Ok(CommandPreparedStatementQuery { prepared_statement_handle: bound })
}
