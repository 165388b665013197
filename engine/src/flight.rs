//! Record batches as Flight data: plain types, messages of at most about 2 MiB, errors as typed statuses.
//!
//! A batch is cut where its bytes say so and not into equal numbers of rows: a few large values among many small ones
//! would else share one message. A row is never cut. One that is larger than 4 MiB by itself travels in a message of
//! its own, which only clients that have raised gRPC's limit can read; ours has.

use std::sync::Arc;

use arrow::array::{Array, AsArray, OffsetSizeTrait};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use datafusion::execution::SendableRecordBatchStream;
use futures::stream::{self, BoxStream};
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
    let target = Arc::clone(&schema);
    let plain = batches
        .map_ok(|batch| stream::iter(slices(batch).map(Ok::<_, Status>)))
        .try_flatten()
        .map(move |slice| {
            let slice = slice.map_err(|status| FlightError::Tonic(Box::new(status)))?;
            to_plain(&slice, &target).map_err(FlightError::from)
        })
        .map_ok(|slice| stream::iter(pieces(slice).map(Ok::<_, FlightError>)))
        .try_flatten();
    FlightDataEncoderBuilder::new()
        .with_schema(schema)
        // What arrives here has its size already.
        .with_max_flight_data_size(usize::MAX)
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

/// The batch in pieces of at most [`MESSAGE_BYTES`], or of one row where that is larger.
fn pieces(batch: RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let mut rest = Some(batch);
    std::iter::from_fn(move || {
        let batch = rest.take()?;
        let rows = rows_that_fit(&batch);
        if rows < batch.num_rows() {
            rest = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        Some(batch.slice(0, rows))
    })
}

/// How many of the first rows make one message; at least one, if there is one.
fn rows_that_fit(batch: &RecordBatch) -> usize {
    let fits = |rows: usize| {
        let bytes: usize =
            batch.slice(0, rows).columns().iter().map(|column| bytes_of(column.as_ref())).sum();
        bytes <= MESSAGE_BYTES
    };
    let all = batch.num_rows();
    if fits(all) {
        return all;
    }
    // More rows never take fewer bytes, so the largest number that fits can be searched for.
    let (mut fitting, mut too_many) = (1, all);
    while too_many - fitting > 1 {
        let middle = fitting.midpoint(too_many);
        if fits(middle) {
            fitting = middle;
        } else {
            too_many = middle;
        }
    }
    fitting
}

/// The bytes that an array's own rows take in a message. Arrow's counts take the whole buffer that a slice is of, or
/// all values of a list that a slice is of.
fn bytes_of(array: &dyn Array) -> usize {
    let nulls = if array.nulls().is_some() { array.len().div_ceil(8) } else { 0 };
    match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            nulls + bytes_of_items(list.value_offsets(), list.values().as_ref())
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            nulls + bytes_of_items(list.value_offsets(), list.values().as_ref())
        }
        DataType::Map(_, _) => {
            let map = array.as_map();
            nulls + bytes_of_items(map.value_offsets(), map.entries())
        }
        DataType::FixedSizeList(_, _) => nulls + bytes_of(array.as_fixed_size_list().values().as_ref()),
        DataType::Struct(_) => {
            let columns = array.as_struct().columns();
            nulls + columns.iter().map(|column| bytes_of(column.as_ref())).sum::<usize>()
        }
        _ => array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_buffer_memory_size()),
    }
}

