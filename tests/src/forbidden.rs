//! A door before an object store, which can be closed: from then on it answers every request with 403 and lets none
//! through.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::cluster::Setup;

const BODY: &str =
    "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";

/// Open at first; ends when dropped.
pub struct Door {
    pub address: SocketAddr,
    closed: watch::Sender<bool>,
    serving: AbortHandle,
}

impl Door {
    pub async fn before(store: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (closed, seen) = watch::channel(false);
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let seen = seen.clone();
                tokio::spawn(async move {
                    // Clients may go away at any time.
                    let _ = serve(socket, store, seen).await;
                });
            }
        })
        .abort_handle();
        Self { address, closed, serving }
    }

    /// Points all processes of `setup`, which the store has configured, at this door.
    #[must_use]
    pub fn configure(&self, setup: Setup) -> Setup {
        setup.env("POLARWAY_STORAGE__S3__ENDPOINT", format!("http://{}", self.address))
    }

    /// From now on nothing is let through, not even on connections that are open.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    mut socket: TcpStream,
    store: SocketAddr,
    mut closed: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let open = !*closed.borrow();
    if !open {
        return refuse(socket).await;
    }
    let mut behind = TcpStream::connect(store).await?;
    let closing = async {
        let _ = closed.wait_for(|closed| *closed).await;
    };
    tokio::select! {
        biased;
        () = closing => Ok(()),
        copied = copy_bidirectional(&mut socket, &mut behind) => copied.map(|_| ()),
    }
}

/// Answers one request.
async fn refuse(mut socket: TcpStream) -> std::io::Result<()> {
    let mut request = vec![];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if socket.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let body = if request.starts_with(b"HEAD") { "" } else { BODY };
    let answer = format!(
        "HTTP/1.1 403 Forbidden\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        BODY.len()
    );
    socket.write_all(answer.as_bytes()).await?;
    socket.shutdown().await
}
