//! Accepting connections, and ending them all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use polarway_identity::connection::Connection as Accepted;
use polarway_identity::{Identity, Party, Security, audit};
use polarway_tls::{Protocol, Tls};
use tokio::net::{TcpListener, TcpStream};
use tokio::select;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::metrics::{Closed, SocketMetrics, add};
use super::options::{Options, OptionsError};
use super::sink::Streams;
use super::upgrade::upgrade;

/// How many clients are told 503 at once because of `max_connections`; further ones are dropped without a word, so
/// that refusing costs a bounded amount too.
const REFUSING: usize = 64;

/// After a failed accept, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

struct Shared {
    streams: Arc<dyn Streams>,
    identity: Identity,
    tls: Tls,
    options: Options,
    metrics: Arc<SocketMetrics>,
    stop: CancellationToken,
}

/// Serves clients that push rows, as far as `security` knows them, until `shutdown` is cancelled. Then nothing is accepted or read any more; what was
/// read is acknowledged, as long as [`Options::grace`] allows, and the connections are closed with 1012. When this
/// returns no task is left. Dropping the future ends all connections at once.
///
/// # Errors
/// If `options` do not make sense. Failures of single connections or of accepting are logged.
pub async fn serve(
    listener: TcpListener,
    streams: Arc<dyn Streams>,
    security: Security,
    options: Options,
    metrics: Arc<SocketMetrics>,
    shutdown: CancellationToken,
) -> Result<(), OptionsError> {
    options.check()?;
    let places = Arc::new(Semaphore::new(options.max_connections.min(Semaphore::MAX_PERMITS)));
    let refusals = Arc::new(Semaphore::new(REFUSING));
    let Security { identity, tls, .. } = security;
    let shared = Arc::new(Shared { streams, identity, tls, options, metrics, stop: shutdown });
    let mut tasks = JoinSet::new();
    loop {
        let accepted = select! {
            biased;
            () = shared.stop.cancelled() => break,
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                shared.ended(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (socket, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                select! {
                    () = shared.stop.cancelled() => break,
                    () = sleep(ACCEPT_PAUSE) => continue,
                }
            }
        };
        let place = Arc::clone(&places).try_acquire_owned().map(|permit| (permit, false));
        let place = place.or_else(|_| Arc::clone(&refusals).try_acquire_owned().map(|permit| (permit, true)));
        match place {
            Ok((permit, full)) => {
                tasks.spawn(attend(Arc::clone(&shared), socket, remote, permit, full));
            }
            Err(_) => add(&shared.metrics.refused, 1),
        }
    }
    drop(listener);
    while let Some(ended) = tasks.join_next().await {
        shared.ended(ended);
    }
    Ok(())
}

impl Shared {
    fn ended(&self, ended: Result<(), JoinError>) {
        if let Err(error) = ended {
            tracing::error!(%error, "a connection's task panicked");
            self.metrics.count_closed(Closed::Internal);
        }
    }
}

/// One connection, from accept to its end. `full`: it is one too many.
async fn attend(
    shared: Arc<Shared>,
    socket: TcpStream,
    remote: SocketAddr,
    _permit: OwnedSemaphorePermit,
    full: bool,
) {
    let Shared { streams, identity, tls, options, metrics, stop } = shared.as_ref();
    let accepted = select! {
        biased;
        () = stop.cancelled() => return,
        accepted = Accepted::accept(socket, remote, tls, Protocol::WebSocket) => accepted,
    };
    let Ok(mut socket) = accepted else {
        add(&metrics.refused, 1);
        return;
    };
    let Some(upgraded) = upgrade(&mut socket, streams.as_ref(), identity, options, full, stop).await else {
        add(&metrics.refused, 1);
        return;
    };
    let (feed, opening) = (upgraded.feed, upgraded.opening);
    let name = feed.name().to_owned();
    let producer = opening.producer.clone();
    tracing::debug!(stream = name, producer, "a client is connected");
    if let Party::User { caller, .. } = &upgraded.party {
        audit::changed(caller, "writes to a stream", &name, &Ok(()));
    }
    let _open = Open::new(metrics);
    let ack = opening.ack.unwrap_or(feed.default_ack());
    let connection = Connection {
        feed,
        producer: opening.producer,
        ack,
        options,
        metrics,
        stop: stop.clone(),
        identity,
        party: upgraded.party,
    };
    let closed = Box::pin(connection.run(socket, upgraded.early)).await;
    metrics.count_closed(closed);
    tracing::debug!(stream = name, producer, reason = closed.name(), "a client's connection has ended");
}

/// Counts a connection as open while it lives, also if it panics.
struct Open<'a>(&'a SocketMetrics);

impl<'a> Open<'a> {
    fn new(metrics: &'a SocketMetrics) -> Self {
        add(&metrics.connections, 1);
        add(&metrics.connections_total, 1);
        Self(metrics)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}
