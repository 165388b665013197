//! One upgraded connection from hello to close.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use futures::FutureExt;
use polarway_identity::connection::Connection as Accepted;
use polarway_identity::{Identity, Party};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::select;
use tokio::sync::mpsc::{self, Sender};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;

use super::acks::acknowledge;
use super::end::End;
use super::fault::{Fault, FaultKind};
use super::frame::Numbering;
use super::gather::Gather;
use super::groups::Groups;
use super::halves::halves;
use super::incoming::{Heard, Incoming, now};
use super::message::{self, Hello, json};
use super::metrics::{Closed, SocketMetrics};
use super::options::Options;
use super::outgoing::{self, Outgoing};
use super::pace::{Bucket, Due, Liveness};
use super::reader::{Reader, hand_over};
use super::sink::Feed;
use crate::durability::Durability;

/// How much is read from the socket at once. More than the allocator of `bytes` keeps per buffer is of no use.
const READ_BUFFER: usize = 64 << 10;

pub(super) struct Connection<'a> {
    pub feed: Arc<dyn Feed>,
    pub producer: Option<String>,
    pub ack: Durability,
    pub options: &'a Options,
    pub metrics: &'a SocketMetrics,
    /// Cancelled when the server shuts down.
    pub stop: CancellationToken,
    pub identity: &'a Identity,
    /// Who the client is.
    pub party: Party,
}

impl Connection<'_> {
    /// Serves the connection to its end. `early` are bytes that came behind the request's head.
    pub async fn run(self, socket: Accepted, early: Vec<u8>) -> Closed {
        let (read, write) = halves(socket);
        let heard = Arc::new(Heard::new(now()));
        let incoming = Incoming::new(early, read, Arc::clone(&heard));
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .max_message_size(Some(self.options.max_frame_bytes))
            .max_frame_size(Some(self.options.max_frame_bytes));
        let mut socket = WebSocketStream::from_raw_socket(incoming, Role::Server, Some(config)).await;

        let (out, queue) = mpsc::channel(outgoing::QUEUE);
        let mut sending = pin!(outgoing::send(write, queue, self.options.write_timeout));
        let talk = async {
            let talked = AssertUnwindSafe(self.talk(&mut socket, &heard, &out)).catch_unwind().await;
            let end = talked.unwrap_or_else(|panic| End::Fault(panicked(panic.as_ref())));
            farewell(&end, out).await;
            end
        };
        let end = select! {
            biased;
            // It ends before the talk only if it fails.
            sent = &mut sending => return sent.err().unwrap_or(Closed::Lost),
            end = talk => end,
        };
        if end != End::Lost && sending.await.is_ok() {
            // Closing a socket with unread bytes resets the connection, and the peer may lose our last words.
            let _ = timeout(self.options.close_timeout, discard(&mut socket.into_inner())).await;
        }
        end.closed()
    }

    /// Everything between the upgrade and the close frame.
    async fn talk(
        &self,
        socket: &mut WebSocketStream<Incoming>,
        heard: &Heard,
        out: &Sender<Outgoing>,
    ) -> End {
        let feed = self.feed.as_ref();
        let last = feed.last();
        let hello = Hello { stream: feed.name().to_owned(), producer: self.producer.clone(), last };
        hand_over(out, Outgoing::Text(json(&hello))).await;

        let numbering = match self.producer {
            Some(_) => Numbering::of_producer(last),
            None => Numbering::anonymous(),
        };
        let groups = Groups::new(self.options.groups_in_flight);
        let reader = Reader {
            feed,
            metrics: self.metrics,
            heard,
            gather: Gather::new(numbering, self.options.max_group_bytes, self.options.max_group_frames),
            bucket: self.options.max_bytes_per_second.map(|rate| Bucket::new(rate, now())),
            groups: &groups,
            out: out.clone(),
        };
        let mut acknowledger = pin!(acknowledge(feed, self.ack, &groups, out, &self.metrics.acks));
        let mut overdue = pin!(self.overdue());
        let end = select! {
            biased;
            end = reader.run(socket, self.ordered()) => end,
            // While the reader lives this ends only with an error.
            acknowledged = &mut acknowledger => {
                return acknowledged.map_or_else(End::Fault, |()| End::Lost);
            }
            () = self.watch(heard, out) => End::idle(),
            end = &mut overdue => return end,
        };
        if !end.waits_for_acks() {
            return end;
        }
        groups.close();
        select! {
            biased;
            acknowledged = acknowledger => match acknowledged {
                // The first fault is the one to tell; after a client's close there is none yet.
                Err(fault) if matches!(end, End::Client(_)) => End::Fault(fault),
                _ => end,
            },
            _ = overdue => end,
            () = sleep(self.options.grace) => end,
        }
    }

    /// Pings the peer, and ends when it is to be given up.
    async fn watch(&self, heard: &Heard, out: &Sender<Outgoing>) {
        let mut liveness = Liveness::new(self.options.ping_interval, self.options.idle_timeout, now());
        loop {
            match liveness.due(now(), heard.last(), heard.is_reading()) {
                Due::Idle => return,
                // If the queue is full, enough is on its way to show the peer that we live.
                Due::Ping => drop(out.try_send(Outgoing::Ping)),
                Due::Nothing(until) => sleep_until(until.into()).await,
            }
        }
    }

    /// Completes when nothing more is to be read, whatever the client does.
    async fn ordered(&self) -> End {
        select! {
            biased;
            () = self.stop.cancelled() => End::draining(),
            () = self.identity.revoked(&self.party) => End::revoked(),
        }
    }

    /// Completes when the grace after that is over.
    async fn overdue(&self) -> End {
        let end = self.ordered().await;
        sleep(self.options.grace).await;
        end
    }
}

/// Queues the last messages, and closes the queue.
async fn farewell(end: &End, out: Sender<Outgoing>) {
    match end {
        End::Lost => {}
        End::Client(frame) => hand_over(&out, Outgoing::Close(frame.clone())).await,
        End::Fault(fault) => {
            hand_over(&out, Outgoing::Text(message::fault(fault))).await;
            hand_over(&out, Outgoing::closing(fault)).await;
        }
    }
}

/// Reads until the peer ends its direction.
pub(super) async fn discard(socket: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = [0; 4 << 10];
    while socket.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0) {}
}

fn panicked(panic: &(dyn Any + Send)) -> Fault {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown");
    tracing::error!(panic = text, "a connection panicked");
    Fault::new(FaultKind::Internal, "a defect has ended the connection")
}
