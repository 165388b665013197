//! Servers that misbehave.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::support::{Running, Server, Setup, numbers, policy, upgrade};
use futures::{SinkExt, StreamExt};
use polarway_ingest::pull::{Ended, GapKind, PolicyError, PullError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

fn detail(feed: &Running, kind: GapKind) -> String {
    feed.sink.gaps().into_iter().find(|gap| gap.kind == kind).map(|gap| gap.detail).unwrap_or_default()
}

#[tokio::test]
async fn row_23_an_abort_is_a_gap() {
    let server = Server::start(|number, stream, heard| async move {
        if number == 0 {
            stream.set_zero_linger().unwrap();
        }
        let mut peer = upgrade(stream, &heard).await;
        peer.send(format!(r#"{{"n":{number}}}"#)).await;
        if number == 0 {
            // The row is read before the reset takes what is on its way with it.
            peer.text().await;
        } else {
            peer.stay().await;
        }
    })
    .await;
    let feed = Setup::new(&server, numbers()).run(&[("heartbeat", "ping"), ("heartbeat_interval", "50ms")]);
    feed.sink.until("a row after the abort", |sink| sink.rows() == 2).await;
    assert_eq!(feed.sink.integers("n"), [Some(0), Some(1)]);
    assert_eq!(feed.sink.kinds(), [GapKind::Disconnected]);
    assert!(detail(&feed, GapKind::Disconnected).contains("reset"), "{:?}", feed.sink.gaps());
    assert_eq!(server.heard.lock().messages[0], "ping");
    assert_eq!(feed.stop().await, Ended::Stored);
}

#[tokio::test]
async fn row_23_refused_handshakes_are_told_and_redirections_not_followed() {
    let server = Server::start(|number, mut stream, heard| async move {
        let answer = match number {
            0 => "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
            1 => "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
            2 => "HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/other\r\nContent-Length: 0\r\n\r\n",
            3 => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            _ => {
                let mut peer = upgrade(stream, &heard).await;
                peer.send(r#"{"n":1}"#).await;
                return peer.stay().await;
            }
        };
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let started = std::time::Instant::now();
    let feed = Setup::new(&server, numbers()).run(&[]);
    feed.sink.until("a row", |sink| sink.rows() == 1).await;
    assert!(started.elapsed() >= Duration::from_secs(1), "the server asked for a second");
    let details: Vec<_> = feed.sink.gaps().into_iter().map(|gap| (gap.kind, gap.detail)).collect();
    let wanted = ["HTTP 403", "HTTP 429", "HTTP 302", "HTTP 200"];
    assert_eq!(details.len(), wanted.len(), "{details:?}");
    for ((kind, detail), wanted) in details.iter().zip(wanted) {
        assert!(*kind == GapKind::Refused && detail.contains(wanted), "{detail}");
    }
    assert_eq!((feed.status.dials.load(Relaxed), feed.status.connects.load(Relaxed)), (5, 1));
    assert_eq!(feed.stop().await, Ended::Stored);
}

#[tokio::test]
async fn row_23_a_port_that_is_closed_is_dialled_again_until_it_opens() {
    let port = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let url = format!("ws://127.0.0.1:{port}/");
    let mut policy = policy();
    policy.allowed = vec![url.clone()];
    let feed = Setup { url, schema: numbers(), policy, options: Default::default() }.run(&[]);
    feed.sink.until("some dials", |_| feed.status.dials.load(Relaxed) >= 4).await;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let heard = Default::default();
    let mut peer = upgrade(stream, &heard).await;
    peer.send(r#"{"n":1}"#).await;
    feed.sink.until("a row", |sink| sink.rows() == 1).await;
    assert_eq!(feed.sink.gaps(), [], "nothing was lost: there was nothing before");
    let closed = tokio::spawn(async move {
        loop {
            match peer.socket.next().await {
                Some(Ok(Message::Close(_))) => return true,
                Some(Ok(_)) => {}
                _ => return false,
            }
        }
    });
    assert_eq!(feed.stop().await, Ended::Stored);
    assert!(closed.await.unwrap(), "the end is told with a close frame");
}

#[tokio::test]
async fn row_23_a_stalled_peer_is_dead() {
    let server = Server::start(|number, stream, heard| async move {
        let mut peer = upgrade(stream, &heard).await;
        peer.send(format!(r#"{{"n":{number}}}"#)).await;
        if number == 0 {
            // It neither reads nor writes, and so answers no ping; another connection is still accepted.
            tokio::spawn(async move {
                let _peer = peer;
                tokio::time::sleep(Duration::from_secs(60)).await;
            });
        } else {
            peer.stay().await;
        }
    })
    .await;
    let feed = Setup::new(&server, numbers()).run(&[("ping_interval", "50ms"), ("dead_after", "300ms")]);
    feed.sink.until("a row after the stall", |sink| sink.rows() == 2).await;
    assert_eq!(detail(&feed, GapKind::Disconnected), "the peer is dead: no byte for 300ms");
    let gap = feed.sink.gaps().remove(0);
    assert!(gap.to_micros - gap.from_micros.unwrap() >= 300_000);
    // The one that answers pings lives on.
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(feed.status.dials.load(Relaxed), 2);
    assert_eq!(feed.stop().await, Ended::Stored);
}

#[tokio::test]
async fn a_large_message_that_comes_slowly_is_a_sign_of_life() {
    let server = Server::start(|_, stream, heard| async move {
        let mut peer = upgrade(stream, &heard).await;
        let padding = "x".repeat(100);
        let message = format!(r#"{{"pad":"{padding}","n":1}}"#).into_bytes();
        let wire = peer.socket.get_mut();
        wire.write_all(&[0x81, u8::try_from(message.len()).unwrap()]).await.unwrap();
        for byte in message {
            wire.write_all(&[byte]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        peer.stay().await;
    })
    .await;
    let feed = Setup::new(&server, numbers()).run(&[("ping_interval", "100ms"), ("dead_after", "400ms")]);
    feed.sink.until("the row", |sink| sink.rows() == 1).await;
    assert_eq!(feed.status.dials.load(Relaxed), 1);
    assert_eq!(feed.stop().await, Ended::Stored);
}

#[tokio::test]
async fn a_feed_that_only_answers_pings_is_silent() {
    let server = Server::start(|number, stream, heard| async move {
        let mut peer = upgrade(stream, &heard).await;
        if number == 1 {
            peer.send(r#"{"n":1}"#).await;
        }
        peer.stay().await;
    })
    .await;
    let feed = Setup::new(&server, numbers()).run(&[
        ("ping_interval", "50ms"),
        ("dead_after", "200ms"),
        ("silent_after", "600ms"),
    ]);
    feed.sink.until("a row after the silence", |sink| sink.rows() == 1).await;
    assert_eq!(feed.sink.kinds(), [GapKind::Silent, GapKind::Disconnected]);
    assert_eq!(detail(&feed, GapKind::Silent), "the feed is silent: no row for 600ms");
    assert_eq!(feed.stop().await, Ended::Stored);
}

#[tokio::test]
async fn row_23_bad_json_is_told_and_the_connection_stays() {
    let server = Server::start(|_, stream, heard| async move {
        let mut peer = upgrade(stream, &heard).await;
        for text in [r#"{"n":1}"#, "{broken", r#"{"n":"2"}"#, "", r#"{"n":null}"#, r#"{"other":3}"#] {
            peer.send(text).await;
        }
        peer.socket.send(Message::binary(&b"{\"n\":\xff}"[..])).await.unwrap();
        peer.socket.send(Message::binary(&b"{\"n\":4}"[..])).await.unwrap();
        peer.stay().await;
    })
    .await;
    let feed = Setup::new(&server, numbers()).run(&[]);
    feed.sink.until("all messages", |sink| sink.rows() + sink.bad().len() == 8).await;
    assert_eq!(feed.sink.integers("n"), [Some(1), None, Some(4)]);
    let bad = feed.sink.bad();
    let bytes: Vec<_> = bad.iter().map(|(_, bytes)| bytes.as_str()).collect();
    assert_eq!(bytes, ["{broken", r#"{"n":"2"}"#, "", r#"{"other":3}"#, "{\"n\":\u{fffd}}"]);
    for ((reason, _), part) in
        bad.iter().zip(["not JSON", "found \"2\"", "not JSON", "none of the mapped", "UTF-8"])
    {
        assert!(reason.contains(part), "{reason}");
    }
    assert_eq!((feed.status.bad.load(Relaxed), feed.status.dials.load(Relaxed)), (5, 1));
    assert_eq!(feed.stop().await, Ended::Stored);
}

#[tokio::test]
async fn a_subscription_without_an_answer_is_given_up() {
    let server = Server::start(|number, stream, heard| async move {
        let mut peer = upgrade(stream, &heard).await;
        peer.text().await.unwrap();
        if number > 0 {
            peer.send(r#"{"ok":true}"#).await;
            peer.send(r#"{"n":1}"#).await;
        }
        peer.stay().await;
    })
    .await;
    let feed = Setup::new(&server, numbers()).run(&[
        ("subscribe", r#"["SUB one"]"#),
        ("subscribe_ack", r#"{"/ok": true}"#),
        ("subscribe_timeout", "200ms"),
    ]);
    feed.sink.until("a row", |sink| sink.rows() == 1).await;
    assert_eq!(detail(&feed, GapKind::Refused), "the subscription was not acknowledged within 200ms");
    assert_eq!(server.heard.lock().messages, ["SUB one", "SUB one"]);
    assert_eq!(feed.stop().await, Ended::Stored);
}

#[tokio::test]
async fn a_message_that_is_too_large_ends_the_connection() {
    let server = Server::start(|number, stream, heard| async move {
        let mut peer = upgrade(stream, &heard).await;
        match number {
            0 => peer.send("x".repeat(2000)).await,
            // Each piece is small enough.
            1 => {
                for (piece, last) in [(Data::Text, false), (Data::Continue, false), (Data::Continue, true)] {
                    let frame = Frame::message("x".repeat(400), OpCode::Data(piece), last);
                    peer.socket.send(Message::Frame(frame)).await.unwrap();
                }
            }
            _ => peer.send(r#"{"n":1}"#).await,
        }
        peer.stay().await;
    })
    .await;
    let mut setup = Setup::new(&server, numbers());
    setup.options.max_message_bytes = 1000;
    let feed = setup.run(&[]);
    feed.sink.until("a row", |sink| sink.rows() == 1).await;
    assert!(detail(&feed, GapKind::Disconnected).contains("1000 are allowed"), "{:?}", feed.sink.gaps());
    assert_eq!((feed.status.dials.load(Relaxed), feed.sink.bad()), (3, vec![]));
    assert_eq!(feed.stop().await, Ended::Stored);
}

#[tokio::test]
async fn pings_of_the_server_are_answered() {
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    let server = Server::start(move |_, stream, heard| {
        let tell = tell.clone();
        async move {
            let mut peer = upgrade(stream, &heard).await;
            peer.socket.send(Message::Ping(b"echo"[..].into())).await.unwrap();
            while let Some(Ok(message)) = peer.socket.next().await {
                if let Message::Pong(payload) = message {
                    tell.send(payload).await.unwrap();
                }
            }
        }
    })
    .await;
    let feed = Setup::new(&server, numbers()).run(&[]);
    let payload = tokio::time::timeout(crate::support::PATIENCE, told.recv()).await.unwrap().unwrap();
    assert_eq!(&payload[..], b"echo");
    assert_eq!(feed.stop().await, Ended::Stored);
}

#[tokio::test]
async fn what_nothing_allows_is_never_dialled() {
    let server = Server::start(|_, _, _| async { panic!("dialled") }).await;
    for allowed in
        [vec![], vec!["wss://127.0.0.1/".to_owned()], vec![format!("ws://127.0.0.1:{}/other", server.port)]]
    {
        let mut setup = Setup::new(&server, numbers());
        setup.policy.allowed = allowed;
        let error = setup.feed(&[]).unwrap_err();
        assert!(matches!(error, PullError::Policy(PolicyError::NotAllowed { .. })), "{error}");
    }
}

#[tokio::test]
async fn a_secret_that_is_missing_is_told_by_name_and_waited_for() {
    let server = Server::start(|_, stream, heard| async move {
        let mut peer = upgrade(stream, &heard).await;
        peer.send(format!(r#"{{"error":"bad key s3cret {}s3cret"}}"#, "x".repeat(173))).await;
        peer.stay().await;
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(&server, numbers());
    setup.policy.secrets = std::sync::Arc::new(polarway_ingest::pull::SecretFiles::new(directory.path()));
    let feed = setup.run(&[
        ("headers", r#"{"X-Key": {"secret": "key"}}"#),
        ("subscribe_error", r#"{"/error": {"exists": true}}"#),
    ]);
    feed.sink.until("some dials", |_| feed.status.dials.load(Relaxed) >= 2).await;
    assert!(server.heard.lock().requests.is_empty(), "without the secret nothing is sent");
    std::fs::write(directory.path().join("key"), "s3cret").unwrap();
    feed.sink.until("the refusal", |sink| sink.has(GapKind::Refused)).await;
    let detail = detail(&feed, GapKind::Refused);
    assert!(detail.contains("bad key ***") && !detail.contains("xs"), "{detail}");
    assert_eq!(feed.stop().await, Ended::Stored);
}
