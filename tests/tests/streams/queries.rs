//! SQL over rows in memory and rows in files.

use polarway_common::ErrorKind;
use polarway_tests::{Cluster, Sender, Session, Setup, until};
use std::time::Duration;

pub const TICKS: &str = "CREATE STREAM ticks (id BIGINT NOT NULL, at TIMESTAMP(6), symbol VARCHAR NOT NULL,
    price DECIMAL(18, 4)) WITH (event_time = 'at', seal_rows = 500)";

pub async fn start() -> (Cluster, Session) {
    let cluster = Setup::up().set("ingest.listen", "127.0.0.1:0").start().await;
    let session = cluster.session().await;
    session.ok(TICKS).await;
    (cluster, session)
}

/// Row `id` as JSON.
pub fn row(id: u64) -> String {
    let symbol = ["BTC", "ETH", "SOL"][(id % 3) as usize];
    let minute = id % 60;
    format!(
        r#"{{"id": {id}, "at": "2026-11-25T10:{minute:02}:00", "symbol": "{symbol}", "price": "{id}.25"}}"#
    )
}

pub async fn sealed(session: &Session) -> bool {
    let plan = session.ok("EXPLAIN SELECT * FROM ticks").await.text();
    plan.contains(".parquet")
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_seen_at_once_whether_sealed_or_not() {
    let (cluster, session) = start().await;
    assert_eq!(session.value("SELECT count(*) FROM ticks").await, "0");
    let mut sender = Sender::connect(cluster.front.ws(), "ticks").await;
    sender.send(row(0)).await;
    sender.acknowledged(1).await;
    assert_eq!(
        session.ok("SELECT * FROM ticks").await.cells(),
        [["0", "2026-11-25T10:00:00", "BTC", "0.2500"]]
    );
    assert_eq!(cluster.metric("polarway_ingest_arrival_to_visible_seconds_count").await, 1.0);
    for hundred in 0..12u64 {
        let rows: Vec<String> = (hundred * 100 + 1..=hundred * 100 + 100).map(row).collect();
        sender.send(format!("[{}]", rows.join(","))).await;
    }
    sender.acknowledged(13).await;
    assert_eq!((sender.rows, sender.bad), (1201, 0));
    until("rows are sealed", Duration::from_secs(60), || async { sealed(&session).await.then_some(()) })
        .await;
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        assert_eq!(
            session.ok("SELECT count(*), count(DISTINCT id), sum(id), max(price) FROM ticks").await.cells(),
            [["1201", "1201", "720600", "1200.2500"]],
            "{route}"
        );
        assert_eq!(
            session
                .ok("SELECT symbol, count(*) FROM ticks WHERE id >= 1000 GROUP BY symbol ORDER BY symbol")
                .await
                .cells(),
            [["BTC", "67"], ["ETH", "67"], ["SOL", "67"]],
            "{route}"
        );
        let join = "SELECT count(*) FROM ticks a JOIN ticks b ON a.id = b.id + 1 WHERE a.at > b.at";
        assert_eq!(session.value(join).await, "1180", "{route}");
    }
    let days = "SELECT DISTINCT date_trunc('day', at)::date FROM ticks";
    assert_eq!(session.ok(days).await.cells(), [["2026-11-25"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_are_in_their_own_table() {
    let (cluster, session) = start().await;
    let mut sender = Sender::connect(cluster.front.ws(), "ticks?producer=feed-1").await;
    sender.send(row(1)).await;
    sender.send(r#"[{"id": 2, "symbol": "BTC"}, {"id": "three", "symbol": "BTC"}]"#).await;
    sender.send(r#"{"id": 4}"#).await;
    sender.send("gibberish").await;
    sender.acknowledged(4).await;
    assert_eq!((sender.rows, sender.bad), (2, 3));
    assert_eq!(session.value("SELECT count(*) FROM ticks").await, "2");
    let letters = session
        .ok("SELECT producer, frame, column_name, bytes::varchar, reason FROM ticks_dead_letters ORDER BY frame")
        .await;
    let cells = letters.cells();
    assert_eq!(cells[0][..4], ["feed-1", "2", "id", r#"{"id": "three", "symbol": "BTC"}"#]);
    assert_eq!(cells[1][..4], ["feed-1", "3", "symbol", r#"{"id": 4}"#]);
    assert_eq!(cells[2][1..4], ["4", "NULL", "gibberish"]);
    assert!(cells[1][4].contains("symbol"), "{}", cells[1][4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_across_seals_misses_and_doubles_nothing() {
    let (cluster, session) = start().await;
    let address = cluster.front.ws();
    let sending = tokio::spawn(async move {
        let mut sender = Sender::connect(address, "ticks").await;
        for frame in 0..400u64 {
            let rows: Vec<String> = (frame * 20..frame * 20 + 20).map(row).collect();
            sender.send(rows.join("\n")).await;
            if frame % 20 == 19 {
                sender.acknowledged(frame + 1).await;
            }
        }
    });
    let mut last = 0;
    while last < 8000 {
        let answer =
            session.ok("SELECT count(*), count(DISTINCT id), coalesce(max(id) + 1, 0) FROM ticks").await;
        let numbers: Vec<u64> = answer.cells()[0].iter().map(|cell| cell.parse().unwrap()).collect();
        assert!(numbers[0] == numbers[1] && numbers[1] == numbers[2], "{numbers:?}");
        assert!(numbers[0] >= last, "{numbers:?} after {last}");
        last = numbers[0];
    }
    sending.await.unwrap();
    until("rows are sealed", Duration::from_secs(60), || async { sealed(&session).await.then_some(()) })
        .await;
}

/// However often a statement names a stream, it sees one moment of it.
#[tokio::test(flavor = "multi_thread")]
async fn all_parts_of_a_query_see_the_same_rows() {
    let (cluster, session) = start().await;
    session.ok("CREATE VIEW latest AS SELECT max(id) AS id FROM ticks").await;
    let address = cluster.front.ws();
    let sending = tokio::spawn(async move {
        let mut sender = Sender::connect(address, "ticks").await;
        for frame in 0..3000u64 {
            sender.send(row(frame)).await;
            if frame % 10 == 9 {
                sender.acknowledged(frame + 1).await;
            }
        }
    });
    let query = "SELECT a.n, b.n, coalesce(latest.id + 1, 0) FROM (SELECT count(*) AS n FROM ticks) a,
        (SELECT count(DISTINCT id) AS n FROM ticks) b, latest";
    let mut seen = 0;
    while seen < 3000 {
        let numbers: Vec<u64> =
            session.ok(query).await.cells()[0].iter().map(|cell| cell.parse().unwrap()).collect();
        assert!(numbers.iter().all(|number| *number == numbers[0]), "{numbers:?}");
        seen = numbers[0];
    }
    sending.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_asks_for_the_rows_that_were_acknowledged_with_it() {
    let (cluster, session) = start().await;
    let mut sender = Sender::connect(cluster.front.ws(), "ticks?ack=received").await;
    sender.send(row(1)).await;
    sender.acknowledged(1).await;
    assert_eq!(sender.token, None, "it may be taken back yet");
    let mut sender = Sender::connect(cluster.front.ws(), "ticks").await;
    sender.send(row(2)).await;
    sender.acknowledged(1).await;
    let token = sender.token.unwrap();
    session.ok(&format!("SET polarway.read_after = '{token}'")).await;
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        assert_eq!(session.value("SELECT count(*) FROM ticks").await, "2");
    }
    // One of rows that are not there, as after a log that was lost.
    let (stream, place) = token.split_once(':').unwrap();
    assert_eq!(place, "2");
    session.ok(&format!("SET polarway.read_after = '{token}, {stream}:3'")).await;
    let error = session.error("SELECT count(*) FROM ticks").await;
    assert_eq!(error.kind, ErrorKind::StoreUnavailable);
    assert!(error.message.contains("place 2") && error.message.contains("asks for 3"), "{error}");
    // What does not read the stream is not concerned.
    assert_eq!(session.value("SELECT 1").await, "1");
    session.ok("RESET polarway.read_after").await;
    assert_eq!(session.value("SELECT count(*) FROM ticks").await, "2");
    let error = session.error("SET polarway.read_after = 'yesterday'").await;
    assert_eq!(error.kind, ErrorKind::InvalidSetting);
}
