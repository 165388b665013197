//! Rows by gRPC: a Flight DoPut into a stream.
//!
//! The client sends the schema and then batches, each of them a frame as the binary frames over WebSocket are; a batch may
//! carry its number in `app_metadata`, in decimal digits. The answers are the messages that WebSocket clients get: a
//! [`Hello`], then cumulative [`Ack`]s. An error ends the call with a status; what came before it is stored, and
//! acknowledged if that is possible.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_flight::{FlightData, PutResult};
use bytes::{BufMut, Bytes, BytesMut};
use futures::future::{Either, select};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use polarway_common::namespace::split_stored;
use polarway_common::{Error, ErrorKind};
use polarway_engine::live::{PutAnswers, PutFrames, PutOptions};
use polarway_proto::status::{error_from_status, status_from_error};
use tokio::sync::mpsc::{self, Sender};
use tokio::time::timeout;
use tonic::Status;

use crate::durability::Durability;
use crate::socket::{
    Ack, Fault, FaultKind, Feed, Frame, Groups, Hello, Numbering, OpenError, SocketMetrics, Streams,
    acknowledge, json, now, producer_id, store,
};

/// Acknowledgements that wait for a client that does not read them.
const ANSWERS: usize = 16;
const GROUPS: usize = 64;
const GROUP_BYTES: usize = 1 << 20;
const GROUP_FRAMES: usize = 1024;
/// How long a call that failed waits for the acknowledgements of what came before.
const LAST_ACKS: Duration = Duration::from_secs(5);
/// What begins a message in a stream of Arrow IPC.
const CONTINUATION: u32 = u32::MAX;

/// Puts rows into a stream of `streams`.
///
/// # Errors
/// `TableNotFound`, `InvalidSetting` for a producer or a durability that cannot be; what keeps the stream from being opened.
pub async fn put(
    streams: &dyn Streams,
    options: PutOptions,
    frames: PutFrames,
    metrics: Arc<SocketMetrics>,
) -> Result<PutAnswers, Error> {
    let PutOptions { stream, producer, ack } = options;
    let invalid = |what: String| Error::new(ErrorKind::InvalidSetting, what);
    let producer = producer.as_deref().map(producer_id).transpose();
    let producer = producer.map_err(|refusal| invalid(refusal.body))?;
    let ack = match ack {
        None => None,
        Some(name) => Some(Durability::from_name(&name).ok_or_else(|| {
            invalid(format!("there is no durability `{name}`"))
                .with_hint("use `received`, `wal` or `object_store`")
        })?),
    };
    let feed = streams.open(&stream, producer.as_deref()).await.map_err(|error| refused(error, &stream))?;
    let hello = Hello { stream: feed.name().to_owned(), producer, last: feed.last() };
    let durability = ack.unwrap_or_else(|| feed.default_ack());
    let (out, answers) = mpsc::channel::<Ack>(ANSWERS);
    let first = stream::once(std::future::ready(Ok(answer(&hello))));
    let acks = stream::unfold(answers, |mut answers| async {
        let ack = answers.recv().await?;
        Some((Ok(answer(&ack)), answers))
    });
    // It has no answer of its own but an error.
    let work = talk(feed, hello, durability, frames, out, metrics)
        .into_stream()
        .filter_map(|ended| std::future::ready(ended.err().map(|error| Err(status_from_error(&error)))));
    Ok(first.chain(stream::select(acks, work)).boxed())
}

fn answer(message: &impl serde::Serialize) -> PutResult {
    PutResult { app_metadata: json(message).into() }
}

async fn talk(
    feed: Arc<dyn Feed>,
    hello: Hello,
    durability: Durability,
    frames: PutFrames,
    out: Sender<Ack>,
    metrics: Arc<SocketMetrics>,
) -> Result<(), Error> {
    let feed = feed.as_ref();
    let groups = Groups::new(GROUPS);
    let numbering = match hello.producer {
        Some(_) => Numbering::of_producer(hello.last),
        None => Numbering::anonymous(),
    };
    let acknowledging =
        async { acknowledge(feed, durability, &groups, &out, &metrics.acks).await.map_err(told) };
    let reading = async {
        let read = read(feed, numbering, frames, &groups, &metrics).await;
        groups.close();
        read
    };
    match select(pin!(reading), pin!(acknowledging)).await {
        Either::Left((Ok(()), acknowledging)) => acknowledging.await,
        Either::Left((Err(error), acknowledging)) => {
            // The error that the client is told is the first; a second would be of the same rows or of later ones.
            let _ = timeout(LAST_ACKS, acknowledging).await;
            Err(error)
        }
        Either::Right((acknowledged, reading)) => match acknowledged {
            Ok(()) => reading.await,
            Err(error) => Err(error),
        },
    }
}

