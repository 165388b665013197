//! A WebSocket client that costs next to nothing: plain sockets, frames made before they are sent, a thread for each
//! direction. It sends at a fixed rate and times every acknowledgement, or sends as fast as the server reads.

pub mod connection;
pub mod flood;
pub mod frame;
pub mod paced;

use std::net::{Shutdown, TcpStream};
use std::thread;

use crate::failure::{Failure, Result};

/// Runs `write` on a thread of its own and `read` on this one. When reading fails the socket is shut, so that a writer
/// that waits for the server ends as well; the reader's failure tells more and is the one that is returned.
fn both_ways<W: Send, R>(
    socket: &TcpStream,
    write: impl FnOnce() -> Result<W> + Send,
    read: impl FnOnce() -> Result<R>,
) -> Result<(W, R)> {
    thread::scope(|scope| {
        let writing = scope.spawn(write);
        let heard = read();
        if heard.is_err() {
            // A socket that is shut already is as good.
            let _ = socket.shutdown(Shutdown::Both);
        }
        let written = writing.join().unwrap_or_else(|_| Err(Failure::new("the writing thread died")));
        let heard = heard?;
        Ok((written?, heard))
    })
}
