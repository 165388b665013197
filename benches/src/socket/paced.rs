//! One frame after another at a fixed rate; how long each waits for its acknowledgement.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::both_ways;
use super::connection::{Ack, Connection, PATIENCE};
use crate::failure::{Context, Failure, Result};
use crate::load::millis;

/// Waits below this are not slept: the system would oversleep them.
const SHORTEST_SLEEP: Duration = Duration::from_micros(30);

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Paced {
    /// For each frame after the warm-up: from before it was written to when the acknowledgement that covers it was read.
    pub samples_ms: Vec<f64>,
    /// From the first frame to the last acknowledgement.
    pub seconds: f64,
    pub frames: u64,
    pub rows: u64,
    pub bad: u64,
    /// The most by which a frame was written later than its time.
    pub behind_ms: f64,
}

/// Sends `frame(0)`, `frame(1)`, … at `per_second` until `stop` is set, and waits for the last acknowledgement. Frames
/// of the first `warmup` are not timed.
///
/// # Errors
/// The connection breaks, or a frame is not acknowledged within a minute.
pub fn send(
    mut connection: Connection,
    per_second: f64,
    warmup: Duration,
    mut frame: impl FnMut(u64) -> Vec<u8> + Send,
    stop: &AtomicBool,
) -> Result<Paced> {
    let socket = connection.writer()?;
    let mut writer = connection.writer()?;
    let (tell, told) = channel();
    // How many frames there are, once it is known.
    let total = AtomicU64::new(u64::MAX);
    let begin = Instant::now();
    let write = || {
        let outcome = (|| {
            let (mut frames, mut behind) = (0, Duration::ZERO);
            while !stop.load(Ordering::Relaxed) {
                let bytes = frame(frames);
                behind = behind.max(wait_until(begin + Duration::from_secs_f64(frames as f64 / per_second)));
                // The reader has gone only with a failure of its own, which ends the socket too.
                let _ = Sender::send(&tell, Instant::now());
                writer.write_all(&bytes).context(|| "sending a frame")?;
                frames += 1;
            }
            Ok((frames, behind))
        })();
        total.store(outcome.as_ref().map_or(0, |(frames, _)| *frames), Ordering::SeqCst);
        outcome
    };
    let read = || listen(&mut connection, &told, begin + warmup, &total);
    let ((frames, behind), heard) = both_ways(&socket, write, read)?;
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Paced { seconds, frames, behind_ms: millis(behind), ..heard })
}

/// Sleeps until `at`; by how much it is late if that has passed.
fn wait_until(at: Instant) -> Duration {
    loop {
        let now = Instant::now();
        let left = at.saturating_duration_since(now);
        if left.is_zero() {
            return now - at;
        }
        if left > SHORTEST_SLEEP {
            thread::sleep(left - SHORTEST_SLEEP);
        } else {
            thread::yield_now();
        }
    }
}

fn listen(
    connection: &mut Connection,
    sent: &Receiver<Instant>,
    timed_from: Instant,
    total: &AtomicU64,
) -> Result<Paced> {
    let (mut heard, mut reached) = (Paced::default(), connection.last());
    let first = reached;
    let mut progress = Instant::now();
    while reached - first < total.load(Ordering::SeqCst) {
        let before = reached;
        let mut wrong = None;
        connection.hear(|Ack { ack, rows, bad }| {
            let now = Instant::now();
            heard.rows += rows;
            heard.bad += bad;
            for number in reached..ack {
                match sent.try_recv() {
                    Ok(at) if at >= timed_from => heard.samples_ms.push(millis(now - at)),
                    Ok(_) => {}
                    Err(_) => wrong = Some(number + 1),
                }
            }
            reached = reached.max(ack);
        })?;
        if let Some(number) = wrong {
            return Err(Failure::new(format!("frame {number} was acknowledged and never sent")));
        }
        if reached > before {
            progress = Instant::now();
        } else if progress.elapsed() > PATIENCE {
            return Err(Failure::new(format!("no acknowledgement beyond frame {reached} for a minute")));
        }
    }
    Ok(heard)
}
