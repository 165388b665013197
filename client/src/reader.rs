//! Reads one endpoint of a result in a task of its own, a few batches ahead of its consumer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::{FlightEndpoint, Ticket};
use futures::{FutureExt, Stream, StreamExt};
use polarway_common::Error;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::Endpoint;
use crate::pool::Pool;
use crate::servers::Servers;
use crate::transport::Failure;

/// Batches decoded ahead of the consumer.
const READ_AHEAD: usize = 2;

/// Between two tries.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The batches of one endpoint. Dropping it ends the call, which tells the server to stop.
pub(crate) struct Reader {
    batches: mpsc::Receiver<Result<RecordBatch, Error>>,
    task: JoinHandle<()>,
    ended: bool,
}

impl Reader {
    /// Starts to read `endpoint` from the servers it names, or from `origin`, which gave it, or from another of `servers`
    /// when that is lost.
    pub(crate) fn spawn(
        pool: Arc<Pool>,
        servers: Arc<Servers>,
        origin: Endpoint,
        endpoint: FlightEndpoint,
    ) -> Self {
        let (sender, batches) = mpsc::channel(READ_AHEAD);
        let task = tokio::spawn(async move {
            if let Err(failure) = read(&pool, &servers, origin, endpoint, &sender).await {
                // A consumer that is gone has no use for the error.
                let _ = sender.send(Err(failure.into_error())).await;
            }
        });
        Self { batches, task, ended: false }
    }
}

impl Stream for Reader {
    type Item = Result<RecordBatch, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(batch) = ready!(self.batches.poll_recv(cx)) {
            return Poll::Ready(Some(batch));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        // A task that panicked closes the channel too; only its end tells whether the result is whole.
        let end = ready!(self.task.poll_unpin(cx));
        self.ended = true;
        Poll::Ready(end.err().map(|error| Err(Error::internal(format!("a result reader failed: {error}")))))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(
    pool: &Pool,
    servers: &Servers,
    mut origin: Endpoint,
    endpoint: FlightEndpoint,
    sender: &mpsc::Sender<Result<RecordBatch, Error>>,
) -> Result<(), Failure> {
    let mut failing: Option<Instant> = None;
    let mut pause = FIRST_PAUSE;
    loop {
        let mut passed = false;
        let failure = match read_once(pool, origin.clone(), endpoint.clone(), sender, &mut passed).await {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        // Once something was passed on, another run of the statement may give other batches.
        let again = !passed && endpoint.location.is_empty() && failure.is_elsewhere_retryable();
        let since = failing.get_or_insert_with(Instant::now);
        if !again || since.elapsed() + pause >= servers.retry_for {
            return Err(failure);
        }
        let next = servers.after(&origin);
        tracing::warn!(server = %origin, %next, error = %failure.into_error(), "a statement is sent again");
        pool.forget(&origin);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        origin = next;
        servers.answered(&origin);
    }
}

async fn read_once(
    pool: &Pool,
    origin: Endpoint,
    endpoint: FlightEndpoint,
    sender: &mpsc::Sender<Result<RecordBatch, Error>>,
    passed: &mut bool,
) -> Result<(), Failure> {
    let (server, mut stream) = open(pool, origin, endpoint).await?;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|error| Failure::from_flight(error, &server))?;
        *passed = true;
        if sender.send(Ok(batch)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Asks the servers the endpoint names, then its origin. Only a server that no connection was made to is passed over:
/// one that was reached may have run the statement already.
async fn open(
    pool: &Pool,
    origin: Endpoint,
    endpoint: FlightEndpoint,
) -> Result<(Endpoint, FlightRecordBatchStream), Failure> {
    let ticket = endpoint.ticket.unwrap_or_default();
    for location in &endpoint.location {
        let named = named_server(&location.uri, origin.is_tls());
        let Some(server) = named.filter(|server| !pool.is_avoided(server)) else { continue };
        match get(pool, &server, ticket.clone()).await {
            Ok(stream) => return Ok((server, stream)),
            Err(Failure::Unreachable(error)) => {
                tracing::debug!(%server, %origin, %error, "reading from the origin instead");
                pool.avoid(&server);
            }
            // The origin has proven who it is, and gives the same rows.
            Err(Failure::Untrusted(error)) => {
                tracing::warn!(%server, %origin, %error, "reading from the origin instead");
                pool.avoid(&server);
            }
            Err(failure) => return Err(failure),
        }
    }
    get(pool, &origin, ticket).await.map(|stream| (origin, stream))
}

async fn get(pool: &Pool, server: &Endpoint, ticket: Ticket) -> Result<FlightRecordBatchStream, Failure> {
    let asked = pool.call(server, |mut client| {
        let ticket = ticket.clone();
        async move { client.do_get(ticket).await.map_err(|error| Failure::from_flight(error, server)) }
    });
    asked.await
}

/// The server a location names; none for Flight's "reuse this connection", for schemes this client cannot speak, and for what
/// would leave TLS: rows of a statement that was planned with it are not read without. The other way round the client has
/// nobody to trust.
fn named_server(uri: &str, tls: bool) -> Option<Endpoint> {
    let (scheme, _) = uri.split_once("://")?;
    let is_spoken = match scheme {
        "grpc+tls" => tls,
        "grpc" | "grpc+tcp" => !tls,
        _ => false,
    };
    if is_spoken { uri.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reachable_kinds_of_location_name_a_server() {
        for uri in ["grpc+tcp://10.0.0.1:50052", "grpc://10.0.0.1:50052"] {
            assert_eq!(named_server(uri, false).unwrap().to_string(), "10.0.0.1:50052");
        }
        for uri in ["arrow-flight-reuse-connection://?", "s3://bucket/key", "10.0.0.1:50052", ""] {
            assert!(named_server(uri, false).is_none() && named_server(uri, true).is_none(), "{uri}");
        }
    }

    #[test]
    fn row_47_no_location_leads_out_of_tls_or_into_it() {
        let uri = "grpc+tls://10.0.0.1:50052";
        assert_eq!(named_server(uri, true).unwrap().to_string(), "https://10.0.0.1:50052");
        assert!(named_server(uri, false).is_none());
        for uri in ["grpc+tcp://10.0.0.1:50052", "grpc://10.0.0.1:50052", "http://10.0.0.1:50052"] {
            assert!(named_server(uri, true).is_none(), "{uri}");
        }
    }
}
