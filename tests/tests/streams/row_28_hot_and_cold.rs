//! Rows in memory and rows in files are one table, also while they move.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use polarway_tests::feed::Feed;
use polarway_tests::{Oracle, Order, Sender, Session, Setup, assert_same, files, until};
use tempfile::TempDir;

use super::numbered::{counts, frame, parquet_files, sealed, table};

const CEILING: Duration = Duration::from_secs(120);

/// Queries again and again; each answer has to fit in itself and to hold what the one before held.
async fn read(session: Session, done: Arc<AtomicU64>, enough: u64) -> u64 {
    let mut before = BTreeMap::new();
    let mut queries = 0;
    while done.load(Ordering::SeqCst) < enough {
        let now = counts(&session).await;
        for (p, rows) in &before {
            assert!(now.get(p) >= Some(rows), "{now:?} after {before:?}");
        }
        before = now;
        queries += 1;
        done.fetch_add(u64::from(queries == 40), Ordering::SeqCst);
    }
    queries
}

#[tokio::test(flavor = "multi_thread")]
async fn row_28_every_answer_holds_the_first_rows_and_none_goes_back() {
    let cluster = Setup::up().set("ingest.listen", "127.0.0.1:0").start().await;
    let session = cluster.session().await;
    session.ok(&table("seal_age = '300ms'")).await;
    let feeds: Vec<Feed> = (0..3)
        .map(|p| {
            let stream = format!("numbered?producer=feed-{p}");
            Feed::start(cluster.front.ws(), stream, u64::MAX, move |number| frame(p, number, 5))
        })
        .collect();
    let done = Arc::new(AtomicU64::new(0));
    let routes = ["direct", "staged", "direct", "staged"];
    let enough = routes.len() as u64;
    let mut readers = vec![];
    for route in routes {
        let session = cluster.session().await;
        session.set_route(route).await;
        readers.push(tokio::spawn(read(session, Arc::clone(&done), enough)));
    }
    let streams = cluster.dir().join("front/streams");
    let files = || parquet_files(&streams).len();
    let before = files();
    until("all readers have read enough", CEILING, || async {
        assert!(done.load(Ordering::SeqCst) == enough || readers.iter().all(|reader| !reader.is_finished()));
        (done.load(Ordering::SeqCst) == enough).then_some(())
    })
    .await;
    println!("from {before} to {} files", files());
    assert!(files() >= before + 5);
    for reader in readers {
        assert!(reader.await.unwrap() >= 40);
    }
    let mut expected = BTreeMap::new();
    for (p, feed) in (0..).zip(feeds) {
        expected.insert(p, feed.stop().await * 5);
    }
    assert_eq!(counts(&session).await, expected);
}

/// Rows of the streams, as DataFusion makes them.
const TRADES: &str = "SELECT value AS id, value % 40 AS symbol, CAST(value % 997 AS DOUBLE) AS price
    FROM generate_series(1, 3000)";
const QUOTES: &str = "SELECT value AS id, value % 50 AS symbol FROM generate_series(1, 500)";
const NAMES: &str = "SELECT value AS symbol, concat('name ', value % 7) AS name FROM generate_series(0, 35)";

const JOINS: [&str; 4] = [
    "SELECT name, count(*) AS trades, sum(price) AS total FROM trades JOIN names USING (symbol) GROUP BY name",
    "SELECT t.symbol, count(*) AS pairs, min(t.id) AS first FROM trades t JOIN quotes q ON t.symbol = q.symbol
     GROUP BY t.symbol",
    "SELECT t.id, q.id AS quote, name FROM trades t LEFT JOIN quotes q ON t.id = q.id
     LEFT JOIN names n ON n.symbol = t.symbol WHERE t.price < 300",
    "SELECT name, count(*) AS without FROM names n LEFT JOIN trades t ON t.symbol = n.symbol AND t.id > 2990
     WHERE NOT EXISTS (SELECT 1 FROM quotes q WHERE q.symbol = n.symbol AND q.id > 480) GROUP BY name",
];

#[tokio::test(flavor = "multi_thread")]
async fn row_28_joins_of_streams_and_files_equal_those_of_files() {
    let data = TempDir::new().unwrap();
    let oracle = Oracle::default();
    for (name, rows) in [("trades", TRADES), ("quotes", QUOTES), ("names", NAMES)] {
        let path = data.path().join(format!("{name}.parquet"));
        files::parquet(&path, rows).await;
        oracle.parquet(name, &path).await;
    }
    let cluster = Setup::up().allow(data.path()).set("ingest.listen", "127.0.0.1:0").start().await;
    let session = cluster.session().await;
    session
        .ok("CREATE STREAM trades (id BIGINT NOT NULL, symbol BIGINT NOT NULL, price DOUBLE) WITH (seal_rows = 1000)")
        .await;
    session
        .ok("CREATE STREAM quotes (id BIGINT NOT NULL, symbol BIGINT NOT NULL) WITH (seal_rows = 400)")
        .await;
    let names = data.path().join("names.parquet");
    session
        .ok(&format!("CREATE EXTERNAL TABLE names STORED AS PARQUET LOCATION '{}'", names.display()))
        .await;
    for (stream, rows) in [("trades", 3000), ("quotes", 500)] {
        let mut sender = Sender::connect(cluster.front.ws(), stream).await;
        let mut sent = 0;
        for from in (1..=rows).step_by(100) {
            let lines: Vec<String> = (from..from + 100)
                .map(|id| match stream {
                    "trades" => format!(r#"{{"id": {id}, "symbol": {}, "price": {}}}"#, id % 40, id % 997),
                    _ => format!(r#"{{"id": {id}, "symbol": {}}}"#, id % 50),
                })
                .collect();
            sender.send(lines.join("\n")).await;
            sent += 1;
            // At first some rows are in memory, some in files; later ones come when files are there.
            if from % 700 == 1 {
                sender.acknowledged(sent).await;
            }
        }
        sender.acknowledged(sent).await;
    }
    until("rows of both are sealed", CEILING, || async {
        (sealed(&session, "trades").await && sealed(&session, "quotes").await).then_some(())
    })
    .await;
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        for sql in JOINS {
            let answer = session.ok(sql).await;
            assert_eq!(answer.route, route);
            assert_same(sql, &answer, &*oracle.answer(sql).await, Order::None);
        }
    }
}
