//! The head of an HTTP request.
//!
//! Read here and not by tungstenite, which reads only `GET` and decides synchronously; we must answer other methods
//! too, and open the stream before we agree to the upgrade.

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

const END: &[u8] = b"\r\n\r\n";
const CHUNK: usize = 4 << 10;

/// Method, target and headers of an HTTP/1 request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub method: Method,
    pub target: Uri,
    pub version: Version,
    pub headers: HeaderMap,
}

/// Why there is no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum HeadError {
    #[error("this is not an HTTP/1.1 request")]
    Malformed,
    #[error("the request's head is too large")]
    TooLarge,
    #[error("the peer has gone")]
    Gone,
}

impl Head {
    /// Reads a head of at most `limit` bytes; also gives the bytes behind it that came along.
    pub(super) async fn read(
        socket: &mut (impl AsyncRead + Unpin),
        limit: usize,
    ) -> Result<(Self, Vec<u8>), HeadError> {
        let mut buffer = Vec::with_capacity(CHUNK);
        loop {
            let checked = buffer.len();
            buffer.reserve(CHUNK);
            if socket.read_buf(&mut buffer).await.map_err(|_| HeadError::Gone)? == 0 {
                return Err(HeadError::Gone);
            }
            let from = checked.saturating_sub(END.len() - 1);
            let end = buffer[from..].windows(END.len()).position(|window| window == END);
            let length = end.map_or(buffer.len(), |end| from + end + END.len());
            if length > limit {
                return Err(HeadError::TooLarge);
            }
            if !plausible(&buffer[..length], checked) {
                return Err(HeadError::Malformed);
            }
            if end.is_some() {
                let early = buffer.split_off(length);
                return Self::parse(&buffer[..length - END.len()])
                    .map(|head| (head, early))
                    .ok_or(HeadError::Malformed);
            }
        }
    }

    /// Reads the lines of a head, the empty last one excluded.
    fn parse(head: &[u8]) -> Option<Self> {
        let text = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let mut lines = text.into_iter();
        let mut request = lines.next()?.split(|byte| *byte == b' ');
        let method = Method::from_bytes(request.next()?).ok()?;
        let target = Uri::try_from(request.next()?).ok()?;
        let version = match request.next()? {
            b"HTTP/1.1" => Version::HTTP_11,
            b"HTTP/1.0" => Version::HTTP_10,
            _ => return None,
        };
        if request.next().is_some() {
            return None;
        }
        let mut headers = HeaderMap::new();
        for line in lines {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = HeaderName::from_bytes(&line[..colon]).ok()?;
            let mut value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
            // Whoever prints the headers does not print it.
            value.set_sensitive(name == AUTHORIZATION);
            headers.try_append(name, value).ok()?;
        }
        Some(Self { method, target, version, headers })
    }
}

/// Whether these bytes can be a part of a head, so that garbage is refused at once and not when its time is over.
/// Those before `checked` are known to be fine.
fn plausible(bytes: &[u8], checked: usize) -> bool {
    let mut previous = if checked == 0 { None } else { bytes.get(checked - 1) };
    bytes.first().is_none_or(u8::is_ascii_uppercase)
        && bytes.iter().skip(checked).all(|byte| {
            let fine = match byte {
                b'\n' => previous == Some(&b'\r'),
                b'\r' | b'\t' => true,
                _ => !byte.is_ascii_control(),
            };
            previous = Some(byte);
            fine
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    use super::*;

    const LIMIT: usize = 1000;

    /// Reads a request that arrives in pieces of `piece` bytes.
    fn read(request: &[u8], piece: usize) -> Result<(Head, Vec<u8>), HeadError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut client, mut server) = tokio::io::duplex(piece);
            let send = async move {
                // The reader may be satisfied before all is sent.
                let _ = client.write_all(request).await;
            };
            let receive = async move { Head::read(&mut server, LIMIT).await };
            tokio::join!(send, receive).1
        })
    }

    #[test]
    fn a_head_is_read_with_what_follows_it() {
        let request = b"GET /v1/streams/a%20b?ack=wal HTTP/1.1\r\nHost: h\r\nX-A:  1 \r\nx-a: 2\r\n\r\nmore";
        let (head, early) = read(request, 4096).unwrap();
        assert_eq!((head.method, head.version), (Method::GET, Version::HTTP_11));
        assert_eq!((head.target.path(), head.target.query()), ("/v1/streams/a%20b", Some("ack=wal")));
        assert_eq!(head.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(early, b"more");
    }

    #[test]
    fn row_47_a_token_is_not_printed() {
        let request = b"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer the-token\r\n\r\n";
        let (head, _) = read(request, 4096).unwrap();
        assert_eq!(head.headers[AUTHORIZATION], "Bearer the-token");
        assert!(!format!("{head:?} {:?}", head.headers.clone()).contains("the-token"));
    }

    #[test]
    fn pieces_do_not_matter() {
        let request = b"POST / HTTP/1.0\r\nHost: h\r\n\r\n";
        for piece in 1..request.len() {
            assert_eq!(read(request, piece), read(request, 4096), "{piece}");
        }
    }

    #[test]
    fn other_things_are_refused_before_they_end() {
        for garbage in ["\x16\x03\x01\x02", "get / HTTP/1.1\r\n", "GET / HTTP/1.1\n", "\r\n", "GET /\0"] {
            assert_eq!(read(garbage.as_bytes(), 1), Err(HeadError::Malformed), "{garbage:?}");
        }
        let malformed =
            ["GET /", "GET  / HTTP/1.1", "GET / HTTP/2", "GET / HTTP/1.1 x", "GET / HTTP/1.1\r\nbad"];
        for line in
            malformed.into_iter().chain(["GET / HTTP/1.1\r\nA: 1\r\n folded: 2", "GET / HTTP/1.1\r\n: v"])
        {
            assert_eq!(
                read(format!("{line}\r\n\r\n").as_bytes(), 4096),
                Err(HeadError::Malformed),
                "{line:?}"
            );
        }
    }

    #[test]
    fn a_head_that_is_cut_short_or_too_large_is_none() {
        assert_eq!(read(b"GET / HTTP/1.1\r\nHost", 4096), Err(HeadError::Gone));
        let large = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(LIMIT));
        assert_eq!(read(large.as_bytes(), 4096), Err(HeadError::TooLarge));
        assert_eq!(read(&[b'A'; 2 * LIMIT], 100), Err(HeadError::TooLarge));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in any::<Vec<u8>>(), piece in 1usize..64) {
            let _ = read(&[b"GET / HTTP/1.1\r\n", bytes.as_slice(), b"\r\n\r\n"].concat(), piece);
            let _ = read(&bytes, piece);
        }
    }
}
