//! Streams in memory whose durability and room are opened and closed by the test.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use polarway_ingest::Durability;
use polarway_ingest::socket::{Fault, FaultKind, Feed, Frame, OpenError, Streams, Written};
use tokio::sync::watch;

/// What the test lets happen.
#[derive(Debug, Clone)]
pub struct Gates {
    /// Whether writes find room.
    pub room: bool,
    /// Everything before this place is durable.
    pub durable: u64,
    /// Waiting for durability fails.
    pub broken: bool,
}

#[derive(Debug, Default)]
pub struct Stored {
    /// Producer, number and payload in the order of storing.
    pub frames: Vec<(Option<String>, u64, Vec<u8>)>,
    pub last: HashMap<String, u64>,
    /// Frames in each call of `write`.
    pub groups: Vec<usize>,
}

#[derive(Debug)]
pub struct Memory {
    pub gates: watch::Sender<Gates>,
    pub stored: Mutex<Stored>,
    /// Changes with every stored group.
    pub changes: watch::Sender<u64>,
}

impl Memory {
    pub fn new() -> Arc<Self> {
        let open = Gates { room: true, durable: u64::MAX, broken: false };
        Arc::new(Self {
            gates: watch::Sender::new(open),
            stored: Mutex::default(),
            changes: watch::Sender::new(0),
        })
    }

    pub fn set(&self, change: impl FnOnce(&mut Gates)) {
        self.gates.send_modify(change);
    }

    /// Waits until so many frames are stored.
    pub async fn holds(&self, frames: usize) {
        let mut changes = self.changes.subscribe();
        super::server::within(changes.wait_for(|_| self.stored.lock().frames.len() >= frames)).await.unwrap();
    }

    pub fn numbers(&self) -> Vec<u64> {
        self.stored.lock().frames.iter().map(|(_, number, _)| *number).collect()
    }

    pub fn payloads(&self) -> Vec<String> {
        let stored = self.stored.lock();
        stored.frames.iter().map(|(_, _, payload)| String::from_utf8_lossy(payload).into_owned()).collect()
    }
}

pub struct Shared(pub Arc<Memory>);

struct MemoryFeed {
    memory: Arc<Memory>,
    producer: Option<String>,
    last: u64,
}

#[async_trait]
impl Streams for Shared {
    async fn open(&self, name: &str, producer: Option<&str>) -> Result<Arc<dyn Feed>, OpenError> {
        match name {
            "ticks" | "public.ticks" => {}
            "secret" => return Err(OpenError::NotAllowed("not for you".into())),
            "busy" => {
                let retry_after = Duration::from_secs(7);
                return Err(OpenError::Unavailable { message: "too many writers".into(), retry_after });
            }
            "broken" => return Err(OpenError::Internal("it is broken".into())),
            "slow" => std::future::pending().await,
            "panic" => panic!("as the test wants"),
            _ => return Err(OpenError::Unknown),
        }
        let last = producer.and_then(|id| self.0.stored.lock().last.get(id).copied()).unwrap_or(0);
        Ok(Arc::new(MemoryFeed { memory: Arc::clone(&self.0), producer: producer.map(str::to_owned), last }))
    }
}

#[async_trait]
impl Feed for MemoryFeed {
    fn name(&self) -> &str {
        "public.ticks"
    }

    fn default_ack(&self) -> Durability {
        Durability::Wal
    }

    fn last(&self) -> u64 {
        self.last
    }

    fn token(&self) -> String {
        "memory:1".into()
    }

    /// One row a frame. Payloads with meaning: `bad` is refused, `panic` panics, `fault <kind>` fails, `partly` is
    /// the last of its call that is taken.
    async fn write(&self, frames: &[Frame]) -> Result<Written, Fault> {
        self.memory.gates.subscribe().wait_for(|gates| gates.room).await.unwrap();
        let mut stored = self.memory.stored.lock();
        stored.groups.push(frames.len());
        let mut written = Written { place: 0, rows: 0, bad: 0, upto: 0 };
        for frame in frames {
            let text = String::from_utf8_lossy(&frame.payload);
            if let Some(kind) = text.strip_prefix("fault ") {
                let kind = FaultKind::ALL.into_iter().find(|known| known.name() == kind).unwrap();
                return Err(Fault::new(kind, "as the test wants"));
            }
            assert_ne!(text, "panic");
            written.upto = frame.number;
            let known = self.producer.as_ref().map(|id| stored.last.entry(id.clone()).or_default());
            let known = known.is_some_and(|last| {
                let known = frame.number <= *last;
                *last = frame.number.max(*last);
                known
            });
            if !known {
                stored.frames.push((self.producer.clone(), frame.number, frame.payload.to_vec()));
                if text == "bad" { written.bad += 1 } else { written.rows += 1 }
            }
            if text == "partly" {
                break;
            }
        }
        written.place = stored.frames.len() as u64;
        drop(stored);
        self.memory.changes.send_modify(|changes| *changes += 1);
        Ok(written)
    }

    async fn reached(&self, place: u64, durability: Durability) -> Result<(), Fault> {
        let mut gates = self.memory.gates.subscribe();
        let gates = gates
            .wait_for(|gates| gates.broken || durability == Durability::Received || gates.durable >= place);
        if gates.await.unwrap().broken {
            return Err(Fault::new(FaultKind::Internal, "the log is broken"));
        }
        Ok(())
    }
}
