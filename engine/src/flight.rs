//! Record batches as Flight data: plain types, messages of at most about 2 MiB, errors as typed statuses.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use datafusion::execution::SendableRecordBatchStream;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use polarway_proto::status::status_from_error;
use tonic::Status;

use crate::errors::classify;
use crate::output::{plain_schema, to_plain};

/// Target size of one message; gRPC clients refuse more than 4 MiB by default.
const MESSAGE_BYTES: usize = 2 * 1024 * 1024;

/// Flight messages carry at most this many rows, so that the first arrives early.
const MESSAGE_ROWS: usize = 64 * 1024;

/// Encodes a query's batches.
pub fn encode(stream: SendableRecordBatchStream) -> BoxStream<'static, Result<FlightData, Status>> {
    let schema = plain_schema(&stream.schema());
    let batches = stream.map_err(|error| status_from_error(&classify(&error)));
    encode_batches(schema, batches)
}

/// Encodes batches whose types [`plain_schema`] gave `schema` for.
pub fn encode_batches(
    schema: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch, Status>> + Send + 'static,
) -> BoxStream<'static, Result<FlightData, Status>> {
    let target = schema.clone();
    let plain =
        batches.map_ok(move |batch| slices(batch).map(Ok)).map_ok(futures::stream::iter).try_flatten().map(
            move |batch| {
                let batch = batch.map_err(|status| FlightError::Tonic(Box::new(status)))?;
                to_plain(&batch, &target).map_err(FlightError::from)
            },
        );
    FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_max_flight_data_size(MESSAGE_BYTES)
        .build(plain)
        .map_err(Status::from)
        .boxed()
}

fn slices(batch: RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let rows = batch.num_rows();
    let count = rows.div_ceil(MESSAGE_ROWS).max(1);
    (0..count).map(move |index| {
        let offset = index * MESSAGE_ROWS;
        batch.slice(offset, MESSAGE_ROWS.min(rows - offset))
    })
}
