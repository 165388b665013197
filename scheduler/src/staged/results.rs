//! A finished job's result, read from the executors that hold it and passed on without decoding.

use std::sync::Arc;
use std::time::SystemTime;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::{MessageHeader, root_as_message};
use arrow_flight::FlightData;
use ballista_core::serde::protobuf::PartitionLocation;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use polarway_common::{Error, ErrorKind};
use polarway_proto::ticket::{PlanTicket, ResultPartition, TicketSigner, expiry};

use super::ballista::Ballista;
use crate::peers::{PeerAddress, Peers, executor_error};

/// Held back until the result is whole or has grown to this: within it, an executor's death costs a new attempt
/// and not an error in the middle of the client's stream.
const HELD_BACK_BYTES: usize = 8 * 1024 * 1024;

pub type Messages = BoxStream<'static, Result<FlightData, Error>>;

/// One partition of a result, with the ticket that its executor takes for it.
#[derive(Debug, Clone)]
pub struct Partition {
    pub address: PeerAddress,
    pub ticket: Bytes,
}

/// The partitions that hold rows, in order.
pub fn partitions(
    locations: &[PartitionLocation],
    query_id: &str,
    signer: &TicketSigner,
    ttl: std::time::Duration,
) -> Result<Vec<Partition>, Error> {
    let mut sorted: Vec<&PartitionLocation> =
        locations.iter().filter(|location| rows_written(location) != Some(0)).collect();
    sorted.sort_by_key(|location| {
        (location.partition_id.as_ref().map(|id| id.partition_id), location.map_partition_id)
    });
    let missing = || Error::internal("a result location is incomplete");
    sorted
        .into_iter()
        .map(|location| {
            let id = location.partition_id.as_ref().ok_or_else(missing)?;
            let executor = location.executor_meta.as_ref().ok_or_else(missing)?;
            let ticket = PlanTicket {
                query_id: query_id.to_owned(),
                expires_at: expiry(SystemTime::now(), ttl),
                partition: Some(ResultPartition {
                    job_id: id.job_id.clone(),
                    stage_id: u64::from(id.stage_id),
                    partition_id: u64::from(id.partition_id),
                    file_id: location.file_id,
                    sort_layout: location.is_sort_shuffle,
                    rows: rows_written(location),
                }),
                ..PlanTicket::default()
            };
            let address = PeerAddress { host: executor.host.clone(), port: executor.port as u16 };
            Ok(Partition { address, ticket: signer.sign_plan(&ticket) })
        })
        .collect()
}

/// What its writer counted; below zero on the wire where it did not.
fn rows_written(location: &PartitionLocation) -> Option<u64> {
    location.partition_stats.as_ref().and_then(|stats| u64::try_from(stats.num_rows).ok())
}

/// Whom a partition can be read from.
#[derive(Clone)]
pub struct Holders {
    pub peers: Arc<Peers>,
    /// Where output is copied: any executor can give what the one that wrote it no longer can.
    pub others: Option<Ballista>,
}

/// Streams the partitions' record batches, one partition after the other if their order matters and otherwise
/// `parallelism` at a time. Schema messages are left out.
///
/// # Errors
/// `ExecutorLost` when a partition can be read from nobody, and the beginning is held back: nothing has been passed on
/// then.
pub async fn open(
    holders: Holders,
    partitions: Vec<Partition>,
    ordered: bool,
    parallelism: usize,
    schema: SchemaRef,
) -> Result<Messages, Error> {
    let opened = stream::iter(partitions)
        .map(move |partition| partition_messages(holders.clone(), partition, Arc::clone(&schema)));
    let mut messages: Messages =
        if ordered { opened.flatten().boxed() } else { opened.flatten_unordered(parallelism.max(1)).boxed() };
    let mut held = vec![];
    let mut bytes = 0;
    while bytes < HELD_BACK_BYTES {
        match messages.try_next().await? {
            Some(message) => {
                bytes += message.data_body.len();
                held.push(Ok(message));
            }
            None => return Ok(stream::iter(held).boxed()),
        }
    }
    Ok(stream::iter(held).chain(messages).boxed())
}

