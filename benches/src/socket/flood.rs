//! Frames that were made before, as fast as the server reads them.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::connection::{Connection, PATIENCE};
use super::{both_ways, frame};
use crate::failure::{Context, Failure, Result};

/// Frames that are written with one call.
#[derive(Debug, Clone)]
pub struct Parcel {
    pub bytes: Vec<u8>,
    pub frames: u64,
    pub rows: u64,
}

/// When enough has been sent.
#[derive(Debug, Clone, Copy)]
pub enum Enough {
    After(Duration),
    Rows(u64),
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Flooded {
    /// From before the first byte to the acknowledgement of the last frame.
    pub seconds: f64,
    pub frames: u64,
    /// Rows that were sent.
    pub sent: u64,
    /// Rows that were acknowledged as stored.
    pub rows: u64,
    pub acks: u64,
}

/// Sends `parcels` again and again until it is `enough`, and waits for the acknowledgement of the last frame.
///
/// # Errors
/// The connection breaks, a row is refused, or nothing is acknowledged for a minute.
pub fn send(mut connection: Connection, parcels: &[Parcel], enough: Enough) -> Result<Flooded> {
    let socket = connection.writer()?;
    let mut writer = connection.writer()?;
    let total = AtomicU64::new(u64::MAX);
    let begin = Instant::now();
    let write = || {
        let mut sent = Flooded::default();
        let outcome = (|| {
            for parcel in parcels.iter().cycle() {
                if enough.reached(begin, sent.sent) {
                    break;
                }
                writer.write_all(&parcel.bytes).context(|| "sending frames")?;
                sent.frames += parcel.frames;
                sent.sent += parcel.rows;
            }
            // A server that gathers rows learns by it that no more will come.
            writer.write_all(&frame::frame(frame::PING, b"")).context(|| "sending a ping")
        })();
        total.store(sent.frames, Ordering::SeqCst);
        outcome.map(|()| sent)
    };
    let read = || listen(&mut connection, begin, &total);
    let (sent, heard) = both_ways(&socket, write, read)?;
    Ok(Flooded { frames: sent.frames, sent: sent.sent, ..heard })
}

impl Enough {
    fn reached(self, begin: Instant, rows: u64) -> bool {
        match self {
            Enough::After(duration) => begin.elapsed() >= duration,
            Enough::Rows(enough) => rows >= enough,
        }
    }
}

fn listen(connection: &mut Connection, begin: Instant, total: &AtomicU64) -> Result<Flooded> {
    let (mut heard, mut bad) = (Flooded::default(), 0);
    let first = connection.last();
    let (mut reached, mut progress) = (first, Instant::now());
    while reached - first < total.load(Ordering::SeqCst) {
        let before = reached;
        connection.hear(|ack| {
            reached = reached.max(ack.ack);
            heard.rows += ack.rows;
            bad += ack.bad;
            heard.acks += 1;
        })?;
        if bad > 0 {
            return Err(Failure::new(format!("{bad} rows were refused")));
        }
        if reached > before {
            progress = Instant::now();
            heard.seconds = begin.elapsed().as_secs_f64();
        } else if progress.elapsed() > PATIENCE {
            return Err(Failure::new(format!("no acknowledgement beyond frame {reached} for a minute")));
        }
    }
    Ok(heard)
}
