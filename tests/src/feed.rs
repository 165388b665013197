//! A producer that goes on after what the stream has, whatever becomes of its connection and of the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Error;

use crate::sender::Sender;
use crate::wait::within;

/// Frames that may be on their way.
const WINDOW: u64 = 32;
const PAUSE: Duration = Duration::from_millis(20);
const CEILING: Duration = Duration::from_secs(300);

/// A running producer.
pub struct Feed {
    state: Arc<State>,
    work: JoinHandle<()>,
}

struct State {
    sent: AtomicU64,
    acknowledged: AtomicU64,
    refusals: AtomicU64,
    /// Frames beyond this wait.
    limit: AtomicU64,
    stop: AtomicBool,
    memory: Memory,
}

/// What a producer has of its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// All of them: it goes on after what the stream says that it has.
    All,
    /// What is not acknowledged: it never sends again what was, whatever the stream says.
    Unacknowledged,
}

impl Feed {
    /// Sends the frames 1 to `frames`, or until it is told to stop; `stream` has to name a producer. A frame is what `frame`
    /// makes of its number.
    pub fn start(
        server: SocketAddr,
        stream: String,
        frames: u64,
        frame: impl Fn(u64) -> String + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(vec![server], Memory::All, stream, frames, frame)
    }

    /// The same with several servers of which one has the stream, and which it is may change. What was acknowledged may then
    /// be in the log of a server that is away, so that the stream has less of it for a while.
    pub fn start_among(
        servers: Vec<SocketAddr>,
        memory: Memory,
        stream: String,
        frame: impl Fn(u64) -> String + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(servers, memory, stream, u64::MAX, frame)
    }

    fn start_with(
        servers: Vec<SocketAddr>,
        memory: Memory,
        stream: String,
        frames: u64,
        frame: impl Fn(u64) -> String + Send + Sync + 'static,
    ) -> Self {
        let state = Arc::new(State {
            sent: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            limit: AtomicU64::new(u64::MAX),
            stop: AtomicBool::new(false),
            memory,
        });
        let shared = Arc::clone(&state);
        let work = tokio::spawn(async move {
            let may_lag = servers.len() > 1;
            let mut turns = servers.into_iter().cycle();
            let mut next = None;
            while !shared.stop.load(Ordering::SeqCst) || may_lag {
                let Some(server) = next.take().or_else(|| turns.next()) else { return };
                match Sender::try_connect(server, &stream).await {
                    Ok(mut sender) => {
                        if shared.talk(&mut sender, frames, may_lag, &frame).await.is_ok() {
                            return;
                        }
                        shared.refusals.fetch_add(u64::from(sender.error.is_some()), Ordering::SeqCst);
                    }
                    Err(error) => next = elsewhere(&error),
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { state, work }
    }

    /// The last frame that was sent.
    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::SeqCst)
    }

    /// The last frame that the server says it has.
    pub fn acknowledged(&self) -> u64 {
        self.state.acknowledged.load(Ordering::SeqCst)
    }

    /// Frames beyond this one wait until it is called again.
    pub fn limit(&self, frame: u64) {
        self.state.limit.store(frame, Ordering::SeqCst);
    }

    /// Connections that the server closed with an error.
    pub fn refusals(&self) -> u64 {
        self.state.refusals.load(Ordering::SeqCst)
    }

    pub fn is_finished(&self) -> bool {
        self.work.is_finished()
    }

    /// Waits until all is acknowledged; gives the last frame.
    pub async fn finish(self) -> u64 {
        within("a producer", CEILING, self.work).await.unwrap();
        self.state.acknowledged.load(Ordering::SeqCst)
    }

    /// Sends no more frames, and waits until those that were sent are acknowledged; gives the last.
    pub async fn stop(self) -> u64 {
        self.state.stop.store(true, Ordering::SeqCst);
        self.finish().await
    }
}

impl State {
    async fn talk(
        &self,
        sender: &mut Sender,
        frames: u64,
        may_lag: bool,
        frame: &(impl Fn(u64) -> String + Sync),
    ) -> Result<(), Error> {
        let (acknowledged, sent) =
            (self.acknowledged.load(Ordering::SeqCst), self.sent.load(Ordering::SeqCst));
        let mut number = sender.last;
        assert!(
            number <= sent && (may_lag || acknowledged <= number),
            "the stream has {number}, {acknowledged} were acknowledged and {sent} sent"
        );
        if self.memory == Memory::Unacknowledged {
            number = number.max(acknowledged);
        }
        sender.acknowledged = number;
        loop {
            self.acknowledged.fetch_max(sender.acknowledged, Ordering::SeqCst);
            let last = if self.stop.load(Ordering::SeqCst) { number } else { frames };
            if sender.acknowledged >= last {
                return Ok(());
            }
            let last = last.min(self.limit.load(Ordering::SeqCst));
            if sender.acknowledged >= last {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            while number < last && number - sender.acknowledged < WINDOW {
                number += 1;
                self.sent.fetch_max(number, Ordering::SeqCst);
                sender.try_send(format!("#{number}\n{}", frame(number))).await?;
            }
            sender.try_acknowledged(sender.acknowledged + 1).await?;
        }
    }
}

/// The server that another one names.
fn elsewhere(error: &Error) -> Option<SocketAddr> {
    let Error::Http(answer) = error else { return None };
    let location = answer.headers().get("Location")?.to_str().ok()?;
    location.strip_prefix("ws://")?.split('/').next()?.parse().ok()
}
