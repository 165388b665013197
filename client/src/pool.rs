//! Long-lived connections, one for each server that holds a part of a result.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use arrow_flight::FlightClient;
use arrow_flight::flight_service_client::FlightServiceClient;
use polarway_common::Error;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Uri};

use crate::credentials::Credentials;
use crate::dialler::Dialler;
use crate::transport::{Failure, unreachable};
use crate::{Endpoint, TraceContext};

/// Largest message accepted from a server. Servers send batches of a few MiB; one huge value may need more.
const MAX_MESSAGE: usize = 64 << 20;
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How much of a result may be in flight before a slow consumer stops the server.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// A batch is a frame or two. In frames of HTTP/2's 16 KiB, counting them costs both sides more than moving the bytes.
const FRAME: u32 = 1 << 20;
/// How long a server that did not accept a connection is not tried again for a part of a result.
const AVOID_FOR: Duration = Duration::from_secs(30);
const AUTHORIZATION: &str = "authorization";
const TRACEPARENT: &str = "traceparent";

enum Slot {
    Open(Channel),
    /// Nobody accepted connections there at this time.
    Refused(Instant),
}

pub(crate) struct Pool {
    slots: Mutex<HashMap<Endpoint, Slot>>,
    connect_timeout: Duration,
    dialler: Dialler,
    cookie: MetadataValue<Ascii>,
    credentials: Credentials,
    trace: Option<TraceContext>,
}

impl Pool {
    pub(crate) fn new(
        connect_timeout: Duration,
        dialler: Dialler,
        cookie: MetadataValue<Ascii>,
        credentials: Credentials,
        trace: Option<TraceContext>,
    ) -> Self {
        Self { slots: Mutex::new(HashMap::new()), connect_timeout, dialler, cookie, credentials, trace }
    }

    /// What a call to `server` gives. If that does not take the token, and the token's file has another one by now, the
    /// call is made once more: one that is refused so has not been carried out.
    pub(crate) async fn call<T, C>(
        &self,
        server: &Endpoint,
        make: impl Fn(FlightClient) -> C,
    ) -> Result<T, Failure>
    where
        C: Future<Output = Result<T, Failure>>,
    {
        let mut is_second = false;
        loop {
            let client = self.client(server).await?;
            // Of this call: others may have read the file since.
            let sent = client.metadata().get(AUTHORIZATION).cloned();
            let failure = match make(client).await {
                Err(failure) if failure.is_unauthenticated() => failure,
                made => return made,
            };
            let has_other = match &sent {
                Some(sent) => self.credentials.has_other_than(sent).await,
                None => false,
            };
            if is_second || !has_other {
                return Err(failure);
            }
            is_second = true;
        }
    }

    /// Takes the token that its file has by now, for a call that cannot be made twice.
    pub(crate) async fn refresh_token(&self) {
        self.credentials.refresh().await;
    }

    /// A Flight client on the pooled connection to `server`, made now if there is none.
    pub(crate) async fn client(&self, server: &Endpoint) -> Result<FlightClient, Failure> {
        if let Some(Slot::Open(channel)) = self.lock().get(server) {
            return Ok(self.flight(server, channel.clone()));
        }
        match self.connect(server).await {
            Ok(channel) => {
                self.lock().insert(server.clone(), Slot::Open(channel.clone()));
                self.credentials.refresh().await;
                Ok(self.flight(server, channel))
            }
            Err(failure) => {
                self.avoid(server);
                Err(failure)
            }
        }
    }

    /// Whether a connection to `server` failed so recently that trying again would only cost time.
    pub(crate) fn is_avoided(&self, server: &Endpoint) -> bool {
        matches!(self.lock().get(server), Some(Slot::Refused(at)) if at.elapsed() < AVOID_FOR)
    }

    /// Drops the connection to `server`; the next call makes a new one.
    pub(crate) fn forget(&self, server: &Endpoint) {
        self.lock().remove(server);
    }

    /// Drops the connection to `server` and leaves it alone for a while.
    pub(crate) fn avoid(&self, server: &Endpoint) {
        self.lock().insert(server.clone(), Slot::Refused(Instant::now()));
    }

    async fn connect(&self, server: &Endpoint) -> Result<Channel, Failure> {
        let refused = |error: tonic::transport::Error| Failure::from_dial(&error, server);
        let connector = self.dialler.connector_to(server).map_err(Failure::Answer)?;
        let origin = server.origin().parse::<Uri>().map_err(|error| {
            Failure::Answer(Error::internal(format!("the address {server} is no URI: {error}")))
        })?;
        let endpoint = tonic::transport::Endpoint::from_shared(server.uri())
            .map_err(refused)?
            .origin(origin)
            .connect_timeout(self.connect_timeout)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME);
        // The transport's own timeout, which connections that are made anew have, does not cover the first words of HTTP/2.
        match tokio::time::timeout(self.connect_timeout, endpoint.connect_with_connector(connector)).await {
            Ok(connected) => connected.map_err(refused),
            Err(_) => Err(Failure::Unreachable(unreachable(
                server,
                &format!("no answer within {:?}", self.connect_timeout),
            ))),
        }
    }

    /// A server that only a result names gets what the result says for it, and nothing by which it could pass for the caller.
    fn flight(&self, server: &Endpoint, channel: Channel) -> FlightClient {
        let service = FlightServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let mut client = FlightClient::new_from_inner(service);
        if self.credentials.is_configured(server) {
            let metadata = client.metadata_mut();
            metadata.insert("cookie", self.cookie.clone());
            if let Some(header) = self.credentials.header() {
                metadata.insert(AUTHORIZATION, header);
            }
            if let Some(header) = self.trace.as_ref().and_then(TraceContext::header) {
                metadata.insert(TRACEPARENT, header);
            }
        }
        client
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Endpoint, Slot>> {
        // The map holds no invariant across entries, so a panic elsewhere does not spoil it.
        self.slots.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use polarway_common::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn a_server_that_refuses_is_named_and_then_avoided() {
        // Bound and dropped, so that nobody listens there.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server: Endpoint = listener.local_addr().unwrap().to_string().parse().unwrap();
        drop(listener);
        let credentials = Credentials::load(None, vec![server.clone()]).await.unwrap();
        let dialler = Dialler::to(std::slice::from_ref(&server), None).await.unwrap();
        let cookie = MetadataValue::from_static("a=b");
        let pool = Pool::new(Duration::from_secs(5), dialler, cookie, credentials, None);
        assert!(!pool.is_avoided(&server));
        let Err(Failure::Unreachable(error)) = pool.client(&server).await else { panic!("connected") };
        assert_eq!(error.kind, ErrorKind::Draining);
        assert!(error.message.contains(&format!("cannot reach polarway at {server}: ")), "{}", error.message);
        assert!(error.message.to_lowercase().contains("refused"), "{}", error.message);
        assert!(error.hint.unwrap().contains("polarway up"));
        assert!(pool.is_avoided(&server));
    }
}
