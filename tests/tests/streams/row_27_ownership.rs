//! Streams move from a process that dies, or stands still past its lease, to one of the others; what its log holds comes
//! after when it is back. Producers number their rows, so that a missing or doubled one shows.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use polarway_tests::etcd::Etcd;
use polarway_tests::feed::{Feed, Memory};
use polarway_tests::{Cluster, Sender, Session, Setup, http, until};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::numbered::{counts, frame, table};

const CEILING: Duration = Duration::from_secs(120);
const TTL: Duration = Duration::from_secs(2);
/// What a takeover may take at most: two TTLs where the machine has nothing else to do.
const GENEROUS: Duration = Duration::from_secs(20);
/// Rows of one frame.
const ROWS: u64 = 20;

struct Stage {
    cluster: Cluster,
    session: Session,
    etcd: Option<Etcd>,
}

impl Stage {
    async fn over_etcd(ingest: usize) -> Self {
        let etcd = Etcd::start().await;
        let setup = Setup::cluster(1).set("metastore.etcd", etcd.url());
        Self { etcd: Some(etcd), ..Self::start(setup, ingest).await }
    }

    async fn start(setup: Setup, ingest: usize) -> Self {
        let cluster = setup.ingest(ingest).set("metastore.lease_ttl", "2s").start().await;
        let session = cluster.session().await;
        Self { cluster, session, etcd: None }
    }

    /// Index of the process that has a stream.
    async fn owner(&self, stream: &str) -> usize {
        let query = format!("SELECT owner FROM system.streams WHERE stream_name = '{stream}'");
        self.session.value(&query).await.strip_prefix("ingest-").unwrap().parse().unwrap()
    }

    /// Waits until another process than `before`, which does not answer, has the stream and its rows can be queried; gives
    /// which.
    async fn moved(&self, stream: &str, before: usize, since: Instant) -> usize {
        let label = format!("stream=\"public.{stream}\"");
        let owner = until(format!("{stream} has another owner"), CEILING, || async {
            for (index, process) in
                self.cluster.ingest.iter().enumerate().filter(|(index, _)| *index != before)
            {
                // One that was killed before does not answer either.
                let metrics = http::try_get(process.http(), "/metrics").await.unwrap_or_default();
                if metrics.contains(&label) {
                    return Some(index);
                }
            }
            None
        })
        .await;
        let took = since.elapsed();
        let count = format!("SELECT count(*) FROM {stream}");
        until("it can be queried", CEILING, || async { self.session.query(&count).await.ok() }).await;
        println!("{stream} moved in {took:?}, {:.2} TTLs", took.as_secs_f64() / TTL.as_secs_f64());
        assert!(took < GENEROUS, "{took:?}");
        assert_eq!(self.owner(stream).await, owner);
        owner
    }

    async fn metric(&self, index: usize, name: &str) -> f64 {
        http::metric(self.cluster.ingest[index].http(), name).await
    }

    /// Waits until nothing is in a log of an owner before.
    async fn settled(&self, owner: usize) {
        until("old logs are handed over", CEILING, || async {
            (self.metric(owner, "polarway_stream_owed_logs").await == 0.0).then_some(())
        })
        .await;
    }

    fn senders(&self) -> Vec<SocketAddr> {
        self.cluster.ingest.iter().map(|process| process.ws()).collect()
    }