/// A partition that is being read.
struct Reading {
    holders: Holders,
    partition: Partition,
    schema: SchemaRef,
    source: Option<Messages>,
    /// Batches passed on so far. Whoever gives the partition gives the same batches in the same order.
    passed: usize,
    /// Who has failed.
    tried: Vec<PeerAddress>,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<FlightData>, Error> {
        loop {
            let failure = match self.step().await {
                Ok(message) => return Ok(message),
                Err(error) if error.kind == ErrorKind::ExecutorLost => error,
                Err(error) => return Err(error),
            };
            self.source = None;
            self.tried.push(self.partition.address.clone());
            let Some(other) = self.untried().await else { return Err(failure) };
            tracing::info!(from = %self.partition.address, to = %other, cause = failure.message, "a result is read from another executor");
            self.partition.address = other;
        }
    }

    async fn step(&mut self) -> Result<Option<FlightData>, Error> {
        let source = match &mut self.source {
            Some(source) => source,
            None => {
                let Partition { address, ticket } = &self.partition;
                let (stream, in_flight) = self.holders.peers.open(address, ticket.clone()).await?;
                let mut opened = batches_only(stream, in_flight, Arc::clone(&self.schema)).boxed();
                for _ in 0..self.passed {
                    opened.try_next().await?;
                }
                self.source.insert(opened)
            }
        };
        let message = source.try_next().await?;
        self.passed += 1;
        Ok(message)
    }

    async fn untried(&mut self) -> Option<PeerAddress> {
        let present = self.holders.others.as_ref()?.executors().await;
        present.into_iter().map(|executor| executor.address).find(|address| !self.tried.contains(address))
    }
}

fn partition_messages(holders: Holders, partition: Partition, schema: SchemaRef) -> Messages {
    let reading = Reading { holders, partition, schema, source: None, passed: 0, tried: vec![] };
    stream::try_unfold(reading, |mut reading| async move {
        Ok(reading.next().await?.map(|message| (message, reading)))
    })
    .boxed()
}

fn batches_only<G: Send + 'static>(
    stream: tonic::Streaming<FlightData>,
    guard: G,
    schema: SchemaRef,
) -> impl Stream<Item = Result<FlightData, Error>> {
    stream
        .map(move |message| {
            let _open = &guard;
            message.map_err(|status| executor_error(&status))
        })
        .try_filter_map(move |message| {
            let outcome = match message_kind(&message) {
                Ok(MessageHeader::RecordBatch) => Ok(Some(message)),
                Ok(MessageHeader::Schema) => check_schema(&message, &schema).map(|()| None),
                Ok(other) => Err(Error::internal(format!("an executor sent a message of kind {other:?}"))),
                Err(error) => Err(error),
            };
            async move { outcome }
        })
}

/// Batches are passed on under the schema that the client was told: theirs must have the same types.
fn check_schema(message: &FlightData, announced: &SchemaRef) -> Result<(), Error> {
    let sent = Schema::try_from(message)
        .map_err(|error| Error::internal(format!("an executor's schema cannot be read: {error}")))?;
    let types =
        |schema: &Schema| schema.fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>();
    if types(&sent) == types(announced) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::SchemaMismatch, "a table changed between planning and running the query")
        .with_hint("run the statement again"))
}

fn message_kind(message: &FlightData) -> Result<MessageHeader, Error> {
    root_as_message(&message.data_header).map(|header| header.header_type()).map_err(|error| {
        Error::new(ErrorKind::Internal, format!("an executor's message cannot be read: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ballista_core::serde::protobuf::{ExecutorMetadata, PartitionId, PartitionStats};
    use polarway_proto::ticket::verify_plan;

    use super::*;

    #[test]
    fn a_partitions_ticket_tells_its_rows_and_an_empty_one_gets_none() {
        let location = |partition_id: u32, stats: Option<i64>| PartitionLocation {
            partition_id: Some(PartitionId { partition_id, ..Default::default() }),
            executor_meta: Some(ExecutorMetadata::default()),
            partition_stats: stats.map(|num_rows| PartitionStats { num_rows, ..Default::default() }),
            ..Default::default()
        };
        let locations =
            [location(3, None), location(2, Some(-1)), location(1, Some(0)), location(0, Some(7))];
        let signer = TicketSigner::from_secret(b"secret").unwrap();
        let partitions = partitions(&locations, "q", &signer, Duration::from_secs(60)).unwrap();
        let told: Vec<_> = partitions
            .iter()
            .map(|partition| {
                let ticket = verify_plan(&signer.public_key(), &partition.ticket, SystemTime::now()).unwrap();
                ticket.partition.map(|partition| (partition.partition_id, partition.rows)).unwrap()
            })
            .collect();
        assert_eq!(told, [(0, Some(7)), (2, None), (3, None)]);
    }
}
