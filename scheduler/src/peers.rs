//! Long-lived channels to executors, and how many plans each of them runs for this scheduler.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Action, FlightData, Ticket};
use ballista_core::serde::protobuf::RemoveJobDataParams;
use ballista_core::serde::protobuf::executor_grpc_client::ExecutorGrpcClient;
use bytes::Bytes;
use parking_lot::Mutex;
use polarway_common::address::url_host;
use polarway_common::{Error, ErrorKind};
use polarway_identity::Credential;
use polarway_proto::progress::{
    FLUSH_SHUFFLE_ACTION, NODE_STATUS_ACTION, NodeStatus, RUNNING_TASKS_ACTION, SHUFFLE_REQUESTS_ACTION,
};
use polarway_proto::status::{error_from_status, is_of_transport};
use polarway_storage::shuffle::Requests;
use polarway_telemetry::signed;
use serde::de::DeserializeOwned;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

const MESSAGE_BYTES: usize = 64 * 1024 * 1024;
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a query waits for copies that spare it work.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Where an executor listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerAddress {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", url_host(&self.host), self.port)
    }
}

#[derive(Debug)]
struct Peer {
    channel: Channel,
    in_flight: Arc<AtomicUsize>,
}

/// See the module's page.
#[derive(Debug)]
pub struct Peers {
    credential: Credential,
    peers: Mutex<HashMap<PeerAddress, Peer>>,
}

/// Counts a plan as running on its executor while it lives.
#[derive(Debug)]
pub struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Peers {
    /// `credential` is what this process shows to them.
    pub fn new(credential: Credential) -> Self {
        Self { credential, peers: Mutex::default() }
    }

    fn channel(&self, address: &PeerAddress) -> Result<(Channel, Arc<AtomicUsize>), Error> {
        let mut peers = self.peers.lock();
        if let Some(peer) = peers.get(address) {
            return Ok((peer.channel.clone(), Arc::clone(&peer.in_flight)));
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| Error::internal(format!("an executor's address is not valid: {error}")))?
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true);
        let channel = self.credential.channel(&endpoint);
        let in_flight = Arc::new(AtomicUsize::new(0));
        peers.insert(address.clone(), Peer { channel: channel.clone(), in_flight: Arc::clone(&in_flight) });
        Ok((channel, in_flight))
    }

    /// Forgets executors that are gone.
    pub fn retain(&self, alive: impl Fn(&PeerAddress) -> bool) {
        self.peers
            .lock()
            .retain(|address, peer| alive(address) || peer.in_flight.load(Ordering::Relaxed) > 0);
    }

    /// How many plans the executor runs for this scheduler.
    pub fn load(&self, address: &PeerAddress) -> usize {
        self.peers.lock().get(address).map_or(0, |peer| peer.in_flight.load(Ordering::Relaxed))
    }

    /// Opens a stream of an executor's; a broken connection counts as the executor's loss.
    pub async fn open(
        &self,
        address: &PeerAddress,
        ticket: Bytes,
    ) -> Result<(Streaming<FlightData>, InFlight), Error> {
        let (channel, counter) = self.channel(address)?;
        counter.fetch_add(1, Ordering::Relaxed);
        let in_flight = InFlight(counter);
        let stream = FlightServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES)
            .do_get(signed(Ticket { ticket }))
            .await
            .map_err(|status| executor_error(&status))?
            .into_inner();
        Ok((stream, in_flight))
    }

    /// Asks an executor for the ids of the tasks of a job that it runs, as stage and task.
    pub async fn running_tasks(&self, address: &PeerAddress, job_id: &str) -> Result<Vec<(u64, u64)>, Error> {
        self.ask(address, RUNNING_TASKS_ACTION, job_id).await
    }

    /// What an executor has asked of the object store for a job's query.
    pub async fn shuffle_requests(&self, address: &PeerAddress, job_id: &str) -> Result<Requests, Error> {
        self.ask(address, SHUFFLE_REQUESTS_ACTION, job_id).await
    }

    /// Whether an executor answers within `limit`.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn greet(&self, address: &PeerAddress, limit: Duration) -> Result<(), Error> {
        let asked = self.ask::<NodeStatus>(address, NODE_STATUS_ACTION, "");
        match tokio::time::timeout(limit, asked).await {
            Ok(answer) => answer.map(drop),
            Err(_) => Err(Error::new(ErrorKind::ExecutorLost, "it does not answer in time")),
        }
    }

    /// How an executor is doing, if it says so within `limit`.
    pub async fn status(&self, address: &PeerAddress, limit: Duration) -> Option<NodeStatus> {
        tokio::time::timeout(limit, self.ask(address, NODE_STATUS_ACTION, "")).await.ok()?.ok()
    }

    /// Has an executor copy what tasks of a job have finished there, within [`FLUSH_TIMEOUT`]. One that cannot is no
    /// error: what has not been copied runs again.
    pub async fn flush_shuffle(&self, address: &PeerAddress, job_id: &str) {
        let call = self.ask::<usize>(address, FLUSH_SHUFFLE_ACTION, job_id);
        match tokio::time::timeout(FLUSH_TIMEOUT, call).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::info!(job = job_id, executor = %address, %error, "output was not copied");
            }
            Err(_) => tracing::info!(job = job_id, executor = %address, "output was not copied in time"),
        }
    }

    /// The answer (JSON) to an action about a job; one that says nothing has nothing to say.
    async fn ask<T: DeserializeOwned + Default>(
        &self,
        address: &PeerAddress,
        action: &str,
        job_id: &str,
    ) -> Result<T, Error> {
        let (channel, _) = self.channel(address)?;
        let request = Action { r#type: action.to_owned(), body: Bytes::copy_from_slice(job_id.as_bytes()) };
        let mut results = FlightServiceClient::new(channel)
            .do_action(request)
            .await
            .map_err(|status| executor_error(&status))?
            .into_inner();
        match results.message().await.map_err(|status| executor_error(&status))? {
            Some(result) => serde_json::from_slice(&result.body).map_err(|error| {
                Error::internal(format!("an executor's answer to {action} cannot be read: {error}"))
            }),
            None => Ok(T::default()),
        }
    }

    /// Removes a job's files on an executor and stops what it still runs of the job. Gives whether it did.
    pub async fn remove_job(&self, address: &PeerAddress, job_id: &str) -> bool {
        let Ok((channel, _)) = self.channel(address) else { return false };
        let mut client = ExecutorGrpcClient::new(channel);
        let request = RemoveJobDataParams { job_id: job_id.to_owned(), remove_stage_ids: vec![] };
        match tokio::time::timeout(CLEANUP_TIMEOUT, client.remove_job_data(request)).await {
            Ok(Ok(_)) => true,
            Ok(Err(status)) => {
                tracing::debug!(job = job_id, executor = %address, %status, "clean-up failed");
                false
            }
            Err(_) => {
                tracing::debug!(job = job_id, executor = %address, "clean-up timed out");
                false
            }
        }
    }
}

