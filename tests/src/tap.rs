//! A door before a server that passes on whatever comes, and keeps it: what somebody on the way sees.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// The bytes of each direction of each connection.
type Passed = Arc<Mutex<Vec<Vec<u8>>>>;

/// Ends when dropped.
pub struct Tap {
    pub address: SocketAddr,
    passed: Passed,
    serving: AbortHandle,
}

impl Tap {
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let passed = Passed::default();
        let kept = Arc::clone(&passed);
        let serving = tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(server).await else { return };
                    let (from_caller, to_caller) = caller.into_split();
                    let (from_server, to_server) = server.into_split();
                    let asked = pass(from_caller, to_server, &kept);
                    tokio::join!(asked, pass(from_server, to_caller, &kept));
                });
            }
        })
        .abort_handle();
        Self { address, passed, serving }
    }

    /// Whether a text went by in either direction.
    pub fn saw(&self, text: &str) -> bool {
        let passed = self.passed.lock().unwrap();
        passed.iter().any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    }

    /// How many bytes went by.
    pub fn bytes(&self) -> usize {
        self.passed.lock().unwrap().iter().map(Vec::len).sum()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, passed: &Passed) {
    let direction = begin(passed);
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        passed.lock().unwrap()[direction].extend_from_slice(&buffer[..length]);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

fn begin(passed: &Passed) -> usize {
    let mut passed = passed.lock().unwrap();
    passed.push(vec![]);
    passed.len() - 1
}
