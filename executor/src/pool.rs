//! Long-lived connections to other executors, one a peer; HTTP/2 carries any number of fetches over it.
//!
//! Where output is copied, a fetch from a peer that has just failed goes to this executor's own door, which gives the
//! stored copy. Readers try again a few times in about a second, and so come to either, whichever has it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ballista_core::client::BallistaClient;
use ballista_core::client_pool::{BallistaClientPool, PooledClient};
use ballista_core::error::Result;
use ballista_core::extension::BallistaConfigGrpcEndpoint;
use ballista_core::utils::GrpcClientConfig;
use parking_lot::Mutex;
use polarway_tls::Tls;
use tonic::transport::Endpoint;

/// For so long after its first failure nothing is asked of a peer; twice as long after each further one.
const FIRST_AVOIDANCE: Duration = Duration::from_millis(600);
const LONGEST_AVOIDANCE: Duration = Duration::from_secs(10);

/// After this a peer counts as one that does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const KEEPALIVE: Duration = Duration::from_secs(2);

/// Host and port.
type Address = (String, u16);

#[derive(Default)]
struct Peer {
    client: Option<BallistaClient>,
    failures: u32,
    avoided_until: Option<Instant>,
}

impl Peer {
    fn failed(&mut self, now: Instant) {
        // Failures of calls that began together are one.
        if self.is_avoided(now) {
            return;
        }
        self.client = None;
        let avoidance = FIRST_AVOIDANCE.saturating_mul(1 << self.failures.min(8)).min(LONGEST_AVOIDANCE);
        self.failures += 1;
        self.avoided_until = Some(now + avoidance);
    }

    fn is_avoided(&self, now: Instant) -> bool {
        self.avoided_until.is_some_and(|until| now < until)
    }
}

type Peers = Arc<Mutex<HashMap<Address, Peer>>>;

/// See the module's page. Bounded by the number of executors there have been.
pub struct PeerPool {
    peers: Peers,
    /// Where this executor itself is reached, if it gives stored copies.
    copies: Option<Address>,
    tls: Tls,
}

impl PeerPool {
    pub fn new(copies: Option<Address>, tls: Tls) -> Self {
        Self { peers: Arc::default(), copies, tls }
    }

    async fn client(&self, address: &Address, config: &GrpcClientConfig) -> Result<BallistaClient> {
        let known = self.peers.lock().get(address).and_then(|peer| peer.client.clone());
        if let Some(client) = known {
            return Ok(client);
        }
        let client = BallistaClient::try_new(
            &address.0,
            address.1,
            config.max_message_size,
            config.use_tls,
            Some(Arc::new(dialling(self.tls.clone(), config))),
            config.io_retries_times,
            config.io_retry_wait_time_ms,
            config.initial_connection_window_size,
            config.initial_stream_window_size,
        )
        .await?;
        self.peers.lock().entry(address.clone()).or_default().client = Some(client.clone());
        Ok(client)
    }
}

/// With TLS, if there is TLS; and so that the silence of a peer is noticed.
pub fn dialling(tls: Tls, config: &GrpcClientConfig) -> BallistaConfigGrpcEndpoint {
    let window = |bytes: u32| (bytes > 0).then_some(bytes);
    let connection = window(config.initial_connection_window_size);
    let stream = window(config.initial_stream_window_size);
    BallistaConfigGrpcEndpoint::new(Arc::new(move |endpoint: Endpoint| {
        // It may be a new one, without what Ballista has set.
        Ok(tls
            .on_endpoint(endpoint)?
            .initial_connection_window_size(connection)
            .initial_stream_window_size(stream)
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE))
    }))
}

impl fmt::Debug for PeerPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerPool({} peers)", self.peers.lock().len())
    }
}

/// Whether a call went well is only told by what becomes of its client: it is given back, or it is not.
struct Call {
    peers: Peers,
    address: Address,
    went_well: bool,
}

impl Call {
    fn went_well(mut self) {
        self.went_well = true;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut peers = self.peers.lock();
        let peer = peers.entry(self.address.clone()).or_default();
        if self.went_well {
            peer.failures = 0;
            peer.avoided_until = None;
        } else {
            peer.failed(Instant::now());
        }
    }
}

#[async_trait]
impl BallistaClientPool for PeerPool {
    async fn acquire(
        &self,
        host: &str,
        port: u16,
        config: &GrpcClientConfig,
        _: Option<Arc<BallistaConfigGrpcEndpoint>>,
    ) -> Result<PooledClient> {
        let address = (host.to_owned(), port);
        let avoided = self.peers.lock().get(&address).is_some_and(|peer| peer.is_avoided(Instant::now()));
        if avoided && let Some(own) = &self.copies {
            let client = self.client(own, config).await?;
            return Ok(PooledClient::new(client, Box::new(drop)));
        }
        let client = self.client(&address, config).await.inspect_err(|_| {
            self.peers.lock().entry(address.clone()).or_default().failed(Instant::now());
        })?;
        let call = Call { peers: Arc::clone(&self.peers), address, went_well: false };
        // Nothing to give back: clones share one channel.
        Ok(PooledClient::new(client, Box::new(move |_| call.went_well())))
    }

    async fn evict_idle(&self) {
        self.peers.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_fails_again_is_avoided_longer() {
        let start = Instant::now();
        let mut peer = Peer::default();
        assert!(!peer.is_avoided(start));
        peer.failed(start);
        peer.failed(start);
        assert!(peer.is_avoided(start) && !peer.is_avoided(start + FIRST_AVOIDANCE));
        let again = start + FIRST_AVOIDANCE;
        peer.failed(again);
        assert!(peer.is_avoided(again + FIRST_AVOIDANCE));
        assert!(!peer.is_avoided(again + 2 * FIRST_AVOIDANCE));
        for _ in 0..100 {
            peer.failed(again + 2 * LONGEST_AVOIDANCE);
        }
        assert!(!peer.is_avoided(again + 4 * LONGEST_AVOIDANCE));
    }

    #[tokio::test]
    async fn a_peer_that_cannot_be_reached_is_stood_in_for_by_the_own_door() {
        let own = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        // Takes connections; that no HTTP/2 comes back is not noticed before a call is made.
        let own_port = own.local_addr().unwrap().port();
        let config = GrpcClientConfig::default();
        let pool = PeerPool::new(Some(("127.0.0.1".to_owned(), own_port)), Tls::default());
        assert!(pool.acquire("127.0.0.1", gone, &config, None).await.is_err());
        assert!(pool.acquire("127.0.0.1", gone, &config, None).await.is_ok());
        let without = PeerPool::new(None, Tls::default());
        assert!(without.acquire("127.0.0.1", gone, &config, None).await.is_err());
        assert!(without.acquire("127.0.0.1", gone, &config, None).await.is_err());
    }
}