/// A status from an executor: typed where the executor typed it; a transport failure is a loss.
pub fn executor_error(status: &tonic::Status) -> Error {
    let error = error_from_status(status);
    let untyped = error.kind == ErrorKind::Internal
        && matches!(status.code(), tonic::Code::Unavailable | tonic::Code::Unknown);
    if is_of_transport(status) || untyped {
        return Error::new(ErrorKind::ExecutorLost, format!("an executor broke off: {}", error.message));
    }
    error
}

#[cfg(test)]
mod tests {
    use polarway_proto::status::status_from_error;

    use super::*;

    #[test]
    fn whatever_the_transport_calls_it_a_broken_connection_is_a_loss() {
        let broken = |mut status: tonic::Status| {
            status.set_source(Arc::new(std::io::Error::other("connection closed")));
            executor_error(&status).kind
        };
        for status in [
            tonic::Status::cancelled("operation was canceled"),
            tonic::Status::unavailable("error trying to connect"),
            tonic::Status::unknown("h2 protocol error"),
            tonic::Status::internal("stream was reset"),
        ] {
            assert_eq!(broken(status.clone()), ErrorKind::ExecutorLost, "{status:?}");
        }
        // What an executor says itself is what it says.
        for kind in [ErrorKind::Cancelled, ErrorKind::OutOfMemory, ErrorKind::Internal] {
            let said = status_from_error(&Error::new(kind, "by the executor"));
            assert_eq!(executor_error(&said).kind, kind);
        }
    }

    #[tokio::test]
    async fn an_executor_at_an_ipv6_address_can_be_called() {
        for host in ["::1", "[::1]"] {
            let address = PeerAddress { host: host.to_owned(), port: 50052 };
            assert_eq!(address.to_string(), "[::1]:50052");
            assert!(Peers::new(Credential::default()).channel(&address).is_ok());
        }
    }
}
