//! Frames per second over one connection into a feed that does nothing.
//!
//! `cargo run --release -p polarway-ingest --example socket [frames]`. The server has one thread; the client's bytes are made before.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use polarway_identity::{Identity, Security};
use polarway_ingest::Durability;
use polarway_ingest::socket::{
    Fault, Feed, Frame, OpenError, Options, SocketMetrics, Streams, Written, serve,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

struct Nothing;

#[async_trait]
impl Streams for Nothing {
    async fn open(&self, _: &str, _: Option<&str>) -> Result<Arc<dyn Feed>, OpenError> {
        Ok(Arc::new(Nothing))
    }
}

#[async_trait]
impl Feed for Nothing {
    fn name(&self) -> &str {
        "public.ticks"
    }

    fn default_ack(&self) -> Durability {
        Durability::Received
    }

    fn last(&self) -> u64 {
        0
    }

    fn token(&self) -> String {
        String::new()
    }

    async fn write(&self, frames: &[Frame]) -> Result<Written, Fault> {
        let upto = frames.last().map_or(0, |frame| frame.number);
        Ok(Written { place: upto, rows: frames.len() as u64, bad: 0, upto })
    }

    async fn reached(&self, _: u64, _: Durability) -> Result<(), Fault> {
        Ok(())
    }
}

/// A masked text frame with a payload of `size` bytes.
fn frame(size: usize) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut frame = vec![0x81];
    if size < 126 {
        frame.push(0x80 | u8::try_from(size).unwrap());
    } else {
        frame.push(0x80 | 126);
        frame.extend(u16::try_from(size).unwrap().to_be_bytes());
    }
    frame.extend(mask);
    frame.extend((0..size).map(|at| b'x' ^ mask[at % 4]));
    frame
}

/// Sends `frames` frames of `size` bytes and waits until the last is acknowledged.
fn push(address: std::net::SocketAddr, frames: u64, size: usize) -> Duration {
    let mut socket = TcpStream::connect(address).unwrap();
    socket
        .write_all(
            b"GET /v1/streams/ticks HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .unwrap();
    let batch = frame(size).repeat(usize::try_from(frames.min(1000)).unwrap());
    let mut reader = socket.try_clone().unwrap();
    let last = format!("{{\"ack\":{frames},");
    let start = Instant::now();
    let sender = std::thread::spawn(move || {
        for _ in 0..frames.div_ceil(1000) {
            socket.write_all(&batch).unwrap();
        }
        socket
    });
    let (mut buffer, mut tail) = ([0; 64 << 10], Vec::new());
    loop {
        let bytes = reader.read(&mut buffer).unwrap();
        assert!(bytes > 0, "the server has closed: {}", String::from_utf8_lossy(&tail));
        tail.extend_from_slice(&buffer[..bytes]);
        if tail.windows(last.len()).any(|window| window == last.as_bytes()) {
            break;
        }
        tail.drain(..tail.len().saturating_sub(200));
    }
    let elapsed = start.elapsed();
    drop(sender.join().unwrap());
    elapsed
}

/// The processor time of the server's thread, where Linux tells it.
fn thread_cpu(thread: &str) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/thread-self/task/{thread}/stat"))
        .or_else(|_| std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")))
        .ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

fn main() {
    let frames: u64 = std::env::args().nth(1).map_or(2_000_000, |text| text.parse().unwrap());
    let frames = frames.div_ceil(1000) * 1000;
    let (tell, told) = std::sync::mpsc::channel();
    let stop = CancellationToken::new();
    let metrics = Arc::<SocketMetrics>::default();
    let server = std::thread::spawn({
        let (stop, metrics) = (stop.clone(), Arc::clone(&metrics));
        move || {
            let thread = std::fs::read_link("/proc/thread-self").unwrap();
            let thread = thread.file_name().unwrap().to_string_lossy().into_owned();
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send((listener.local_addr().unwrap(), thread)).unwrap();
                let identity = Security::plain(Identity::open());
                serve(listener, Arc::new(Nothing), identity, Options::default(), metrics, stop)
                    .await
                    .unwrap();
            });
        }
    });
    let (address, thread) = told.recv().unwrap();
    push(address, 100_000, 95);
    for (name, frames, size) in [("1 row", frames, 95), ("100 rows", frames / 20, 9500)] {
        let (before, acks) = (thread_cpu(&thread), metrics.acks.load(std::sync::atomic::Ordering::SeqCst));
        let took = push(address, frames, size);
        let acks = metrics.acks.load(std::sync::atomic::Ordering::SeqCst) - acks;
        let cpu = thread_cpu(&thread).zip(before).map(|(after, before)| after - before);
        let rate = frames as f64 / took.as_secs_f64();
        println!(
            "{name} a frame ({size} bytes): {frames} frames in {took:.2?}, {rate:.0} frames/s, {:.0} MB/s, \
             {acks} acks; server CPU {cpu:.2?}: {:.0} frames/s on a core",
            rate * size as f64 / 1e6,
            cpu.map_or(0.0, |cpu| frames as f64 / cpu.as_secs_f64()),
        );
    }
    stop.cancel();
    server.join().unwrap();
}