    /// Directories of logs that a process has.
    fn logs(&self, index: usize) -> Vec<String> {
        let logs = self.cluster.dir().join(format!("ingest-{index}/wal"));
        let entries = std::fs::read_dir(logs).unwrap().map(Result::unwrap);
        let directories = entries.filter(|entry| entry.path().is_dir());
        directories.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Producers of both kinds.
    fn feeds(&self, count: u64) -> Vec<Feed> {
        (0..count)
            .map(|p| {
                let memory = if p % 2 == 0 { Memory::All } else { Memory::Unacknowledged };
                let stream = format!("numbered?producer=feed-{p}");
                Feed::start_among(self.senders(), memory, stream, move |n| frame(p, n, ROWS))
            })
            .collect()
    }

    /// Ends the producers. Each one's rows are its first ones, without gaps and doubles, whole frames, and at least what
    /// was acknowledged.
    async fn check(&self, feeds: Vec<Feed>) {
        let mut ends = vec![];
        for feed in feeds {
            ends.push(feed.stop().await);
        }
        self.check_rows(&ends).await;
    }

    async fn check_rows(&self, acknowledged: &[u64]) {
        for route in ["direct", "staged"] {
            self.session.set_route(route).await;
            let counts: BTreeMap<u64, u64> = counts(&self.session).await;
            for (p, acknowledged) in (0..).zip(acknowledged) {
                let rows = counts.get(&p).copied().unwrap_or(0);
                assert!(
                    rows >= acknowledged * ROWS,
                    "producer {p}: {rows} rows, {acknowledged} frames acknowledged"
                );
                assert_eq!(rows % ROWS, 0, "producer {p}: part of a frame");
            }
        }
    }
}

async fn grown(feeds: &[Feed], by: u64) {
    let before: Vec<u64> = feeds.iter().map(Feed::acknowledged).collect();
    until("rows of all producers are acknowledged", CEILING, || async {
        let grown = |(feed, before): (&Feed, &u64)| feed.acknowledged() >= before + by;
        feeds.iter().zip(&before).all(grown).then_some(())
    })
    .await;
}

/// Some rows are sealed when the owner dies, and some are in its log alone.
const OPTIONS: &str = "seal_rows = 3000, seal_age = '1h'";

async fn killed(stage: &mut Stage) {
    stage.session.ok(&table(OPTIONS)).await;
    assert_eq!(stage.cluster.metric("polarway_executors").await, 1.0, "those that take rows get no tasks");
    let first = stage.owner("numbered").await;
    let feeds = stage.feeds(4);
    grown(&feeds, 60).await;
    stage.cluster.ingest[first].kill();
    let killed = Instant::now();
    let second = stage.moved("numbered", first, killed).await;
    assert_eq!(stage.metric(second, "polarway_stream_epoch").await, 4.0, "the second epoch of two streams");
    assert_eq!(stage.metric(second, "polarway_stream_owed_logs").await, 2.0);
    // Producers find the way, and queries work on what is there.
    grown(&feeds, 60).await;
    assert_eq!(stage.metric(second, "polarway_ingest_streams_taken_over_total").await, 2.0);
    println!("rows are acknowledged again {:?} after the kill", killed.elapsed());
    let doubled = "SELECT count(*) - count(DISTINCT p * 1000000000 + id) FROM numbered";
    assert_eq!(stage.session.value(doubled).await, "0");

    let logs = stage.logs(first);
    assert!(!logs.is_empty());
    stage.cluster.start_ingest_again(first);
    stage.settled(second).await;
    assert_eq!(stage.session.value(doubled).await, "0");
    until("its logs are gone", CEILING, || async { stage.logs(first).is_empty().then_some(()) }).await;
    grown(&feeds, 20).await;
    assert_eq!(stage.owner("numbered").await, second, "it is not given back");
    assert_eq!(stage.metric(second, "polarway_stream_epoch").await, 4.0);
    let open = http::metrics(stage.cluster.ingest[first].http()).await;
    assert!(!open.contains_key("polarway_stream_epoch"), "there is one owner");
    // Everything that was acknowledged by either.
    stage.check(feeds).await;
}

impl Stage {
    async fn restarted_at_once(&mut self) {
        let owner = self.owner("numbered").await;
        let before = self.session.value("SELECT count(*) FROM numbered").await;
        self.cluster.ingest[owner].kill();
        self.cluster.start_ingest_again(owner);
        assert_eq!(self.session.value("SELECT count(*) FROM numbered").await, before);
        assert_eq!(self.owner("numbered").await, owner, "a quick restart keeps its streams");
        assert_eq!(self.metric(owner, "polarway_stream_owed_logs").await, 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_27_streams_of_a_killed_process_move_and_its_log_comes_after() {
    let mut stage = Stage::over_etcd(3).await;
    killed(&mut stage).await;
    stage.restarted_at_once().await;
    assert!(stage.etcd.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_27_they_move_without_etcd_too() {
    let mut stage = Stage::start(Setup::cluster(1), 2).await;
    killed(&mut stage).await;
}

/// Stopped for longer than its lease lasts, it goes on as if nothing had happened.
#[tokio::test(flavor = "multi_thread")]
async fn row_27_a_process_that_stood_still_past_its_lease_is_fenced() {
    let mut stage = Stage::over_etcd(2).await;
    stage.session.ok(&table(OPTIONS)).await;
    let first = stage.owner("numbered").await;
    let (stale, other) = (stage.cluster.ingest[first].ws(), stage.cluster.ingest[1 - first].ws());
    let mut sender = Sender::connect(stale, "numbered?producer=feed-0").await;
    let mut idle = Sender::connect(stale, "numbered?producer=feed-1").await;
    for number in 1..=30 {
        sender.send(frame(0, number, ROWS)).await;
    }
    sender.acknowledged(30).await;

    stage.cluster.ingest[first].signal("STOP");
    // It gets them when it goes on.
    for number in 31..=35 {
        sender.send(frame(0, number, ROWS)).await;
    }
    let second = stage.moved("numbered", first, Instant::now()).await;
    let mut heir = Sender::connect(other, "numbered?producer=feed-0").await;
    assert_eq!(heir.last, 0, "nothing was sealed");
    heir.send(format!("#31\n{}", frame(0, 31, ROWS))).await;
    heir.acknowledged(31).await;
    // Its rows may still be asked for by a plan: what comes is an error or them, in the end.
    stage.cluster.ingest[first].signal("CONT");
    let (kind, code) = sender.closed().await;
    println!("told: {kind} ({code}), {:?}", sender.error);
    assert!(["moved", "unavailable"].contains(&kind.as_str()), "{kind}");
    assert_eq!(sender.acknowledged, 30, "what came after its lease had ended is not acknowledged");
    stage.settled(second).await;
    stage.check_rows(&[31]).await;
    assert_eq!(counts(&stage.session).await, [(0, 31 * ROWS)].into(), "and not stored");

    // Who is still connected, and who connects now, is told where the stream is.
    let _ = idle.try_send(frame(1, 1, ROWS)).await;
    let (kind, _) = idle.closed().await;
    assert_eq!(kind, "moved");
    let told = idle.error.unwrap()["hint"].as_str().unwrap().to_owned();
    assert!(told.contains(&other.to_string()), "{told}");
    let Err(Error::Http(answer)) = Sender::try_connect(stale, "numbered?producer=feed-1").await else {
        panic!("it was let in");
    };
    let location = answer.headers()["Location"].to_str().unwrap();
    assert_eq!((answer.status().as_u16(), location.contains(&other.to_string())), (307, true), "{location}");
    assert_eq!(stage.owner("numbered").await, second);
    let log = stage.cluster.ingest[first].log();
    assert!(log.contains("has another owner by now"), "{log}");
    until("its logs are gone", CEILING, || async { stage.logs(first).is_empty().then_some(()) }).await;
    // It takes streams again.
    heir.send(format!("#32\n{}", frame(0, 32, ROWS))).await;
    heir.acknowledged(32).await;
    stage.cluster.ingest[second].kill();
    let third = stage.moved("numbered", second, Instant::now()).await;
    assert_eq!(third, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_27_owner_after_owner_dies_and_each_row_is_there_once() {
    let mut stage = Stage::over_etcd(3).await;
    stage.session.ok(&table(OPTIONS)).await;
    let feeds = stage.feeds(4);
    let mut owner = stage.owner("numbered").await;
    let mut away: Vec<usize> = vec![];
    for round in 0..4 {
        grown(&feeds, 40).await;
        // One is stopped before it is killed: its senders wait.
        if round % 2 == 1 {
            stage.cluster.ingest[owner].signal("STOP");
        } else {
            stage.cluster.ingest[owner].kill();
        }
        let (gone, since) = (owner, Instant::now());
        owner = stage.moved("numbered", gone, since).await;
        if round % 2 == 1 {
            stage.cluster.ingest[gone].signal("CONT");
        } else {
            away.push(gone);
        }
        // Their logs wait for one more owner.
        if away.len() == 2 || round == 3 {
            for index in std::mem::take(&mut away) {
                stage.cluster.start_ingest_again(index);
            }
        }
    }
    grown(&feeds, 20).await;
    stage.settled(owner).await;
    stage.check(feeds).await;
}

/// No process knows then whether it is an owner yet. All of them are when etcd is back, and none has lost anything.
#[tokio::test(flavor = "multi_thread")]
async fn row_27_without_etcd_nothing_is_acknowledged_and_nothing_moves() {
    let mut stage = Stage::over_etcd(2).await;
    stage.session.ok(&table(OPTIONS)).await;
    let owner = stage.owner("numbered").await;
    let feeds = stage.feeds(2);
    grown(&feeds, 30).await;
    let mut etcd = stage.etcd.take().unwrap();
    etcd.kill();
    until("the lease has ended", CEILING, || async {
        (stage.metric(owner, "polarway_ingest_registered").await == 0.0).then_some(())
    })
    .await;
    // Acknowledgements that were on their way have arrived by then.
    tokio::time::sleep(TTL / 2).await;
    let before: Vec<u64> = feeds.iter().map(Feed::acknowledged).collect();
    tokio::time::sleep(TTL).await;
    assert_eq!(feeds.iter().map(Feed::acknowledged).collect::<Vec<_>>(), before);
    etcd.start_again().await;
    grown(&feeds, 30).await;
    assert_eq!(stage.owner("numbered").await, owner);
    assert_eq!(stage.metric(owner, "polarway_stream_owed_logs").await, 0.0);
    stage.check(feeds).await;
}

/// Sends the numbers from one on, each once, to whoever is connected.
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
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move {
            let mut next = 1u64;
            while let Ok((tcp, _)) = listener.accept().await {
                let Ok(socket) = accept_async(tcp).await else { continue };
                let (mut out, mut back) = socket.split();
                // Ends with the connection.
                let gone = tokio::spawn(async move { while let Some(Ok(_)) = back.next().await {} });
                while !gone.is_finished()
                    && out.send(Message::text(format!("{{\"id\": {next}}}"))).await.is_ok()
                {
                    next += 1;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        });
        Self { address, task }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_27_a_feed_goes_on_where_its_stream_is() {
    let (exchange, etcd) = (Exchange::start().await, Etcd::start().await);
    let setup = Setup::cluster(1)
        .set("metastore.etcd", etcd.url())
        .set("ingest.feeds", format!("ws://{}/", exchange.address));
    let mut stage = Stage::start(setup, 2).await;
    let stream = format!(
        "CREATE STREAM trades (id BIGINT NOT NULL) WITH (url = 'ws://{}/', sequence = '/id',
         backoff_min = '10ms', backoff_max = '50ms')",
        exchange.address
    );
    stage.session.ok(&stream).await;
    let session = stage.session.clone();
    let count = || async { session.value("SELECT count(*) FROM trades").await.parse::<u64>().unwrap() };
    until("rows come", CEILING, || async { (count().await > 300).then_some(()) }).await;
    let first = stage.owner("trades").await;
    stage.cluster.ingest[first].kill();
    let second = stage.moved("trades", first, Instant::now()).await;
    until("rows come again", CEILING, || async { (count().await > 200).then_some(()) }).await;
    stage.cluster.start_ingest_again(first);
    stage.settled(second).await;
    // The first run's rows are there again: none of them was sealed.
    let low = "SELECT count(*) >= 250, min(id) FROM trades WHERE id <= 250";
    assert_eq!(stage.session.ok(low).await.cells(), [["true", "1"]]);
    let doubled = "SELECT count(*) - count(DISTINCT id) FROM trades";
    assert_eq!(stage.session.value(doubled).await, "0");
}
