//! Streams that other processes hold, as a scheduler sees them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow_flight::{Action, FlightData, FlightDescriptor};
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::execution::object_store::ObjectStoreUrl;
use futures::future::join_all;
use futures::{Stream, StreamExt, stream};
use object_store::path::Path;
use parking_lot::Mutex;
use polarway_common::{Error, ErrorKind};
use polarway_engine::live::{
    Held, NodeChannels, PutAnswers, PutFrames, PutOptions, RemoteRows, SealedFile, StreamHost, StreamStatus,
    StreamView, call_failed,
};
use polarway_identity::Credential;
use polarway_metastore::MetaStore;
use polarway_proto::streams::{ACK_HEADER, PRODUCER_HEADER, Statuses, StreamId, StreamName, View, action};
use polarway_storage::streams::{Node, Owner};
use prost::Message;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Status};

use crate::feed::{accepts, dead_letter_schema};
use crate::host::{slices, split_name, the_stream, told};
use crate::pull::gap_schema;

/// What one call may take; opening a stream replays its log.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Who does not tell its numbers in this time is left out.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// See the module's page.
pub struct RemoteStreams {
    meta: Arc<dyn MetaStore>,
    nodes: Arc<NodeChannels>,
    rows: Arc<RemoteRows>,
    /// Held while an owner is chosen, so that streams made at the same time are spread.
    choosing: tokio::sync::Mutex<()>,
}

impl fmt::Debug for RemoteStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RemoteStreams")
    }
}

impl RemoteStreams {
    /// `credential` is what this process shows to those that hold the streams.
    pub fn new(meta: Arc<dyn MetaStore>, credential: Credential) -> Self {
        let nodes = Arc::new(NodeChannels::new(credential));
        let rows = Arc::new(RemoteRows::new(Arc::clone(&nodes)));
        Self { meta, nodes, rows, choosing: tokio::sync::Mutex::default() }
    }

    /// Where the owner of a stream answers.
    async fn owner(&self, id: &str) -> Result<Option<String>, Error> {
        Ok(Owner::of(self.meta.as_ref(), id).await?.map(|owner| owner.address))
    }

    async fn owner_by_name(&self, stream: &str) -> Result<String, Error> {
        let (schema, name) = split_name(stream);
        let definition = the_stream(self.meta.as_ref(), schema, name).await?;
        self.owner(&definition.id).await?.ok_or_else(|| {
            let told = format!("nobody has taken `{}` yet", told(schema, name));
            Error::new(ErrorKind::StoreUnavailable, told)
        })
    }

