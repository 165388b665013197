//! One connection's way into a stream.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use parking_lot::Mutex;
use polarway_common::Clock;
use polarway_engine::live::ReadToken;

use super::dead::DeadLetters;
use super::group::{Decoded, GroupDecoder};
use crate::decode::{DecodeOptions, UnsupportedType};
use crate::durability::Durability;
use crate::socket::{Fault, FaultKind, Feed, Frame, Written};
use crate::stream::{Appended, Live, LiveError};
use crate::wal::WalError;

/// What an [`Intake`] needs beside its streams.
#[derive(Debug, Clone)]
pub struct IntakeOptions {
    pub decode: DecodeOptions,
    /// Bytes of rows that one binary frame may hold.
    pub frame_limit: usize,
    pub ack: Durability,
    pub clock: Arc<dyn Clock>,
}

/// See the module's page.
#[derive(Debug)]
pub struct Intake {
    stream: Arc<Live>,
    dead_letters: Arc<Live>,
    producer: Option<Arc<str>>,
    options: IntakeOptions,
    decoder: Mutex<GroupDecoder>,
    on_the_way: Mutex<OnTheWay>,
}

/// Groups apart from this many wait together with the one before them.
const APART: usize = 64;

/// Groups that were taken and not yet acknowledged, in their order.
#[derive(Debug, Default)]
struct OnTheWay {
    taken: u64,
    groups: VecDeque<Group>,
}

/// Groups `first..=last`.
#[derive(Debug, Clone, Copy)]
struct Group {
    first: u64,
    last: u64,
    rows: Appended,
    dead: Option<Appended>,
}

impl OnTheWay {
    fn add(&mut self, rows: Appended, dead: Option<Appended>) -> u64 {
        self.taken += 1;
        let group = Group { first: self.taken, last: self.taken, rows, dead };
        let many = self.groups.len() >= APART;
        match self.groups.back_mut() {
            // They wait for a long time, and for all of them it is over when it is for the last.
            Some(back) if many && back.rows.is_followed_by(&rows) => {
                *back = Group { first: back.first, dead: dead.or(back.dead), ..group };
            }
            _ => self.groups.push_back(group),
        }
        self.taken
    }

    fn first_up_to(&self, place: u64) -> Option<Group> {
        self.groups.front().filter(|group| group.first <= place).copied()
    }

    /// Forgets groups up to this one, as it was when it was asked for.
    fn done(&mut self, group: &Group) {
        while self.groups.pop_front_if(|front| front.last <= group.last).is_some() {}
        if let Some(front) = self.groups.front_mut() {
            front.first = front.first.max(group.last + 1);
        }
    }
}

impl Intake {
    /// # Errors
    /// When the stream has a column of a type that frames cannot carry.
    pub fn new(
        stream: Arc<Live>,
        dead_letters: Arc<Live>,
        producer: Option<Arc<str>>,
        options: IntakeOptions,
    ) -> Result<Self, UnsupportedType> {
        let schema = Arc::clone(&stream.options().schema);
        let decoder = GroupDecoder::new(schema, options.decode, options.frame_limit)?;
        Ok(Self {
            stream,
            dead_letters,
            producer,
            options,
            decoder: Mutex::new(decoder),
            on_the_way: Mutex::default(),
        })
    }

    fn decode(&self, frames: &[Frame]) -> Result<Decoded, Fault> {
        let wall = self.options.clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = i64::try_from(wall.as_micros()).unwrap_or(i64::MAX);
        let dead = DeadLetters::new(micros, self.producer.clone());
        self.decoder.lock().decode(frames, dead).map_err(|error| {
            Fault::new(FaultKind::FrameTooLarge, format!("the frames hold too much: {error}"))
        })
    }
}

#[async_trait]
impl Feed for Intake {
    fn name(&self) -> &str {
        &self.stream.options().name
    }

    fn default_ack(&self) -> Durability {
        self.options.ack
    }

    fn last(&self) -> u64 {
        self.producer.as_ref().map_or(0, |producer| self.stream.last(producer))
    }

    fn token(&self) -> String {
        let stream = self.stream.options().id.clone();
        ReadToken { stream, place: self.stream.durable() }.to_string()
    }

    async fn write(&self, frames: &[Frame]) -> Result<Written, Fault> {
        let Decoded { rows, frames: counts, dead } = self.decode(frames)?;
        let refused = dead.len();
        let dead = if dead.is_empty() {
            None
        } else {
            let (letters, counts) =
                dead.finish().map_err(|error| Fault::new(FaultKind::Internal, error.to_string()))?;
            let letters = self.dead_letters.append(letters, self.producer.as_ref(), &counts).await;
            let letters = letters.map_err(fault)?;
            // They have a log of their own. A frame must not count as taken, even after a crash, while its refused rows
            // are nowhere.
            self.dead_letters.reached(letters, Durability::Wal).await.map_err(fault)?;
            Some(letters)
        };
        let appended = self.stream.append(rows, self.producer.as_ref(), &counts).await.map_err(fault)?;
        let place = self.on_the_way.lock().add(appended, dead);
        Ok(Written {
            place,
            rows: appended.rows as u64,
            bad: dead.map_or(refused, |dead| dead.rows) as u64,
            upto: counts.last().map_or(0, |frame| frame.number),
        })
    }

    /// Each group before the place is asked after: one of them may have been taken back, and a later one be there.
    async fn reached(&self, place: u64, durability: Durability) -> Result<(), Fault> {
        loop {
            let Some(group) = self.on_the_way.lock().first_up_to(place) else { return Ok(()) };
            if let Some(dead) = group.dead {
                self.dead_letters.reached(dead, durability).await.map_err(fault)?;
            }
            self.stream.reached(group.rows, durability).await.map_err(fault)?;
            self.on_the_way.lock().done(&group);
        }
    }
}

/// What a client is told.
fn fault(error: LiveError) -> Fault {
    let kind = match &error {
        LiveError::Log { source: WalError::Full { .. }, .. } => FaultKind::LogFull,
        LiveError::Log { source: WalError::NotWritten { source }, .. }
            if source.kind() == io::ErrorKind::StorageFull =>
        {
            FaultKind::DiskFull
        }
        LiveError::TakenBack { disk_full: true, .. } => FaultKind::DiskFull,
        LiveError::Closed { .. } => FaultKind::Draining,
        LiveError::Moved { .. } => FaultKind::Moved,
        LiveError::Log { .. }
        | LiveError::TakenBack { .. }
        | LiveError::Suspended { .. }
        | LiveError::Sealed(_) => FaultKind::Unavailable,
        LiveError::NotOwed { .. }
        | LiveError::Record(_)
        | LiveError::Rows(_)
        | LiveError::Seal(_)
        | LiveError::Lost { .. } => FaultKind::Internal,
    };
    let told = Fault::new(kind, error.to_string());
    match error {
        LiveError::Moved { stream, at: Some(at) } => {
            told.with_hint(format!("connect to {at}, path /v1/streams/{stream}, and go on after `last`"))
        }
        _ => told,
    }
}