/// Reads until the client has no more; what is there already goes on together.
async fn read(
    feed: &dyn Feed,
    mut numbering: Numbering,
    frames: PutFrames,
    groups: &Groups,
    metrics: &SocketMetrics,
) -> Result<(), Error> {
    let mut frames = frames.into_stream().peekable();
    let schema = match frames.next().await {
        Some(first) => first.map_err(of_client)?,
        None => return Ok(()),
    };
    let schema = message(&schema);
    let mut group = vec![];
    let (mut bytes, mut arrived) = (0, now());
    while let Some(next) = frames.next().await {
        if group.is_empty() {
            arrived = now();
        }
        let numbered = next
            .map_err(of_client)
            .and_then(|data| numbering.number(frame(&schema, &data), true).map_err(told));
        let frame = match numbered {
            Ok(frame) => frame,
            Err(error) => {
                write(feed, &mut group, arrived, groups, metrics).await?;
                return Err(error);
            }
        };
        bytes += frame.payload.len();
        group.push(frame);
        let more = group.len() < GROUP_FRAMES && bytes < GROUP_BYTES;
        if more && std::pin::Pin::new(&mut frames).peek().now_or_never().is_some_and(|next| next.is_some()) {
            continue;
        }
        write(feed, &mut group, arrived, groups, metrics).await?;
        bytes = 0;
    }
    Ok(())
}

async fn write(
    feed: &dyn Feed,
    group: &mut Vec<Frame>,
    arrived: Instant,
    groups: &Groups,
    metrics: &SocketMetrics,
) -> Result<(), Error> {
    store(feed, group, arrived, groups, metrics).await.map_err(told)?;
    group.clear();
    Ok(())
}

/// A batch as a frame that could have come over WebSocket.
fn frame(schema: &[u8], data: &FlightData) -> Bytes {
    let message = message(data);
    let mut frame = BytesMut::with_capacity(schema.len() + message.len() + data.app_metadata.len() + 2);
    if !data.app_metadata.is_empty() {
        frame.put_u8(b'#');
        frame.put_slice(&data.app_metadata);
        frame.put_u8(b'\n');
    }
    frame.put_slice(schema);
    frame.put_slice(&message);
    frame.freeze()
}

/// Header and body of a message as they stand in a stream of Arrow IPC.
fn message(data: &FlightData) -> Vec<u8> {
    let length = data.data_header.len().next_multiple_of(8);
    let mut bytes = Vec::with_capacity(8 + length + data.data_body.len());
    bytes.put_u32_le(CONTINUATION);
    bytes.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
    bytes.put_slice(&data.data_header);
    bytes.resize(8 + length, 0);
    bytes.put_slice(&data.data_body);
    bytes
}

/// The transport ends the rows, or the server where the client may send no more.
fn of_client(status: Status) -> Error {
    let error = error_from_status(&status);
    if error.kind == ErrorKind::Unauthenticated {
        return error;
    }
    Error::new(ErrorKind::Cancelled, format!("the rows ended: {}", status.message()))
}

fn refused(error: OpenError, stream: &str) -> Error {
    let text = error.to_string();
    match error {
        OpenError::Unknown => {
            let told = format!("there is no stream `{}`", split_stored(stream).1);
            Error::new(ErrorKind::TableNotFound, told)
        }
        OpenError::NotAllowed(_) => Error::new(ErrorKind::PermissionDenied, text),
        OpenError::Elsewhere { .. } => Error::new(ErrorKind::StoreUnavailable, text)
            .with_hint("put the rows through the scheduler, which knows the way"),
        OpenError::Unavailable { retry_after, .. } => {
            Error::new(ErrorKind::StoreUnavailable, text).with_retry_after(retry_after)
        }
        OpenError::Draining => Error::new(ErrorKind::Draining, text),
        OpenError::Internal(_) => Error::internal(text),
    }
}

fn told(fault: Fault) -> Error {
    let kind = match fault.kind {
        FaultKind::Protocol | FaultKind::Unsupported | FaultKind::InvalidText => ErrorKind::InvalidSetting,
        FaultKind::Unauthenticated => ErrorKind::Unauthenticated,
        FaultKind::NotAllowed => ErrorKind::PermissionDenied,
        FaultKind::Quota | FaultKind::FrameTooLarge => ErrorKind::Overloaded,
        FaultKind::Idle => ErrorKind::DeadlineExceeded,
        FaultKind::Internal => ErrorKind::Internal,
        FaultKind::Draining => ErrorKind::Draining,
        FaultKind::Moved | FaultKind::LogFull | FaultKind::DiskFull | FaultKind::Unavailable => {
            ErrorKind::StoreUnavailable
        }
    };
    let hint = fault.hint().to_owned();
    Error::new(kind, fault.message).with_hint(hint)
}
