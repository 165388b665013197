//! The one thread that writes: takes what is queued, writes it as one group, answers.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::record::Frame;
use super::store::{Refused, Store};
use super::ticket::Answer;
use super::usage::Usage;
use super::{Payload, Position, WalError, record};

/// A group is not extended beyond this. It bounds the memory for it, and how long its first record waits
/// for its last one.
pub(super) const GROUP_BYTES: u64 = 2 << 20;

pub(super) enum Command {
    Append(Append),
    Trim { upto: Position, answer: oneshot::Sender<Result<(), WalError>> },
}

pub(super) struct Append {
    pub payload: Payload,
    pub answer: Answer,
}

impl Append {
    fn frame(&self) -> u64 {
        record::framed(self.payload.len())
    }
}

pub(super) struct Writer {
    store: Store,
    usage: Arc<Usage>,
    queue: mpsc::Receiver<Command>,
    /// Taken from the queue but not yet written.
    batch: VecDeque<Append>,
    /// Kept to spare an allocation per group.
    buffer: Vec<u8>,
}

impl Writer {
    pub fn new(store: Store, usage: Arc<Usage>, queue: mpsc::Receiver<Command>) -> Self {
        Self { store, usage, queue, batch: VecDeque::new(), buffer: Vec::new() }
    }

    /// Runs until all senders are gone and the queue is empty.
    ///
    /// `done` is dropped last: whoever waits for it may open the log again, so the lock must be free.
    pub fn run(mut self, lock: File, done: watch::Sender<()>) {
        while let Some(first) = self.queue.blocking_recv() {
            let trim = self.gather(first);
            self.write_batch();
            if let Some((upto, answer)) = trim {
                let trimmed = self.store.trim(upto);
                self.settle(0);
                // Whoever gave up waiting does not need the answer; the same holds below.
                let _ = answer.send(trimmed);
            }
        }
        drop(self);
        drop(lock);
        drop(done);
    }

    /// Takes what is queued now, up to the size of a group or to a trim. It waits for nothing more: while
    /// a group is written the next one gathers by itself.
    fn gather(&mut self, first: Command) -> Option<(Position, oneshot::Sender<Result<(), WalError>>)> {
        let mut next = Some(first);
        let mut bytes = 0;
        while let Some(command) = next {
            match command {
                Command::Trim { upto, answer } => return Some((upto, answer)),
                Command::Append(append) => {
                    bytes += append.frame();
                    self.batch.push_back(append);
                }
            }
            next = if bytes < GROUP_BYTES { self.queue.try_recv().ok() } else { None };
        }
        None
    }

    fn write_batch(&mut self) {
        while let Some(first) = self.batch.front() {
            match self.store.prepare(first.frame()) {
                Ok((frame, room)) => {
                    let count = self.encode_group(frame, room);
                    let outcome = self.store.commit(&self.buffer);
                    self.answer(count, frame.at, outcome);
                }
                // All of them, since to try again for each would only keep a sick disk busy.
                Err(refused) => self.answer(self.batch.len(), self.store.end(), Err(refused)),
            }
        }
        // One huge record must not hold its memory for ever.
        self.buffer.clear();
        self.buffer.shrink_to(GROUP_BYTES as usize);
    }

    /// Encodes as many records as the segment has room for, and returns their count.
    fn encode_group(&mut self, mut frame: Frame, room: u64) -> usize {
        let group = frame.at;
        self.buffer.clear();
        let mut count = 0;
        for append in &self.batch {
            if frame.at.since(group) + append.frame() > room {
                break;
            }
            record::encode(&mut self.buffer, frame, group, &append.payload);
            frame.at = frame.at.after(append.payload.len());
            count += 1;
        }
        count
    }

    /// Answers the first `count` records of the batch, which begin at `at` if they are in the log.
    fn answer(&mut self, count: usize, mut at: Position, outcome: Result<(), Refused>) {
        self.settle(self.batch.iter().take(count).map(Append::frame).sum());
        for append in self.batch.drain(..count) {
            let answer = match &outcome {
                Ok(()) => Ok(at),
                Err(refused) => Err(refused.error()),
            };
            at = at.after(append.payload.len());
            let _ = append.answer.send(answer);
        }
    }

    /// Comes before the answers, so that whoever has one sees a log that holds the record.
    fn settle(&self, frames: u64) {
        self.usage.settle(frames, self.store.used(), self.store.end());
    }
}
