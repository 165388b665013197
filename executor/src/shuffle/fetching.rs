//! The way to other executors for the reader of a task that is traced: each fetch has a span. It lasts until the answer begins;
//! Ballista tells of nothing after that, and takes no header with a fetch, so that the executor asked has no span of it.

use std::sync::Arc;

use async_trait::async_trait;
use ballista_core::client_pool::{BallistaClientPool, PooledClient};
use ballista_core::error::Result;
use ballista_core::extension::BallistaConfigGrpcEndpoint;
use ballista_core::utils::GrpcClientConfig;
use polarway_common::trace::{is_traced, is_wanted};
use tracing::{Instrument, Span};

use crate::spans;

/// See the module's page. One a task.
#[derive(Debug)]
pub struct TracedPool {
    clients: Arc<dyn BallistaClientPool>,
    /// The span of the task. Fetches have tasks of their own.
    task: Span,
    job: String,
    stage: usize,
}

impl TracedPool {
    /// `clients`, in spans if the task of `stage` that this is called in is traced.
    pub fn of_task(
        clients: &Arc<dyn BallistaClientPool>,
        job: &str,
        stage: usize,
    ) -> Arc<dyn BallistaClientPool> {
        if !is_traced() {
            return Arc::clone(clients);
        }
        let clients = Arc::clone(clients);
        Arc::new(Self { clients, task: Span::current(), job: job.to_owned(), stage })
    }
}

/// A client that is out for a fetch.
struct Fetch {
    client: Option<PooledClient>,
    span: Span,
}

impl Fetch {
    /// The fetch has begun to give rows, or nobody wants them any more.
    fn end(mut self) {
        self.client = None;
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        // It was not given back.
        if let Some(client) = self.client.take() {
            client.discard();
            self.span.record("otel.status_code", "ERROR");
        }
    }
}

#[async_trait]
impl BallistaClientPool for TracedPool {
    async fn acquire(
        &self,
        host: &str,
        port: u16,
        config: &GrpcClientConfig,
        endpoint: Option<Arc<BallistaConfigGrpcEndpoint>>,
    ) -> Result<PooledClient> {
        let acquiring = self.clients.acquire(host, port, config, endpoint);
        if !self.task.in_scope(is_wanted) {
            return acquiring.await;
        }
        let span = spans::shuffle_fetch(&self.task, &self.job, self.stage, &format!("{host}:{port}"));
        let client = acquiring.instrument(span.clone()).await.inspect_err(|_| {
            span.record("otel.status_code", "ERROR");
        })?;
        let lent = (*client).clone();
        let fetch = Fetch { client: Some(client), span };
        Ok(PooledClient::new(lent, Box::new(move |_| fetch.end())))
    }

    async fn evict_idle(&self) {
        self.clients.evict_idle().await;
    }
}

#[cfg(test)]
mod tests {
    use ballista_core::client::BallistaClient;
    use polarway_tls::Tls;

    use super::*;
    use crate::pool::PeerPool;

    #[tokio::test]
    async fn row_48_a_fetch_in_a_span_ends_as_one_without() {
        let gone = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let peer = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = peer.local_addr().unwrap().port();
        let clients: Arc<dyn BallistaClientPool> = Arc::new(PeerPool::new(None, Tls::default()));
        // Nothing is traced here.
        assert!(Arc::ptr_eq(&TracedPool::of_task(&clients, "job", 1), &clients));
        let traced = TracedPool { clients, task: Span::none(), job: "job".to_owned(), stage: 1 };
        let config = GrpcClientConfig::default();
        assert!(traced.acquire("127.0.0.1", gone, &config, None).await.is_err());
        assert!(traced.acquire("127.0.0.1", port, &config, None).await.is_ok());
    }

    #[tokio::test]
    async fn row_48_a_client_that_is_not_given_back_is_discarded_beneath() {
        let peer = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pool = PeerPool::new(None, Tls::default());
        let (port, config) = (peer.local_addr().unwrap().port(), GrpcClientConfig::default());
        let given_back = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let lend = |client: BallistaClient| {
            let given_back = Arc::clone(&given_back);
            let told = move |_: BallistaClient| given_back.store(true, std::sync::atomic::Ordering::Relaxed);
            Fetch { client: Some(PooledClient::new(client, Box::new(told))), span: Span::none() }
        };
        let client = (*pool.acquire("127.0.0.1", port, &config, None).await.unwrap()).clone();
        drop(lend(client.clone()));
        assert!(!given_back.load(std::sync::atomic::Ordering::Relaxed));
        lend(client).end();
        assert!(given_back.load(std::sync::atomic::Ordering::Relaxed));
    }
}
