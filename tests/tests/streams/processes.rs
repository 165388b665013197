//! Streams in processes of their own: two that take rows, two that run queries. Row 27 as far as one scheduler with its own
//! metadata store allows: a stream stays with the process that has its log.

use std::time::Duration;

use polarway_tests::{Cluster, Sender, Session, Setup, files, until};
use tokio_tungstenite::tungstenite::Error;

use crate::queries::{TICKS, row, sealed};

const QUOTES: &str = "CREATE STREAM quotes (id BIGINT NOT NULL, symbol VARCHAR, bid DOUBLE)";
const ROWS: u64 = 3000;

async fn start() -> (Cluster, Session) {
    start_with(Setup::cluster(2)).await
}

async fn start_with(setup: Setup) -> (Cluster, Session) {
    let cluster = setup.ingest(2).start().await;
    let session = cluster.session().await;
    session.ok(TICKS).await;
    session.ok(QUOTES).await;
    (cluster, session)
}

/// Index of the process that has a stream.
async fn owner(session: &Session, stream: &str) -> usize {
    let query = format!("SELECT owner FROM system.streams WHERE stream_name = '{stream}'");
    session.value(&query).await.strip_prefix("ingest-").unwrap().parse().unwrap()
}

fn quote(id: u64) -> String {
    let bid = if id.is_multiple_of(11) { "null".to_owned() } else { format!("{}.5", id % 100) };
    format!(r#"{{"id": {id}, "symbol": "S{}", "bid": {bid}}}"#, id % 7)
}

async fn fill(cluster: &Cluster, session: &Session) {
    let mut ticks = Sender::connect(cluster.ingest[owner(session, "ticks").await].ws(), "ticks").await;
    let mut quotes = Sender::connect(cluster.ingest[owner(session, "quotes").await].ws(), "quotes").await;
    for hundred in 0..ROWS / 100 {
        let ids = hundred * 100..hundred * 100 + 100;
        ticks.send(ids.clone().map(row).collect::<Vec<_>>().join("\n")).await;
        quotes.send(ids.map(quote).collect::<Vec<_>>().join("\n")).await;
    }
    ticks.acknowledged(ROWS / 100).await;
    quotes.acknowledged(ROWS / 100).await;
    assert_eq!((ticks.bad, quotes.bad), (0, 0));
}

/// The shapes in which a scan of several partitions shows rows twice, if it does.
const SHAPES: [&str; 16] = [
    "SELECT count(*) FROM {}",
    "SELECT sum(id), min(id), max(bid) FROM {}",
    "SELECT count(DISTINCT symbol), count(DISTINCT id) FROM {}",
    "SELECT symbol, count(*), sum(bid) FROM {} GROUP BY symbol ORDER BY symbol",
    "SELECT id % 10 AS k, avg(bid) FROM {} GROUP BY k ORDER BY k",
    "SELECT count(*) FROM {} q JOIN names n ON q.symbol = n.symbol",
    "SELECT n.name, count(*) FROM {} q JOIN names n ON q.symbol = n.symbol GROUP BY n.name ORDER BY 1",
    "SELECT count(*) FROM (SELECT symbol FROM {} UNION ALL SELECT symbol FROM names)",
    "SELECT id, bid FROM {} WHERE bid > 98 AND id < 500 ORDER BY id",
    "SELECT bid * 2, id FROM {} WHERE id % 1000 = 1 ORDER BY id",
    "SELECT * FROM {} WHERE id = 1234",
    "SELECT count(*) FROM (SELECT id FROM {} LIMIT 17)",
    "SELECT id, bid FROM {} ORDER BY bid DESC NULLS LAST, id LIMIT 5",
    "SELECT id, rank() OVER (PARTITION BY symbol ORDER BY id) AS r FROM {} ORDER BY r DESC, id LIMIT 5",
    "SELECT count(*) FROM {} a JOIN {} b ON a.id = b.id + 1",
    "SELECT id FROM {} WHERE upper(symbol) = 'S3' AND id > 2900 AND bid IS NOT NULL ORDER BY id",
];

#[tokio::test(flavor = "multi_thread")]
async fn queries_over_two_owners_equal_those_over_a_table() {
    let data = tempfile::tempdir().unwrap();
    let (cluster, session) = start_with(Setup::cluster(2).allow(data.path())).await;
    assert_eq!(session.value("SELECT count(*) FROM ticks t JOIN quotes q ON t.id = q.id").await, "0");
    assert_ne!(owner(&session, "ticks").await, owner(&session, "quotes").await, "streams are spread");
    fill(&cluster, &session).await;
    // The same rows, in files.
    for (name, query) in [
        (
            "plain",
            "SELECT value AS id, concat('S', value % 7) AS symbol,
             CASE WHEN value % 11 = 0 THEN NULL ELSE (value % 100) + 0.5 END AS bid FROM generate_series(0, 2999)",
        ),
        (
            "names",
            "SELECT concat('S', value) AS symbol, concat('name ', value % 3) AS name FROM generate_series(0, 5)",
        ),
    ] {
        let path = data.path().join(format!("{name}.parquet"));
        files::parquet(&path, query).await;
        session
            .ok(&format!("CREATE EXTERNAL TABLE {name} STORED AS PARQUET LOCATION '{}'", path.display()))
            .await;
    }
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        for shape in SHAPES {
            let of = |table: &str| shape.replace("{}", table);
            session.set_route("direct").await;
            let expected = session.ok(&of("plain")).await.cells();
            session.set_route(route).await;
            assert_eq!(session.ok(&of("quotes")).await.cells(), expected, "{route}: {shape}");
        }
        let both =
            "SELECT count(*), sum(t.id) FROM ticks t JOIN quotes q ON t.id = q.id WHERE q.bid IS NOT NULL";
        assert_eq!(session.ok(both).await.cells(), [["2727", "4090092"]], "{route}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_27_a_sender_is_shown_the_way_and_a_restarted_owner_goes_on() {
    let (mut cluster, session) = start().await;
    let index = owner(&session, "ticks").await;
    let elsewhere = cluster.ingest[1 - index].ws();
    let refused = Sender::try_connect(elsewhere, "ticks?producer=p").await.err().unwrap();
    let Error::Http(answer) = refused else { panic!("{refused}") };
    assert_eq!(answer.status(), 307);
    let right = format!("ws://{}/v1/streams/ticks?producer=p", cluster.ingest[index].ws());
    assert_eq!(answer.headers()["Location"], right.as_str());

    let mut sender = Sender::connect(cluster.ingest[index].ws(), "ticks?producer=p").await;
    for frame in 0..20 {
        sender.send((frame * 50..frame * 50 + 50).map(row).collect::<Vec<_>>().join("\n")).await;
    }
    sender.acknowledged(20).await;
    until("rows are sealed", Duration::from_secs(60), || async { sealed(&session).await.then_some(()) })
        .await;

    cluster.ingest[index].kill();
    let error = session.error("SELECT count(*) FROM ticks").await;
    assert!(error.to_string().contains("cannot be reached"), "{error}");
    let unknown = "SELECT count(*) FROM system.streams WHERE hot_rows IS NULL";
    assert_eq!(session.value(unknown).await, "2", "and says nothing of it");

    cluster.start_ingest_again(index);
    let mut sender = Sender::connect(cluster.ingest[index].ws(), "ticks?producer=p").await;
    assert_eq!(sender.last, 20);
    sender.send(row(1000)).await;
    sender.acknowledged(1).await;
    let all = "SELECT count(*), count(DISTINCT id), max(id) FROM ticks";
    assert_eq!(session.ok(all).await.cells(), [["1001", "1001", "1000"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_27_a_stopped_process_leaves_its_rows_and_gets_no_stream() {
    let (mut cluster, session) = start().await;
    fill(&cluster, &session).await;
    assert_eq!(cluster.metric("polarway_executors").await, 2.0, "those that take rows get no tasks");
    let index = owner(&session, "quotes").await;
    assert!(cluster.ingest[index].stop().await.success());
    session.ok("CREATE STREAM later (id BIGINT)").await;
    assert_eq!(owner(&session, "later").await, 1 - index);
    cluster.start_ingest_again(index);
    assert_eq!(session.value("SELECT count(*) FROM quotes").await, ROWS.to_string());
    session.ok("DROP STREAM quotes").await;
    assert_eq!(
        session.value("SELECT count(*) FROM system.streams WHERE stream_name LIKE 'quotes%'").await,
        "0"
    );
}
