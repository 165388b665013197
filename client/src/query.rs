//! A statement that was planned, and the batches of its result.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::{FlightInfo, IpcMessage};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, future};
use polarway_common::Error;
use serde::Deserialize;

use crate::Endpoint;
use crate::pool::Pool;
use crate::reader::Reader;
use crate::servers::Servers;

/// Endpoints of one result that are read at the same time.
const PARALLEL_READS: usize = 16;

/// Names a query at its server; cheap to clone, good for [`crate::Client::cancel`] while the stream is read elsewhere.
#[derive(Debug, Clone)]
pub struct QueryHandle {
    metadata: Arc<QueryMetadata>,
    info: Arc<FlightInfo>,
    server: Endpoint,
}

/// What the server says about a query in `FlightInfo.app_metadata`.
#[derive(Debug, Deserialize)]
struct QueryMetadata {
    query_id: String,
    route: String,
}

impl QueryHandle {
    pub(crate) fn new(info: FlightInfo, server: Endpoint) -> Result<Self, Error> {
        let metadata = serde_json::from_slice(&info.app_metadata).map_err(|error| {
            Error::internal(format!("{server} answers Flight SQL but gives no query id: {error}"))
                .with_hint("is it a polarway server of this version?")
        })?;
        Ok(Self { metadata: Arc::new(metadata), info: Arc::new(info), server })
    }

    /// The same query at another server.
    pub(crate) fn at(self, server: Endpoint) -> Self {
        Self { server, ..self }
    }

    pub fn query_id(&self) -> &str {
        &self.metadata.query_id
    }

    /// How the server runs the query: `direct`, `staged` or `metadata`.
    pub fn route(&self) -> &str {
        &self.metadata.route
    }

    pub(crate) fn info(&self) -> &FlightInfo {
        &self.info
    }

    /// The server that planned the query and can cancel it.
    pub(crate) fn server(&self) -> &Endpoint {
        &self.server
    }
}

/// The result of a query, read as the server produces it. Dropping it before its end cancels the query.
pub struct QueryStream {
    handle: QueryHandle,
    schema: SchemaRef,
    batches: BoxStream<'static, Result<RecordBatch, Error>>,
}

impl QueryStream {
    pub(crate) fn new(handle: QueryHandle, pool: Arc<Pool>, servers: Arc<Servers>) -> Result<Self, Error> {
        let schema = decode_schema(handle.info())?;
        let origin = handle.server().clone();
        let endpoints = handle.info().endpoint.clone();
        // A closure that spawns is called only as far ahead as the combinators below pull.
        let readers = stream::iter(endpoints).map(move |endpoint| {
            Reader::spawn(Arc::clone(&pool), Arc::clone(&servers), origin.clone(), endpoint)
        });
        let batches = if handle.info().ordered {
            readers.map(future::ready).buffered(PARALLEL_READS).flatten().boxed()
        } else {
            readers.flatten_unordered(PARALLEL_READS).boxed()
        };
        Ok(Self { handle, schema, batches })
    }

    pub fn query_id(&self) -> &str {
        self.handle.query_id()
    }

    /// How the server runs the query: `direct`, `staged` or `metadata`.
    pub fn route(&self) -> &str {
        self.handle.route()
    }

    pub fn handle(&self) -> &QueryHandle {
        &self.handle
    }

    /// The columns of the result; empty for a statement that gives none.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next batch, or `None` at the end. After an error the stream is at its end.
    pub async fn next_batch(&mut self) -> Result<Option<RecordBatch>, Error> {
        self.next().await.transpose()
    }
}

impl Stream for QueryStream {
    type Item = Result<RecordBatch, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.batches.poll_next_unpin(cx));
        if !matches!(item, Some(Ok(_))) {
            // Ends the other endpoints' calls at once, and makes reading past an error safe.
            self.batches = stream::empty().boxed();
        }
        Poll::Ready(item)
    }
}

fn decode_schema(info: &FlightInfo) -> Result<SchemaRef, Error> {
    if info.schema.is_empty() {
        return Ok(Arc::new(Schema::empty()));
    }
    Schema::try_from(IpcMessage(info.schema.clone()))
        .map(Arc::new)
        .map_err(|error| Error::internal(format!("the server sent a schema that cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::*;

    fn server() -> Endpoint {
        "127.0.0.1:50051".parse().unwrap()
    }

    #[test]
    fn a_handle_knows_its_id_and_route() {
        let info = FlightInfo::new().with_app_metadata(r#"{"query_id":"q-7","route":"staged","more":1}"#);
        let handle = QueryHandle::new(info, server()).unwrap();
        assert_eq!((handle.query_id(), handle.route()), ("q-7", "staged"));
    }

    #[test]
    fn a_foreign_flight_server_is_recognised() {
        let error = QueryHandle::new(FlightInfo::new(), server()).unwrap_err();
        assert!(error.message.contains("127.0.0.1:50051"));
        assert!(error.hint.is_some());
    }

    #[test]
    fn the_schema_of_the_info_is_the_result_schema() {
        let schema = Schema::new(vec![Field::new("a", DataType::Int64, true)]);
        let info = FlightInfo::new().try_with_schema(&schema).unwrap();
        assert_eq!(*decode_schema(&info).unwrap(), schema);
        assert!(decode_schema(&FlightInfo::new()).unwrap().fields().is_empty());
    }
}
