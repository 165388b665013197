//! A server to test, and waiting for conditions.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use polarway_identity::{Identity, Security};
use polarway_ingest::socket::{Closed, Options, OptionsError, SocketMetrics, serve};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::sink::{Memory, Shared};

pub struct Server {
    pub address: SocketAddr,
    pub memory: Arc<Memory>,
    pub metrics: Arc<SocketMetrics>,
    pub stop: CancellationToken,
    task: JoinHandle<Result<(), OptionsError>>,
}

impl Server {
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Self {
        Self::knowing(Identity::open(), options).await
    }

    pub async fn knowing(identity: Identity, options: Options) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), identity, options)
    }

    /// Sockets whose buffers hold little, so that a peer that does not read is felt soon.
    pub async fn with_small_buffers(options: Options) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(4096).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self::on(socket.listen(16).unwrap(), Identity::open(), options)
    }

    fn on(listener: TcpListener, identity: Identity, options: Options) -> Self {
        let address = listener.local_addr().unwrap();
        let memory = Memory::new();
        let (metrics, stop) = (Arc::<SocketMetrics>::default(), CancellationToken::new());
        let streams = Arc::new(Shared(Arc::clone(&memory)));
        let serving =
            serve(listener, streams, Security::plain(identity), options, Arc::clone(&metrics), stop.clone());
        let task = tokio::spawn(serving);
        Self { address, memory, metrics, stop, task }
    }

    /// Waits until so many connections have ended for this reason.
    pub async fn closed(&self, reason: Closed, connections: u64) {
        until(|| self.metrics.closed(reason) >= connections).await;
        assert_eq!(self.metrics.closed(reason), connections);
    }

    pub fn count(&self, counter: impl Fn(&SocketMetrics) -> &AtomicU64) -> u64 {
        counter(&self.metrics).load(SeqCst)
    }

    /// Waits for the end of `serve`.
    pub async fn ended(self) {
        within(self.task).await.unwrap().unwrap();
        assert_eq!(self.metrics.connections.load(SeqCst), 0, "no connection is left");
    }

    /// Drops the future of `serve`.
    pub fn abort(self) {
        self.task.abort();
    }

    pub async fn shutdown(self) {
        self.stop.cancel();
        self.ended().await;
    }
}

/// No test waits longer than this for one thing.
pub async fn within<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(30), future).await.expect("it takes too long")
}

pub async fn until(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
