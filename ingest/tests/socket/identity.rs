//! Who may write, and for how long.

use std::time::Duration;

use polarway_common::config::{IdentityConfig, Secret};
use polarway_identity::connection::Link;
use polarway_identity::{Identity, Tls};
use polarway_ingest::socket::{Closed, Options};
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;

use super::client::{Client, raw};
use super::handshake::{UPGRADE, parts};
use super::server::{Server, until};

const ANA: &str = "a-token-of-ana-0123456789";
const BEN: &str = "a-token-of-ben-0123456789";
const RUTH: &str = "a-token-of-ruth-0123456789";
const PROCESS: &str = "the-secret-of-all-processes-0123456789";

/// A server that knows its users by a file.
struct Guarded {
    server: Server,
    identity: Identity,
    users: NamedTempFile,
}

fn knows(file: &NamedTempFile, users: &[(&str, &str, &str)]) {
    let entry = |(name, role, token): &(&str, &str, &str)| {
        format!("[[token]]\nname = '{name}'\nrole = '{role}'\ntoken = '{token}'\n")
    };
    std::fs::write(file.path(), users.iter().map(entry).collect::<String>()).unwrap();
}

impl Guarded {
    async fn start(options: Options) -> Self {
        let users = NamedTempFile::new().unwrap();
        knows(&users, &[("ana", "write", ANA), ("ben", "write", BEN), ("ruth", "read", RUTH)]);
        let config = IdentityConfig {
            tokens: Some(users.path().to_owned()),
            process_secret: Some(Secret::new(PROCESS)),
            trusted_network: false,
        };
        let identity = Identity::load(&config, &Tls::default()).await.unwrap();
        Self { server: Server::knowing(identity.clone(), options).await, identity, users }
    }

    /// Status, headers and kind of the error of what is answered to an upgrade.
    async fn asked(&self, request: &str, authorization: Option<&str>) -> (u16, String, Value) {
        let header = authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
        let request = format!("{request} HTTP/1.1\r\n{header}{UPGRADE}");
        let (status, headers, body) = parts(&raw(self.server.address, request.as_bytes()).await);
        assert!(!body.to_string().contains("0123456789"), "{body}");
        (status, headers, body["error"]["kind"].clone())
    }

    /// Takes Ana's token from her, and has the server notice.
    async fn revoke(&self) {
        let header = format!("Bearer {ANA}");
        let ana = self.identity.identify(Some(header.as_bytes()), Link::Plain).unwrap();
        knows(&self.users, &[("ben", "write", BEN)]);
        let stop = CancellationToken::new();
        let following = tokio::spawn(self.identity.clone().follow(stop.clone()));
        self.identity.revoked(&ana).await;
        stop.cancel();
        following.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn row_47_a_handshake_needs_the_token_of_somebody_who_may_write() {
    let guarded = Guarded::start(Options::default()).await;
    // Whether there is such a stream, and what is with it, is not told.
    for stream in ["ticks", "none", "secret", "busy", "broken"] {
        let request = format!("GET /v1/streams/{stream}");
        for wrong in [None, Some("Bearer a-wrong-token-0123456789"), Some("Basic !"), Some(ANA), Some("")] {
            let (status, headers, kind) = guarded.asked(&request, wrong).await;
            assert_eq!((status, kind), (401, "unauthenticated".into()), "{stream} {wrong:?}");
            assert!(headers.contains("www-authenticate: bearer"), "{headers}");
        }
        for token in [RUTH, PROCESS] {
            let (status, headers, kind) = guarded.asked(&request, Some(&format!("Bearer {token}"))).await;
            assert_eq!((status, kind), (403, "not_allowed".into()), "{stream}");
            assert!(!headers.contains("www-authenticate"), "{headers}");
        }
    }
    assert_eq!(guarded.asked("GET /", None).await.0, 404);
    assert_eq!(guarded.asked("POST /v1/streams/ticks", None).await.0, 405);
    let ana = format!("Bearer {ANA}");
    let (status, _, kind) = guarded.asked("GET /v1/streams/none", Some(&ana)).await;
    assert_eq!((status, kind), (404, "unknown_stream".into()));
    let mut client = Client::with_token(&guarded.server, "ticks", ANA).await;
    client.send("a").await;
    assert_eq!(client.acked(1).await, (1, 1, 0));
    drop(client);
    guarded.server.shutdown().await;
}

#[tokio::test]
async fn row_47_a_revoked_token_ends_its_connections() {
    let guarded = Guarded::start(Options::default()).await;
    let server = &guarded.server;
    server.memory.set(|gates| gates.durable = 0);
    let mut client = Client::with_token(server, "ticks", ANA).await;
    let mut quiet = Client::with_token(server, "ticks", ANA).await;
    let mut other = Client::with_token(server, "ticks", BEN).await;
    client.send("a").await;
    server.memory.holds(1).await;
    guarded.revoke().await;
    assert_eq!(quiet.refused().await, ("unauthenticated".into(), 1008));
    server.memory.set(|gates| gates.durable = u64::MAX);
    assert_eq!(client.acked(1).await, (1, 1, 0), "what came before is acknowledged");
    assert_eq!(client.refused().await, ("unauthenticated".into(), 1008));
    server.closed(Closed::Policy, 2).await;
    other.send("b").await;
    assert_eq!(other.acked(1).await, (1, 1, 0));
    let (status, _, _) = guarded.asked("GET /v1/streams/ticks", Some(&format!("Bearer {ANA}"))).await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn row_47_a_stream_without_room_does_not_hold_up_the_end_of_a_revoked_connection() {
    let options = Options { grace: Duration::from_millis(50), ..Options::default() };
    let guarded = Guarded::start(options).await;
    let server = &guarded.server;
    server.memory.set(|gates| gates.room = false);
    let mut client = Client::with_token(server, "ticks", ANA).await;
    client.send("a").await;
    // The frame waits for room.
    until(|| server.memory.gates.receiver_count() > 0).await;
    guarded.revoke().await;
    assert_eq!(client.refused().await, ("unauthenticated".into(), 1008));
    assert!(server.memory.payloads().is_empty());
}
