//! Prepared statements of Flight SQL. A server keeps nothing of them: the handle is the statement itself, signed, and
//! binding values gives another handle. Any scheduler of the cluster takes it, and none has to be closed.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::ActionCreatePreparedStatementResult;
use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use polarway_common::{Error, ErrorKind};
use polarway_engine::settings::Settings;
use polarway_proto::ticket::{PreparedStatement, TicketSigner};
use tonic::Status;

use super::flight_sql::{schema_bytes, status};
use crate::plan::parameters::{bind, refuse_unbound};
use crate::plan::{Description, dialect_of};

/// Rows of parameters that one call may carry.
const MOST_ROWS: usize = 10_000;

/// The answer to a statement that was prepared.
pub fn created(
    signer: &TicketSigner,
    sql: String,
    description: &Description,
) -> Result<ActionCreatePreparedStatementResult, Status> {
    let schema = |schema: Option<&Schema>| match schema {
        Some(schema) if !schema.fields().is_empty() => schema_bytes(schema),
        _ => Ok(Bytes::new()),
    };
    Ok(ActionCreatePreparedStatementResult {
        prepared_statement_handle: signer.sign_prepared(&PreparedStatement { sql }),
        dataset_schema: schema(description.result.as_deref())?,
        parameter_schema: schema(Some(&description.parameters))?,
    })
}

/// The statement once for each row of values; as it is where none were sent.
pub fn bound(
    signer: &TicketSigner,
    handle: &[u8],
    settings: &Settings,
    values: &[RecordBatch],
) -> Result<Vec<String>, Error> {
    let PreparedStatement { sql } = signer.verify_prepared(handle)?;
    let dialect = dialect_of(settings)?;
    let rows = values.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| batch.slice(row, 1)));
    let texts = rows.map(|row| bind(&sql, dialect.as_ref(), &row)).collect::<Result<Vec<_>, _>>()?;
    if texts.is_empty() {
        refuse_unbound(&sql, settings)?;
        return Ok(vec![sql]);
    }
    Ok(texts)
}

/// The values of a call.
pub async fn values(
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
) -> Result<Vec<RecordBatch>, Status> {
    let messages = messages.map_err(FlightError::from);
    let mut batches = FlightRecordBatchStream::new_from_flight_data(messages);
    let (mut rows, mut values) = (0, vec![]);
    while let Some(batch) = batches.try_next().await.map_err(Status::from)? {
        rows += batch.num_rows();
        if rows > MOST_ROWS {
            return Err(status(Error::new(
                ErrorKind::Unsupported,
                format!("more than {MOST_ROWS} rows of parameters were sent in one call"),
            )));
        }
        values.push(batch);
    }
    Ok(values)
}
