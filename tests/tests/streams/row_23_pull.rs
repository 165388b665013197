//! Streams that the server fetches, from a server that follows a script.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use polarway_common::ErrorKind;
use polarway_tests::{Cluster, Session, Setup, until};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

const CEILING: Duration = Duration::from_secs(60);

/// Sends trades as an exchange does: number `n` has price `n`.25; every connection ends after `each` of them, and one number
/// is left out between two connections.
struct Exchange {
    address: String,
    task: JoinHandle<()>,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Exchange {
    async fn start(each: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move {
            let mut next = 1;
            while let Ok((tcp, _)) = listener.accept().await {
                let Ok(mut socket) = accept_async(tcp).await else { continue };
                let Some(Ok(Message::Text(subscription))) = socket.next().await else { continue };
                assert!(
                    subscription.contains("btcusdt@trade") && subscription.contains("the key"),
                    "{subscription}"
                );
                let _ = socket.send(Message::text(r#"{"result":null,"id":1}"#)).await;
                for number in next..next + each {
                    let trade = if number % 50 == 0 {
                        format!(r#"{{"stream":"btcusdt@trade","data":{{"t":{number},"p":"abc"}}}}"#)
                    } else {
                        format!(
                            r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","s":"BTCUSDT","t":{number},"p":"{number}.25","q":null,"T":{}}}}}"#,
                            1_764_064_800_000 + number
                        )
                    };
                    let _ = socket.send(Message::text(trade)).await;
                }
                next += each + 1;
                let _ = socket.close(None).await;
            }
        });
        Self { address, task }
    }

    fn statement(&self) -> String {
        format!(
            r#"CREATE STREAM trades (id BIGINT NOT NULL, at TIMESTAMP(3), symbol VARCHAR, price DECIMAL(18, 2) NOT NULL, quantity DOUBLE)
               WITH (event_time = 'at', url = 'ws://{}/stream',
                     subscribe = '{{"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1, "key": {{"secret": "exchange"}}}}',
                     subscribe_ack = '{{"/result": null, "/id": 1}}',
                     filter = '{{"/stream": "btcusdt@trade"}}', rows = '/data',
                     mapping = '{{"id": "/t", "at": {{"pointer": "/T", "unit": "ms"}}, "symbol": "/s", "price": "/p", "quantity": "/q"}}',
                     sequence = '/t', backoff_min = '10ms', backoff_max = '50ms')"#,
            self.address
        )
    }
}

fn setup(exchange: &Exchange, secrets: &std::path::Path, base: Setup) -> Setup {
    std::fs::write(secrets.join("exchange"), "the key\n").unwrap();
    base.set("ingest.feeds", format!("ws://{}/", exchange.address))
        .set("ingest.secrets", secrets.display())
        .set("query.timeout", "60s")
}

async fn is_fetched(exchange: &Exchange, cluster: &mut Cluster, session: &Session) {
    session.ok(&exchange.statement()).await;
    let rows = "SELECT count(*) FROM trades";
    until("some connections are over", CEILING, || async {
        (session.value(rows).await.parse::<u64>().unwrap() > 1000).then_some(())
    })
    .await;
    let checks = "SELECT count(*) = count(DISTINCT id), count(quantity), bool_and(price = id + 0.25),
                  min(at), bool_and(id % 50 <> 0) FROM trades";
    assert_eq!(session.ok(checks).await.cells(), [["true", "0", "true", "2025-11-25T10:00:00.001", "true"]]);
    let letters = "SELECT count(*) > 5, bool_and(reason LIKE '%abc%') FROM trades_dead_letters";
    assert_eq!(session.ok(letters).await.cells(), [["true", "true"]]);
    let gaps =
        "SELECT kind, expected, found FROM trades_gaps WHERE kind = 'sequence' ORDER BY expected LIMIT 2";
    assert_eq!(session.ok(gaps).await.cells(), [["sequence", "101", "102"], ["sequence", "202", "203"]]);
    let lost = "SELECT count(*) > 5 FROM trades_gaps WHERE kind = 'disconnected'";
    assert_eq!(session.value(lost).await, "true");
    let feed = "SELECT url FROM system.streams WHERE stream_name = 'trades'";
    assert_eq!(session.value(feed).await, format!("ws://{}/stream", exchange.address));

    // A push into it is refused, and so is a feed that nothing allows.
    let door = cluster.ingest.first().map_or_else(|| cluster.front.ws(), |process| process.ws());
    assert!(polarway_tests::Sender::try_connect(door, "trades").await.is_err());
    let other = exchange.statement().replace("trades (", "others (").replace("/stream'", ":1/stream'");
    let other = other.replace(&exchange.address, "127.0.0.1:1");
    let error = session.error(&other.replace("127.0.0.1:1:1", "127.0.0.1:1")).await;
    assert_eq!(error.kind, ErrorKind::PathNotAllowed, "{error}");
    assert_eq!(
        session.value("SELECT count(*) FROM system.streams WHERE stream_name LIKE 'others%'").await,
        "0"
    );
    session.ok("DROP STREAM trades").await;
    assert_eq!(session.value("SELECT count(*) FROM system.streams").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_23_a_feed_is_fetched_in_one_process() {
    let (exchange, secrets) = (Exchange::start(100).await, tempfile::tempdir().unwrap());
    let base = Setup::up().set("ingest.listen", "127.0.0.1:0");
    let mut cluster = setup(&exchange, secrets.path(), base).start().await;
    let session = cluster.session().await;
    is_fetched(&exchange, &mut cluster, &session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_23_a_feed_is_fetched_by_a_process_of_its_own_and_goes_on_after_a_kill() {
    let (exchange, secrets) = (Exchange::start(100).await, tempfile::tempdir().unwrap());
    let mut cluster = setup(&exchange, secrets.path(), Setup::cluster(1).ingest(1)).start().await;
    let session = cluster.session().await;
    session.ok(&exchange.statement()).await;
    let count = || async { session.value("SELECT count(*) FROM trades").await.parse::<u64>().unwrap() };
    until("rows come", CEILING, || async { (count().await > 200).then_some(()) }).await;
    cluster.ingest[0].kill();
    cluster.start_ingest_again(0);
    let before = count().await;
    until("rows come again", CEILING, || async { (count().await > before + 200).then_some(()) }).await;
    let doubled = "SELECT count(*) - count(DISTINCT id) FROM trades";
    assert_eq!(session.value(doubled).await, "0");
    session.ok("DROP STREAM trades").await;
    is_fetched_anew(&exchange, &session).await;
}

/// The exchange's numbers go on, so that what `is_fetched` looks for is over.
async fn is_fetched_anew(exchange: &Exchange, session: &Session) {
    session.ok(&exchange.statement()).await;
    until("rows come into the new stream", CEILING, || async {
        (session.value("SELECT count(*) FROM trades").await != "0").then_some(())
    })
    .await;
    assert_eq!(session.value("SELECT bool_and(price = id + 0.25) FROM trades").await, "true");
}
