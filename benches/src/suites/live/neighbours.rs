//! Two bad neighbours: one that is slow, and one that means harm.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::rows::{self, STREAM};
use crate::failure::{Context, Result};
use crate::socket::connection::Connection;
use crate::socket::frame::{BINARY, TEXT, frame, head};

/// Between two bytes of the slow one.
const BYTE: Duration = Duration::from_millis(10);
/// Between two attacks. Without a pause the attacker would need a core for itself.
const PAUSE: Duration = Duration::from_millis(5);
/// How long an attacker waits for an answer.
const WAIT: Duration = Duration::from_millis(10);
/// How long the slow one waits before it comes again.
const AGAIN: Duration = Duration::from_millis(200);
/// More than any server may take in one frame.
const OVERSIZE: u64 = 1 << 40;
/// Ids of the slow one's rows, apart from those of the others.
pub const FIRST: u64 = 1_000_000_000_000;

/// What they did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Done {
    pub bytes: u64,
    pub attacks: u64,
    /// Connections that could not be made, or that the server has broken.
    pub broken: u64,
}

/// Sends rows a byte at a time and reads nothing, until `stop` is set.
///
/// # Errors
/// None: a connection that breaks is made again.
pub fn slow(address: SocketAddr, stop: &AtomicBool) -> Result<Done> {
    let mut done = Done::default();
    while !stop.load(Ordering::Relaxed) {
        if drip(address, stop, &mut done).is_err() {
            done.broken += 1;
            thread::sleep(AGAIN);
        }
    }
    Ok(done)
}

fn drip(address: SocketAddr, stop: &AtomicBool, done: &mut Done) -> Result<()> {
    let connection = Connection::open(address, STREAM)?;
    let mut writer = connection.writer()?;
    for id in FIRST.. {
        for byte in frame(TEXT, rows::json(id).as_bytes()) {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            writer.write_all(&[byte])?;
            done.bytes += 1;
            thread::sleep(BYTE);
        }
    }
    Ok(())
}

/// Attacks the server one way after the other, each time on a new connection, until `stop` is set.
///
/// # Errors
/// None: whatever the server does to it is as it should be.
pub fn hostile(address: SocketAddr, stop: &AtomicBool) -> Result<Done> {
    let mut done = Done::default();
    for attack in ATTACKS.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        done.attacks += 1;
        done.broken += u64::from(attack(address).is_err());
        thread::sleep(PAUSE);
    }
    Ok(done)
}

type Attack = fn(SocketAddr) -> Result<()>;

const ATTACKS: [Attack; 9] = [
    // Comes and goes.
    |address| TcpStream::connect(address).map(drop).context(|| "connecting"),
    // Speaks no HTTP.
    |address| last_words(TcpStream::connect(address)?, &[0xff; 512]),
    // Asks for what is not there.
    |address| Connection::open(address, "no_such_stream").map(drop),
    // Begins a frame of a size that nobody takes, and goes on with it.
    |address| {
        let mut bytes = head(TEXT, OVERSIZE);
        bytes.resize(256 * 1024, b'x');
        last_words(greeted(address)?, &bytes)
    },
    // Kinds of frame that do not exist.
    |address| last_words(greeted(address)?, &[0xff; 4096]),
    // A frame without a mask.
    |address| last_words(greeted(address)?, b"\x81\x02{}"),
    // A frame of text that is no row.
    |address| last_words(greeted(address)?, &frame(TEXT, &[b'}'; 4096])),
    // A frame of bytes that are no Arrow.
    |address| last_words(greeted(address)?, &frame(BINARY, &[0xee; 4096])),
    // Leaves in the middle of a frame.
    |address| Ok(greeted(address)?.write_all(&head(TEXT, 100))?),
];

fn greeted(address: SocketAddr) -> Result<TcpStream> {
    Connection::open(address, STREAM)?.writer()
}

/// Writes `bytes`, and reads until the server closes or says nothing.
fn last_words(mut socket: TcpStream, bytes: &[u8]) -> Result<()> {
    socket.set_read_timeout(Some(WAIT))?;
    socket.write_all(bytes)?;
    let mut answer = [0; 4096];
    while socket.read(&mut answer)? > 0 {}
    Ok(())
}
