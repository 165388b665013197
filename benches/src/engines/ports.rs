//! Loopback ports for programs that cannot choose one themselves, and a look at an HTTP path.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::failure::{Failure, Result};

const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// `N` distinct ports that were free a moment ago.
///
/// # Errors
/// None is free.
pub fn free<const N: usize>() -> Result<[u16; N]> {
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        // All listeners are held until the last port is known, so that no port comes twice.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

/// Waits until a GET of `path` answers 200.
///
/// # Errors
/// It has not within `within`.
pub async fn until_ok(port: u16, path: &str, within: Duration) -> Result<()> {
    let looks = async {
        while !matches!(status(port, path).await, Ok(200)) {
            sleep(BETWEEN_LOOKS).await;
        }
    };
    timeout(within, looks)
        .await
        .map_err(|_| Failure::new(format!("{path} was not ready in {} s", within.as_secs())))
}

async fn status(port: u16, path: &str) -> Result<u16> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut first = String::new();
    BufReader::new(stream).read_line(&mut first).await?;
    let code = first.split_ascii_whitespace().nth(1).and_then(|code| code.parse().ok());
    code.ok_or_else(|| Failure::new("no HTTP status"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_distinct() {
        let [first, second, third] = free::<3>().unwrap();
        assert!(first != second && second != third && first != third);
    }

    #[tokio::test]
    async fn readiness_is_a_200() {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            for code in ["503 Service Unavailable", "200 OK"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = BufReader::new(&mut stream).lines();
                while request.next_line().await.unwrap().is_some_and(|line| !line.is_empty()) {}
                let answer = format!("HTTP/1.1 {code}\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        until_ok(port, "/readyz", Duration::from_secs(10)).await.unwrap();
        server.await.unwrap();
    }
}
