//! Connections to the processes that hold rows of streams.

use std::collections::HashMap;
use std::time::Duration;

use arrow_flight::flight_service_client::FlightServiceClient;
use parking_lot::Mutex;
use polarway_common::{Error, ErrorKind};
use polarway_identity::{Credential, ProcessChannel};
use polarway_proto::status::{error_from_status, is_of_transport};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

const MESSAGE_BYTES: usize = 64 << 20;
const WINDOW_BYTES: u32 = 4 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Processes that come back have another address: at this number the connections begin anew.
const MAX_NODES: usize = 256;

/// One connection for each address, made when it is first used. Calls say which process they are from.
#[derive(Debug)]
pub struct NodeChannels {
    credential: Credential,
    channels: Mutex<HashMap<String, Channel>>,
}

impl NodeChannels {
    pub fn new(credential: Credential) -> Self {
        Self { credential, channels: Mutex::default() }
    }

    /// A client for the process at `address`, `host:port`.
    ///
    /// # Errors
    /// `Internal` when that is no address; whether anybody answers there is seen later.
    pub fn client(&self, address: &str) -> Result<FlightServiceClient<ProcessChannel>, Error> {
        let mut channels = self.channels.lock();
        let channel = match channels.get(address) {
            Some(channel) => channel.clone(),
            None => {
                if channels.len() >= MAX_NODES {
                    channels.clear();
                }
                let channel = self.credential.channel(&endpoint(address)?);
                channels.insert(address.to_owned(), channel.clone());
                channel
            }
        };
        Ok(FlightServiceClient::new(self.credential.on(channel)).max_decoding_message_size(MESSAGE_BYTES))
    }
}

fn endpoint(address: &str) -> Result<Endpoint, Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| Error::internal(format!("`{address}` is no address: {error}")))?;
    Ok(endpoint
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true))
}

/// What a failed call to the process at `address` means.
pub fn call_failed(address: &str, status: &Status) -> Error {
    let error = error_from_status(status);
    // A status that nobody of ours wrote: there was no answer.
    if is_of_transport(status) || error.kind == ErrorKind::ExecutorLost || status.code() == Code::Unknown {
        return Error::new(
            ErrorKind::StoreUnavailable,
            format!("the rows in memory at {address} cannot be reached: {}", error.message),
        )
        .with_hint(
            "run the statement again: if the process does not come back, another one takes the stream over",
        );
    }
    // It is this process that it does not know, not whoever has sent a statement here.
    if matches!(error.kind, ErrorKind::Unauthenticated | ErrorKind::NotAllowed) {
        let told = format!("the process at {address} refuses this one: {}", error.message);
        return Error::new(ErrorKind::Configuration, told)
            .with_hint("give all processes of the cluster certificates of `tls.ca`, or without TLS the same `identity.process_secret`");
    }
    error
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use polarway_proto::status::status_from_error;

    use super::*;

    #[test]
    fn whatever_the_transport_calls_it_a_broken_connection_may_be_tried_again() {
        let mut broken = Status::cancelled("operation was canceled");
        broken.set_source(Arc::new(std::io::Error::other("connection closed")));
        assert_eq!(call_failed("ingest-0:50052", &broken).kind, ErrorKind::StoreUnavailable);
        let said = status_from_error(&Error::new(ErrorKind::Cancelled, "by the process"));
        assert_eq!(call_failed("ingest-0:50052", &said).kind, ErrorKind::Cancelled);
    }

    #[test]
    fn row_47_a_process_that_is_not_known_is_no_fault_of_the_user() {
        for kind in [ErrorKind::Unauthenticated, ErrorKind::NotAllowed] {
            let error = call_failed("ingest-0:50052", &status_from_error(&Error::new(kind, "who is this")));
            assert_eq!(error.kind, ErrorKind::Configuration);
            assert!(
                error.message.contains("ingest-0:50052") && error.message.contains("who is this"),
                "{error}"
            );
        }
    }
}
