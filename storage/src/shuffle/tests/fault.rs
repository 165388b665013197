//! Asks real clients of `object_store`, because what they make of an answer is not part of their types.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use object_store::Error;
use object_store::path::Path;
use polarway_common::config::{S3Config, Secret};
use polarway_common::{Error as UserError, ErrorKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::super::testing::{permanent, transient};
use super::super::{Fault, Retry, ShuffleError, ShuffleStore, classify};

/// A server that gives everybody the same answer, and how often it was asked.
struct Server {
    address: String,
    asked: Arc<AtomicUsize>,
}

impl Server {
    async fn answering(status: &'static str, body: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(answer(socket, status, body));
            }
        });
        Self { address, asked }
    }

    fn store(&self, attempts: u32) -> ShuffleStore {
        store_at(&self.address, attempts)
    }
}

fn store_at(address: &str, attempts: u32) -> ShuffleStore {
    let s3 = S3Config {
        endpoint: Some(format!("http://{address}")),
        region: Some("us-east-1".into()),
        access_key_id: Some("key".into()),
        secret_access_key: Some(Secret::new("secret")),
        allow_http: true,
        ..S3Config::default()
    };
    let store = ShuffleStore::open(&Url::parse("s3://lake/shuffle").unwrap(), &s3).unwrap();
    store.with_retry(Retry { attempts, ..Retry::default() })
}

async fn answer(mut socket: TcpStream, status: &str, body: &str) {
    let mut request = [0_u8; 8192];
    let _ = socket.read(&mut request).await;
    let text = format!(
        "HTTP/1.1 {status}\r\nETag: \"1\"\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = socket.write_all(text.as_bytes()).await;
    let _ = socket.shutdown().await;
}

/// What `put` and `read` make of an answer.
async fn faults(status: &'static str, body: &'static str) -> (ShuffleError, ShuffleError) {
    let server = Server::answering(status, body).await;
    let store = server.store(1);
    let put = store.put("q/w/00000000.pack", Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(
        server.asked.load(Ordering::SeqCst),
        1 + usize::from(status.starts_with("412")),
        "{status}: asked once"
    );
    let read = store.read("q/w/00000000.pack", std::slice::from_ref(&(0..1))).await.unwrap_err();
    (put, read)
}

#[tokio::test]
async fn servers_that_fail_or_are_busy_are_asked_again() {
    for status in
        ["500 Internal Server Error", "503 Slow Down", "429 Too Many Requests", "408 Request Timeout"]
    {
        let (put, read) = faults(status, "").await;
        assert!(matches!(put, ShuffleError::Unavailable { attempts: 1, .. }), "{status}: {put:?}");
        assert!(matches!(read, ShuffleError::Unavailable { .. }), "{status}: {read:?}");
    }
    let (put, _) = faults("400 Bad Request", "<Error><Code>RequestTimeout</Code></Error>").await;
    assert!(matches!(put, ShuffleError::Unavailable { .. }), "{put:?}");
    let server = Server::answering("503 Slow Down", "").await;
    let error = server.store(3).put("q/w/00000000.pack", Bytes::new()).await.unwrap_err();
    assert!(matches!(error, ShuffleError::Unavailable { attempts: 3, .. }), "{error:?}");
    assert_eq!(server.asked.load(Ordering::SeqCst), 3, "no layer beneath repeats");
}

#[tokio::test]
async fn servers_that_refuse_are_not() {
    let kind = |error: ShuffleError| UserError::from(error).kind;
    let (put, read) = faults("403 Forbidden", "<Code>AccessDenied</Code>").await;
    assert!(put.to_string().contains("AccessDenied"), "{put}");
    assert_eq!((kind(put), kind(read)), (ErrorKind::PermissionDenied, ErrorKind::PermissionDenied));
    let (put, read) = faults("404 Not Found", "<Code>NoSuchBucket</Code>").await;
    assert_eq!((kind(put), kind(read)), (ErrorKind::Configuration, ErrorKind::Configuration));
    let (put, read) = faults("400 Bad Request", "").await;
    assert!(
        matches!((&put, &read), (ShuffleError::Refused { .. }, ShuffleError::Refused { .. })),
        "{put:?} {read:?}"
    );
    let (put, _) = faults("301 Moved Permanently", "").await;
    assert!(matches!(put, ShuffleError::Refused { .. }), "{put:?}");
}

#[tokio::test]
async fn an_object_that_is_not_there_is_missing() {
    let (_, read) = faults("404 Not Found", "<Code>NoSuchKey</Code>").await;
    assert!(matches!(read, ShuffleError::Missing { .. }), "{read:?}");
}

#[tokio::test]
async fn nobody_at_the_address_is_transient() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    // However often other requests are repeated, the check is over in time to say why.
    let error = store_at(&address, 1000).check().await.unwrap_err();
    assert!(matches!(error, ShuffleError::Unavailable { attempts: 4, .. }), "{error:?}");
    assert!(error.to_string().contains("s3://lake/shuffle/"), "{error}");
    assert_eq!(UserError::from(error).kind, ErrorKind::StoreUnavailable);
}

#[tokio::test]
async fn a_check_says_what_is_wrong_with_a_server() {
    for (status, needed) in [("200 OK", "ignores"), ("501 Not Implemented", "does not know")] {
        let error = Server::answering(status, "").await.store(2).check().await.unwrap_err();
        assert!(matches!(error, ShuffleError::Configuration { .. }), "{status}: {error:?}");
        let text = error.to_string();
        assert!(
            text.contains(needed) && text.contains("If-None-Match") && text.contains("s3://lake/shuffle"),
            "{text}"
        );
    }
    let error = Server::answering("403 Forbidden", "").await.store(2).check().await.unwrap_err();
    assert_eq!(UserError::from(error).kind, ErrorKind::PermissionDenied);
}

#[test]
fn errors_that_no_server_makes() {
    assert_eq!(classify(&transient()), Fault::Transient);
    assert_eq!(classify(&permanent()), Fault::Permanent);
    assert_eq!(classify(&Error::Generic { store: "s", source: "who knows".into() }), Fault::Permanent);
    let slow = "DeleteObjects request failed for key x: busy (code: SlowDown)";
    assert_eq!(classify(&Error::Generic { store: "s", source: slow.into() }), Fault::Transient);
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    assert_eq!(classify(&Error::Generic { store: "s", source: full.into() }), Fault::Permanent);
    let invalid = Path::parse("a//b").unwrap_err();
    assert_eq!(classify(&Error::InvalidPath { source: invalid }), Fault::Permanent);
    let unknown = Error::NotImplemented { operation: "put".into(), implementer: "s".into() };
    assert_eq!(classify(&unknown), Fault::Unsupported);
}