fn bytes_of_items<O: OffsetSizeTrait>(offsets: &[O], items: &dyn Array) -> usize {
    let first = offsets.first().map_or(0, |offset| offset.as_usize());
    let last = offsets.last().map_or(first, |offset| offset.as_usize());
    size_of_val(offsets) + bytes_of(items.slice(first, last - first).as_ref())
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, ListBuilder, StringBuilder, StringViewArray};
    use arrow::compute::concat_batches;
    use arrow_flight::decode::FlightRecordBatchStream;

    use super::*;

    const KIB: usize = 1024;
    const MIB: usize = 1024 * KIB;
    /// What gRPC clients take by default.
    const LIMIT: usize = 4 * MIB;

    fn text(bytes: usize) -> String {
        "x".repeat(bytes)
    }

    /// 2,000 rows, of which some in the middle are large.
    fn skewed(large: usize, count: usize) -> RecordBatch {
        let size = |row: usize| if (1_000..1_000 + count).contains(&row) { large } else { 10 };
        let numbers = Int64Array::from_iter_values(0..2_000);
        let texts = StringViewArray::from_iter_values((0..2_000).map(|row| text(size(row))));
        let mut lists = ListBuilder::new(StringBuilder::new());
        for row in 0..2_000 {
            lists.append_value([Some(text(size(row) / 2)), None, Some(text(size(row) / 2))]);
        }
        RecordBatch::try_from_iter([
            ("n", Arc::new(numbers) as ArrayRef),
            ("t", Arc::new(texts) as ArrayRef),
            ("l", Arc::new(lists.finish()) as ArrayRef),
        ])
        .unwrap()
    }

    /// Encodes the batch, reads it back, and gives each message's bytes and rows.
    async fn messages(batch: RecordBatch) -> Vec<(usize, usize)> {
        let schema = plain_schema(&batch.schema());
        let source = stream::iter([Ok(batch.clone())]);
        let encoded = encode_batches(Arc::clone(&schema), source);
        let sent: Vec<FlightData> = encoded.try_collect().await.unwrap();
        // The first tells the schema.
        let bytes: Vec<usize> =
            sent.iter().skip(1).map(|message| message.data_header.len() + message.data_body.len()).collect();
        let received = stream::iter(sent.into_iter().map(Ok::<_, FlightError>));
        let batches: Vec<RecordBatch> =
            FlightRecordBatchStream::new_from_flight_data(received).try_collect().await.unwrap();
        let whole = concat_batches(&schema, &batches).unwrap();
        assert!(whole == to_plain(&batch, &schema).unwrap(), "other rows came than were sent");
        assert_eq!(bytes.len(), batches.len());
        bytes.into_iter().zip(batches.iter().map(RecordBatch::num_rows)).collect()
    }

    #[tokio::test]
    async fn a_few_large_rows_do_not_share_a_message() {
        // Cut into equal numbers of rows, one message would hold all large ones.
        let messages = messages(skewed(700 * KIB, 8)).await;
        assert!(messages.iter().all(|(bytes, _)| *bytes <= LIMIT), "{messages:?}");
        assert!(messages.len() >= 6, "{messages:?}");
        assert!(messages.len() <= 12, "small rows share messages: {messages:?}");
    }

    #[tokio::test]
    async fn a_row_above_the_limit_travels_alone() {
        let messages = messages(skewed(5 * MIB, 1)).await;
        let large: Vec<_> = messages.iter().filter(|(bytes, _)| *bytes > LIMIT).collect();
        assert!(matches!(large[..], [(_, 1)]), "{messages:?}");
    }

    #[tokio::test]
    async fn a_slice_counts_as_what_it_holds() {
        let batch = skewed(700 * KIB, 8);
        let slice = messages(batch.slice(0, 900)).await;
        assert_eq!(slice.len(), 1, "{slice:?}");
        assert!(slice[0].0 < MIB, "{slice:?}");
        let numbers = Int64Array::from_iter_values(0..4_000_000);
        let numbers = RecordBatch::try_from_iter([("n", Arc::new(numbers) as ArrayRef)]).unwrap();
        assert_eq!(messages(numbers.slice(1_000_000, 50_000)).await.len(), 1);
    }

    #[tokio::test]
    async fn a_batch_without_rows_is_no_message() {
        assert!(messages(skewed(10, 0).slice(0, 0)).await.is_empty());
    }
}