    async fn call(&self, address: &str, kind: &str, body: impl Message) -> Result<Bytes, Error> {
        let action = Action { r#type: kind.to_owned(), body: body.encode_to_vec().into() };
        let mut client = self.nodes.client(address)?;
        let answer = async {
            let mut results = client.do_action(action).await?.into_inner();
            results.message().await
        };
        match tokio::time::timeout(CALL_TIMEOUT, answer).await {
            Ok(Ok(result)) => Ok(result.map(|result| result.body).unwrap_or_default()),
            Ok(Err(status)) => Err(call_failed(address, &status)),
            Err(_) => Err(Error::new(
                ErrorKind::StoreUnavailable,
                format!("{address} did not answer within {} s", CALL_TIMEOUT.as_secs()),
            )),
        }
    }

    /// What the process at `address` holds; nothing when it does not answer.
    async fn held(&self, address: &str) -> HashMap<String, Held> {
        let asked = self.call(address, action::STATUS, ());
        let statuses = match tokio::time::timeout(STATUS_TIMEOUT, asked).await {
            Ok(Ok(body)) => Statuses::decode(body).unwrap_or_default(),
            Ok(Err(_)) | Err(_) => Statuses::default(),
        };
        let held = |status: polarway_proto::streams::Status| {
            let held = Held {
                hot_rows: status.hot_rows,
                hot_bytes: status.hot_bytes,
                log_bytes: status.log_bytes,
                sealed_rows: status.sealed_rows,
                sealed_bytes: status.sealed_bytes,
                files: status.files,
                end: status.end,
                recent_rows: status.recent_rows,
                recent_ms: status.recent_ms,
                idle_ms: status.idle_ms,
                latest_event_ms: status.latest_event_ms,
                feed: status.feed,
            };
            (status.id, held)
        };
        statuses.streams.into_iter().map(held).collect()
    }

    /// Has a stream opened by the process that has it already, or else by the one with the fewest that answers.
    async fn open(&self, id: &str, schema: &str, name: &str) -> Result<(), Error> {
        let stream = StreamName { schema: schema.to_owned(), name: name.to_owned() };
        let _one = self.choosing.lock().await;
        let meta = self.meta.as_ref();
        let nodes = Node::all(meta).await?;
        let owners = Owner::all(meta).await?;
        let mut last = None;
        for node in candidates(nodes, &owners.into_iter().map(|(id, owner)| (id, owner.node)).collect(), id) {
            match self.call(&node.address, action::OPEN, stream.clone()).await {
                Ok(_) => return Ok(()),
                // It may have it, and its rows: nobody else is asked.
                Err(error) if error.kind != ErrorKind::StoreUnavailable => return Err(error),
                Err(error) => {
                    tracing::warn!(node = node.name, %error, "does not take a stream");
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| {
            Error::new(ErrorKind::NoExecutors, "no process takes rows of streams")
                .with_hint("start one with `polarway executor --role ingest`")
        }))
    }
}

/// A client's frames as requests. They cannot carry an error, which ends them; the client is told it after the answers. A
/// type of its own, since the compiler finds no call over a boxed stream to be `Send`.
struct Requests {
    /// The stream's stored name, for the first message: the client has written there what it calls it.
    stream: Option<String>,
    frames: PutFrames,
    failure: Failure,
}

/// What has ended a client's frames, if they did not end by themselves.
type Failure = Arc<Mutex<Option<Status>>>;

impl Stream for Requests {
    type Item = FlightData;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<FlightData>> {
        self.frames.poll_next_unpin(context).map(|frame| match frame? {
            Ok(mut frame) => {
                if let Some(stream) = self.stream.take() {
                    frame.flight_descriptor = Some(FlightDescriptor::new_path(vec![stream]));
                }
                Some(frame)
            }
            Err(status) => {
                *self.failure.lock() = Some(status);
                None
            }
        })
    }
}

/// Who is asked to open the stream `id`, in this order: its owner alone if it has one, else those with fewer streams first.
fn candidates(mut nodes: Vec<Node>, owners: &HashMap<String, String>, id: &str) -> Vec<Node> {
    if let Some(owner) = owners.get(id) {
        nodes.retain(|node| node.name == *owner);
        return nodes;
    }
    let load = |node: &Node| owners.values().filter(|owner| **owner == node.name).count();
    nodes.sort_by_cached_key(|node| (load(node), node.name.clone()));
    nodes
}

#[async_trait]
impl StreamHost for RemoteStreams {
    fn accepts(&self, schema: &SchemaRef) -> Result<(), Error> {
        accepts(schema)
    }

    fn dead_letter_schema(&self) -> SchemaRef {
        dead_letter_schema()
    }

    fn gap_schema(&self) -> SchemaRef {
        gap_schema()
    }

    async fn status(&self) -> Result<Vec<StreamStatus>, Error> {
        let owners = Owner::all(self.meta.as_ref()).await?;
        let addresses: HashSet<&str> = owners.values().map(|owner| owner.address.as_str()).collect();
        let asked = addresses.into_iter().map(|address| self.held(address));
        let held: Vec<HashMap<String, Held>> = join_all(asked).await;
        let held = |id: &str| held.iter().find_map(|held| held.get(id)).cloned();
        Ok(owners
            .iter()
            .map(|(id, owner)| StreamStatus {
                id: id.clone(),
                owner: Some((owner.node.clone(), owner.address.clone())),
                held: held(id),
            })
            .collect())
    }

    async fn view(&self, id: &str) -> Result<StreamView, Error> {
        let owner = self.owner(id).await?.ok_or_else(|| {
            Error::new(ErrorKind::StoreUnavailable, "nobody has taken the stream yet")
                .with_hint("start a process with `polarway executor --role ingest`")
        })?;
        let body = self.call(&owner, action::VIEW, StreamId { id: id.to_owned() }).await?;
        let damaged = |what: &dyn fmt::Display| Error::internal(format!("the answer of {owner}: {what}"));
        let view = View::decode(body).map_err(|error| damaged(&error))?;
        let file = |file: polarway_proto::streams::File| {
            Ok(SealedFile {
                path: Path::parse(&file.path).map_err(|error| damaged(&error))?,
                bytes: file.bytes,
                rows: file.rows,
                events: file.first_event.zip(file.last_event),
            })
        };
        Ok(StreamView {
            store: ObjectStoreUrl::parse(&view.store).map_err(|error| damaged(&error))?,
            files: view.files.into_iter().map(file).collect::<Result<_, Error>>()?,
            slices: slices(view.hot_from..view.hot_to, id, &owner),
            end: view.hot_to,
            missing: view.missing.iter().map(|rows| rows.from..rows.to).collect(),
            rows: Arc::clone(&self.rows) as _,
        })
    }

    async fn made(&self, schema: &str, name: &str) -> Result<(), Error> {
        let definition = the_stream(self.meta.as_ref(), schema, name).await?;
        let Some(of) = definition.companion_of() else {
            return self.open(&definition.id, schema, name).await;
        };
        // What goes with a stream is written by whoever takes its rows.
        let owner = self.owner_by_name(&format!("{schema}.{of}")).await?;
        let stream = StreamName { schema: schema.to_owned(), name: name.to_owned() };
        self.call(&owner, action::OPEN, stream).await.map(drop)
    }

    async fn dropped(&self, id: &str) -> Result<(), Error> {
        match self.owner(id).await? {
            Some(owner) => self.call(&owner, action::DROP, StreamId { id: id.to_owned() }).await.map(drop),
            None => Ok(()),
        }
    }

    /// Sends the rows on to the stream's owner.
    async fn put(&self, options: PutOptions, frames: PutFrames) -> Result<PutAnswers, Error> {
        let owner = self.owner_by_name(&options.stream).await?;
        let failure = Failure::default();
        let stream = Some(options.stream.clone());
        let request = put_request(&options, Requests { stream, frames, failure: Arc::clone(&failure) })?;
        let mut client = self.nodes.client(&owner)?;
        match client.do_put(request).await {
            Ok(answers) => {
                let failed = stream::once(async move { failure.lock().take() });
                let failed = failed.filter_map(|failure| std::future::ready(failure.map(Err)));
                Ok(answers.into_inner().chain(failed).boxed())
            }
            Err(status) => Err(call_failed(&owner, &status)),
        }
    }
}

/// Nothing of the client's own call but what is put how: what it showed this process is not for others.
fn put_request(options: &PutOptions, frames: Requests) -> Result<Request<Requests>, Error> {
    let mut request = Request::new(frames);
    for (header, value) in [(PRODUCER_HEADER, &options.producer), (ACK_HEADER, &options.ack)] {
        if let Some(value) = value {
            let value: MetadataValue<Ascii> = value.parse().map_err(|_| {
                Error::new(ErrorKind::InvalidSetting, format!("`{header}` holds what no header can hold"))
            })?;
            request.metadata_mut().insert(header, value);
        }
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_stream_goes_where_the_fewest_are_and_an_old_one_to_its_owner() {
        let node = |name: &str| Node { name: name.into(), address: "a:1".into(), ws: "a:2".into() };
        let owners: HashMap<String, String> =
            [("s1", "a"), ("s2", "a"), ("s3", "b"), ("s4", "gone")].map(|(s, n)| (s.into(), n.into())).into();
        let names = |id: &str| -> Vec<String> {
            let nodes = vec![node("a"), node("c"), node("b")];
            candidates(nodes, &owners, id).into_iter().map(|node| node.name).collect()
        };
        assert_eq!(names("new"), ["c", "b", "a"]);
        assert_eq!(names("s1"), ["a"]);
        assert!(names("s4").is_empty(), "its log is elsewhere");
    }
}
