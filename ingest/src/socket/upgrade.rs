//! From an accepted socket to an upgraded connection.

use std::sync::Arc;
use std::time::Duration;

use polarway_identity::connection::{Connection, ConnectionInfo, Link};
use polarway_identity::{Identity, Party};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::select;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::server::write_response;
use tokio_util::sync::CancellationToken;

use super::admission::admit;
use super::connection::discard;
use super::handshake::{Opening, decide};
use super::head::Head;
use super::options::Options;
use super::refusal::Refusal;
use super::sink::{Feed, Streams};

/// A connection whose client has been told 101.
pub(super) struct Upgraded {
    pub feed: Arc<dyn Feed>,
    pub opening: Opening,
    /// Who the client is.
    pub party: Party,
    /// Bytes that came behind the request's head.
    pub early: Vec<u8>,
}

/// Does the handshake. None: the client has been refused, or has gone.
pub(super) async fn upgrade(
    socket: &mut Connection,
    streams: &dyn Streams,
    identity: &Identity,
    options: &Options,
    full: bool,
    stop: &CancellationToken,
) -> Option<Upgraded> {
    let opened = select! {
        biased;
        () = stop.cancelled() => Err(Some(Refusal::draining(options.retry_after))),
        opened = timeout(options.handshake_timeout, open(socket, streams, identity, options, full)) => {
            opened.unwrap_or_else(|_| Err(Some(Refusal::too_slow())))
        }
    };
    match opened {
        Ok(upgraded) => {
            let mut response = Vec::new();
            write_response(&mut response, &upgraded.opening.response).ok()?;
            send(socket, &response, options.write_timeout).await.then_some(upgraded)
        }
        Err(refusal) => {
            let refusal = refusal?;
            tracing::debug!(status = refusal.status.as_u16(), body = refusal.body, "a client is refused");
            if send(socket, &refusal.to_bytes(), options.write_timeout).await
                && matches!(timeout(options.write_timeout, socket.shutdown()).await, Ok(Ok(())))
            {
                // As after a close frame: unread bytes would take the answer with them.
                let _ = timeout(options.close_timeout, discard(socket)).await;
            }
            None
        }
    }
}

/// Reads the request and opens its stream.
async fn open(
    socket: &mut Connection,
    streams: &dyn Streams,
    identity: &Identity,
    options: &Options,
    full: bool,
) -> Result<Upgraded, Option<Refusal>> {
    let info = socket.info();
    let (head, early) = Head::read(socket, options.max_head_bytes).await.map_err(Refusal::of_head)?;
    if full {
        return Err(Some(Refusal::too_many(options.retry_after)));
    }
    let opening = decide(&head)?;
    // Before anything is told that depends on the stream.
    let party = admit(identity, &head, info)?;
    let caller = party.caller().map_err(|error| Refusal::of_caller(&error))?;
    let name = caller.namespace().stored_stream(&opening.stream).map_err(|error| {
        Refusal::parameter("name", &error.message, "give the name that the stream was made with")
    })?;
    let opened = streams.open(&name, opening.producer.as_deref()).await;
    let feed = opened.map_err(|error| {
        Refusal::of_open(&error, &opening.stream, &head.target, scheme(info), options.retry_after)
    })?;
    Ok(Upgraded { feed, opening, party, early })
}

/// That of the process which has the stream: as that of this one.
fn scheme(info: ConnectionInfo) -> &'static str {
    match info.link {
        Link::Plain => "ws",
        Link::Encrypted | Link::Process => "wss",
    }
}

async fn send(socket: &mut (impl AsyncWrite + Unpin), bytes: &[u8], patience: Duration) -> bool {
    let written = async {
        socket.write_all(bytes).await?;
        // What is encrypted may be kept back until then.
        socket.flush().await
    };
    matches!(timeout(patience, written).await, Ok(Ok(())))
}
