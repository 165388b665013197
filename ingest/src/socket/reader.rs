//! The reading side of a connection: groups of frames from the socket into the feed.

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt, poll};
use tokio::select;
use tokio::sync::mpsc::Sender;
use tokio::task::yield_now;
use tokio::time::sleep;
use tokio_tungstenite::WebSocketStream;

use super::acks::Group;
use super::end::End;
use super::fault::{Fault, FaultKind};
use super::frame::Frame;
use super::gather::Gather;
use super::groups::Groups;
use super::incoming::{Heard, Incoming, now};
use super::metrics::{SocketMetrics, add, add_micros};
use super::outgoing::Outgoing;
use super::pace::Bucket;
use super::sink::Feed;

pub(super) struct Reader<'a> {
    pub feed: &'a dyn Feed,
    pub metrics: &'a SocketMetrics,
    pub heard: &'a Heard,
    pub gather: Gather,
    pub bucket: Option<Bucket>,
    /// Groups for the acknowledger.
    pub groups: &'a Groups,
    pub out: Sender<Outgoing>,
}

impl Reader<'_> {
    /// Reads until the client, an error or `ordered` ends it. What was read by then is in the feed.
    pub async fn run(
        mut self,
        socket: &mut WebSocketStream<Incoming>,
        ordered: impl Future<Output = End>,
    ) -> End {
        let mut ordered = pin!(ordered);
        loop {
            let first = select! {
                biased;
                end = &mut ordered => return end,
                first = socket.next() => first,
            };
            let arrived = now();
            self.gather.add(first);
            // What is there already joins; nothing is waited for.
            while self.gather.has_room() {
                let Some(next) = socket.next().now_or_never() else { break };
                self.gather.add(next);
            }
            self.heard.pause();
            if let Some(payload) = self.gather.take_ping() {
                hand_over(&self.out, Outgoing::Pong(payload)).await;
            }
            let frames = self.gather.frames();
            if let Err(fault) = store(self.feed, frames, arrived, self.groups, self.metrics).await {
                return End::Fault(fault);
            }
            if let Some(end) = self.gather.take_end() {
                return end;
            }
            let wait =
                self.bucket.as_mut().map_or(Duration::ZERO, |bucket| bucket.take(self.gather.bytes(), now()));
            self.gather.clear();
            if !wait.is_zero() {
                let start = now();
                select! {
                    end = &mut ordered => return end,
                    () = sleep(wait) => add_micros(&self.metrics.paced_micros, now() - start),
                }
            }
            self.heard.resume(now());
        }
    }
}

/// Writes a group, whose first frame has been there since `arrived`, to the feed, which may take it in parts.
pub async fn store(
    feed: &dyn Feed,
    frames: &[Frame],
    arrived: Instant,
    groups: &Groups,
    metrics: &SocketMetrics,
) -> Result<(), Fault> {
    let blocked = &metrics.blocked_micros;
    let mut rest = frames;
    while !rest.is_empty() {
        let written = timed(blocked, feed.write(rest)).await?;
        metrics.visible.observe((now() - arrived).as_secs_f64());
        let taken = rest.partition_point(|frame| frame.number <= written.upto);
        let (part, left) = rest.split_at(taken);
        let Some(last) = part.last() else {
            return Err(Fault::new(FaultKind::Internal, "the stream has taken none of the frames"));
        };
        add(&metrics.frames, part.len() as u64);
        add(&metrics.bytes, part.iter().map(|frame| frame.payload.len() as u64).sum());
        add(&metrics.rows, written.rows);
        add(&metrics.bad_rows, written.bad);
        let group = Group { upto: last.number, place: written.place, rows: written.rows, bad: written.bad };
        groups.add(group);
        // The acknowledger is of the same task: while there is always more to read it would not get its turn.
        yield_now().await;
        rest = left;
    }
    Ok(())
}

/// Puts a message into a queue. If nobody takes from it any more, the one who did has ended, which ends the whole
/// connection with its reason; ours would only hide that, so there is none.
pub async fn hand_over<T>(queue: &Sender<T>, message: T) {
    if queue.send(message).await.is_err() {
        pending::<()>().await;
    }
}

/// Adds to `counter` the time that `future` makes us wait; one that is ready at once costs no look at the clock.
async fn timed<F: Future>(counter: &AtomicU64, future: F) -> F::Output {
    let mut future = pin!(future);
    if let Poll::Ready(output) = poll!(future.as_mut()) {
        return output;
    }
    let start = now();
    let output = future.await;
    add_micros(counter, now() - start);
    output
}
