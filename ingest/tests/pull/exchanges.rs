//! Servers that speak the public message shapes of exchanges.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::support::{Server, Setup, trades, upgrade};
use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use polarway_ingest::pull::{Ended, GapKind, SecretFiles, gap_batch};

fn binance_trade(id: u32, price: &str) -> String {
    format!(
        r#"{{"stream":"bnbbtc@trade","data":{{"e":"trade","E":1672515782136,"s":"BNBBTC","t":{id},"p":"{price}","q":"100","T":1672515782136,"m":true,"M":true}}}}"#
    )
}

#[tokio::test]
async fn row_23_binance_with_headers_secrets_a_clean_close_and_gaps() {
    let server = Server::start(|number, stream, heard| async move {
        let mut peer = upgrade(stream, &heard).await;
        let subscription = peer.text().await.unwrap();
        assert!(subscription.contains("SUBSCRIBE"), "{subscription}");
        peer.send(r#"{"result":null,"id":1}"#).await;
        if number == 0 {
            peer.send(binance_trade(1, "0.001")).await;
            peer.send(binance_trade(2, "0.002")).await;
            peer.send(binance_trade(5, "0.003")).await;
            peer.close().await;
        } else {
            peer.send(binance_trade(9, "0.004")).await;
            peer.stay().await;
        }
    })
    .await;
    let secrets = tempfile::tempdir().unwrap();
    std::fs::write(secrets.path().join("api.key"), "first\n").unwrap();
    let mut setup = Setup::new(&server, trades());
    setup.policy.secrets = Arc::new(SecretFiles::new(secrets.path()));
    let feed = setup.run(&[
        ("headers", r#"{"X-MBX-APIKEY": {"secret": "api.key"}, "User-Agent": "polarway"}"#),
        (
            "subscribe",
            r#"{"method": "SUBSCRIBE", "params": ["bnbbtc@trade"], "key": {"secret": "api.key"}, "id": 1}"#,
        ),
        ("subscribe_ack", r#"{"/result": null, "/id": 1}"#),
        ("subscribe_error", r#"{"/error": {"exists": true}}"#),
        ("filter", r#"{"/data/e": "trade"}"#),
        ("rows", "/data"),
        (
            "mapping",
            r#"{"at": {"pointer": "/T", "unit": "ms"}, "symbol": "/s", "price": "/p", "size": "/q"}"#,
        ),
        ("sequence", "/t"),
        ("sequence_by", "/s"),
    ]);
    feed.sink.until("the first rows", |sink| sink.rows() >= 3).await;
    std::fs::write(secrets.path().join("api.key"), "second\n").unwrap();
    feed.sink.until("rows after the close", |sink| sink.rows() == 4).await;

    assert_eq!(feed.sink.decimals("price"), [100_000, 200_000, 300_000, 400_000].map(Some));
    assert_eq!(feed.sink.strings("symbol"), vec![Some("BNBBTC".to_owned()); 4]);
    let at = feed.sink.batches.lock()[0].rows.column(0).as_primitive::<TimestampMicrosecondType>().value(0);
    assert_eq!(at, 1_672_515_782_136_000);
    let gaps = feed.sink.gaps();
    let sequences: Vec<_> = gaps
        .iter()
        .filter(|gap| gap.kind == GapKind::Sequence)
        .map(|gap| (gap.key.as_deref(), gap.expected, gap.found))
        .collect();
    assert_eq!(
        sequences,
        [(Some("BNBBTC"), Some(3), Some(5)), (Some("BNBBTC"), Some(6), Some(9))],
        "what was missed while away is found too"
    );
    let away: Vec<_> = gaps.iter().filter(|gap| gap.kind == GapKind::Disconnected).collect();
    assert!(away.len() == 1 && away[0].from_micros.unwrap() <= away[0].to_micros, "{away:?}");
    assert!(away[0].detail.contains("the server closed the connection"), "{}", away[0].detail);
    assert_eq!(gap_batch(&gaps).unwrap().num_rows(), 3);

    let (status, heard) = (feed.status.snapshot(), server.heard.clone());
    assert_eq!((status.connected, status.rows, status.bad, status.gaps), (true, 4, 0, 3));
    assert_eq!((status.dials, status.connects, status.skipped, status.messages), (2, 2, 2, 6));
    assert!(status.last_message_micros.is_some() && status.bytes > 500);
    assert_eq!(feed.stop().await, Ended::Stored);
    let heard = heard.lock();
    let keys: Vec<_> =
        heard.requests.iter().map(|request| request.headers()["x-mbx-apikey"].clone()).collect();
    assert_eq!(keys, ["first", "second"], "secrets are read at each dial");
    assert_eq!(heard.requests[0].headers()["user-agent"], "polarway");
    assert!(
        heard.messages[0].contains(r#""key":"first""#) && heard.messages[1].contains(r#""key":"second""#)
    );
}

#[tokio::test]
async fn row_23_coinbase_with_heartbeats_and_a_null() {
    let server = Server::start(|_, stream, heard| async move {
        let mut peer = upgrade(stream, &heard).await;
        peer.text().await.unwrap();
        peer.send(r#"{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD"]}]}"#).await;
        peer.send(r#"{"type":"heartbeat","sequence":49,"last_trade_id":9,"product_id":"BTC-USD","time":"2014-11-07T08:19:26.028459Z"}"#).await;
        peer.send(r#"{"type":"match","trade_id":10,"sequence":50,"maker_order_id":"ac928c66","taker_order_id":"132fb6ae","time":"2014-11-07T08:19:27.028459Z","product_id":"BTC-USD","size":"5.23512","price":"400.23","side":"sell"}"#).await;
        peer.send(r#"{"type":"match","trade_id":11,"sequence":53,"time":"2014-11-07T08:19:28Z","product_id":"BTC-USD","size":null,"price":"400.24","side":"buy"}"#).await;
        peer.stay().await;
    })
    .await;
    let feed = Setup::new(&server, trades()).run(&[
        (
            "subscribe",
            r#"{"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["matches", "heartbeat"]}"#,
        ),
        ("subscribe_ack", r#"{"/type": "subscriptions"}"#),
        ("subscribe_error", r#"{"/type": "error"}"#),
        ("filter", r#"{"/type": ["match", "last_match"]}"#),
        ("mapping", r#"{"at": "/time", "symbol": "/product_id"}"#),
        ("sequence", "/trade_id"),
        ("sequence_by", "/product_id"),
    ]);
    feed.sink.until("two rows", |sink| sink.rows() == 2).await;
    assert_eq!(feed.sink.decimals("size"), [Some(523_512_000), None]);
    assert_eq!((feed.sink.gaps(), feed.sink.bad()), (vec![], vec![]));
    assert_eq!(feed.status.skipped.load(Relaxed), 2);
    assert_eq!(feed.stop().await, Ended::Stored);
}

const KRAKEN: [(&str, &str); 6] = [
    (
        "subscribe",
        r#"{"method": "subscribe", "params": {"channel": "trade", "symbol": ["MATIC/USD"]}, "req_id": 1}"#,
    ),
    ("subscribe_ack", r#"{"/method": "subscribe", "/success": true}"#),
    ("subscribe_error", r#"{"/method": "subscribe", "/success": false}"#),
    ("filter", r#"{"/channel": "trade"}"#),
    ("rows", "/data"),
    ("mapping", r#"{"at": "/timestamp", "size": "/qty"}"#),
];

#[tokio::test]
async fn kraken_refuses_a_subscription_first() {
    let server = Server::start(|number, stream, heard| async move {
        let mut peer = upgrade(stream, &heard).await;
        peer.send(r#"{"channel":"status","type":"update","data":[{"version":"2.0.0","system":"online"}]}"#).await;
        peer.text().await.unwrap();
        if number < 2 {
            peer.send(r#"{"error":"Currency pair not supported MATIC/USD","method":"subscribe","req_id":1,"success":false}"#).await;
        } else {
            peer.send(r#"{"method":"subscribe","result":{"channel":"trade","snapshot":true,"symbol":"MATIC/USD"},"success":true,"time_in":"2023-09-25T09:04:31.742599Z"}"#).await;
            peer.send(r#"{"channel":"trade","type":"update","data":[{"symbol":"MATIC/USD","side":"buy","price":0.5117,"qty":40.0,"ord_type":"market","trade_id":4665906,"timestamp":"2023-09-25T07:49:37.708706Z"},{"symbol":"MATIC/USD","side":"buy","price":0.5118,"qty":1.5,"ord_type":"market","trade_id":4665907,"timestamp":"2023-09-25T07:49:38.708706Z"}]}"#).await;
            peer.send(r#"{"channel":"heartbeat"}"#).await;
        }
        peer.stay().await;
    })
    .await;
    let feed = Setup::new(&server, trades()).run(&KRAKEN);
    feed.sink.until("rows", |sink| sink.rows() == 2).await;
    assert_eq!(feed.sink.decimals("price"), [Some(51_170_000), Some(51_180_000)]);
    let gaps = feed.sink.gaps();
    assert_eq!(gaps[0].kind, GapKind::Refused);
    assert!(gaps[0].detail.contains("Currency pair not supported"), "{}", gaps[0].detail);
    assert_eq!(gaps.iter().filter(|gap| gap.kind == GapKind::Refused).count(), 1);
    assert_eq!(feed.status.connects.load(Relaxed), 3);
    assert_eq!(feed.stop().await, Ended::Stored);
}

#[tokio::test]
async fn kraken_v1_sends_arrays() {
    let server = Server::start(|_, stream, heard| async move {
        let mut peer = upgrade(stream, &heard).await;
        peer.text().await.unwrap();
        peer.send(r#"{"channelID":0,"channelName":"trade","event":"subscriptionStatus","pair":"XBT/USD","status":"subscribed","subscription":{"name":"trade"}}"#).await;
        peer.send(r#"{"event":"heartbeat"}"#).await;
        peer.send(r#"[0,[["5541.20000","0.15850568","1534614057.321597","s","l",""],["6060.00000","0.02455000","1534614057.3249981","b","l",""]],"trade","XBT/USD"]"#).await;
        peer.stay().await;
    })
    .await;
    let feed = Setup::new(&server, trades()).run(&[
        ("subscribe", r#"{"event": "subscribe", "pair": ["XBT/USD"], "subscription": {"name": "trade"}}"#),
        ("subscribe_ack", r#"{"/event": "subscriptionStatus", "/status": "subscribed"}"#),
        ("filter", r#"{"/2": "trade"}"#),
        ("rows", "/1"),
        ("mapping", r#"{"at": {"pointer": "/2", "unit": "s"}, "symbol": {"pointer": "/3", "of": "message"}, "price": "/0", "size": "/1"}"#),
    ]);
    feed.sink.until("a row and a bad one", |sink| sink.rows() == 1 && sink.bad().len() == 1).await;
    let (reason, bytes) = feed.sink.bad().remove(0);
    assert!(reason.contains("\"at\": \"1534614057.3249981\" is too fine"), "{reason}");
    assert_eq!(bytes, r#"["6060.00000","0.02455000","1534614057.3249981","b","l",""]"#);
    assert_eq!(feed.sink.strings("symbol"), [Some("XBT/USD".to_owned())]);
    assert_eq!(feed.stop().await, Ended::Stored);
}
