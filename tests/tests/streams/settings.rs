//! The keys of `[ingest]`.

use std::path::Path;
use std::time::Duration;

use polarway_common::Error;
use polarway_tests::{Sender, Setup, files, http, until, usage};
use tempfile::TempDir;

use super::numbered::{counts, frame, parquet_files, sealed, table};

const CEILING: Duration = Duration::from_secs(120);

/// Segments of logs below a directory.
fn logs(directory: &Path) -> usize {
    let streams = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let files = streams.flat_map(|stream| std::fs::read_dir(stream.path()).into_iter().flatten().flatten());
    files.filter(|file| file.path().extension().is_some_and(|extension| extension == "wal")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_kept_where_the_configuration_says() {
    let (rows, log) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut cluster = Setup::up()
        .set("ingest.listen", "127.0.0.1:0")
        .set("ingest.directory", rows.path().display())
        .set("ingest.log_directory", log.path().display())
        .start()
        .await;
    let session = cluster.session().await;
    session.ok(&table("seal_rows = 10")).await;
    let mut sender = Sender::connect(cluster.front.ws(), "numbered?ack=object_store").await;
    sender.send(frame(1, 1, 10)).await;
    sender.acknowledged(1).await;
    assert_eq!(parquet_files(rows.path()).len(), 1);
    // One for the stream, one for its dead letters.
    until("the log is cut", CEILING, || async { (logs(log.path()) == 2).then_some(()) }).await;
    let front = cluster.dir().join("front");
    assert!(parquet_files(&front.join("streams")).is_empty());
    assert_eq!(logs(&front.join("wal")), 0);
    cluster.restart_front().await;
    let session = cluster.session().await;
    assert_eq!(counts(&session).await, [(1, 10)].into());
    assert!(sealed(&session, "numbered").await);
    session.ok("DROP STREAM numbered").await;
    assert!(parquet_files(rows.path()).is_empty());
    assert_eq!(logs(log.path()), 0);
}

/// What a query gives, and how often it was planned anew.
type Late = (Result<String, Error>, f64);

/// A query is planned while rows are in memory, and its tasks wait for the only slot until those are sealed. `None` when what
/// it waited for was done too soon; that takes longer with larger `size`.
async fn late_query(grace: &str, size: u64) -> Option<Late> {
    let data = TempDir::new().unwrap();
    let path = data.path().join("many.parquet");
    files::parquet(&path, &format!("SELECT value FROM generate_series(1, {size})")).await;
    let setup = Setup::up().slots(1).allow(data.path()).set("ingest.listen", "127.0.0.1:0");
    let cluster = setup.set("ingest.grace", grace).start().await;
    let session = cluster.session().await;
    let location = path.display();
    session.ok(&format!("CREATE EXTERNAL TABLE many STORED AS PARQUET LOCATION '{location}'")).await;
    session.ok(&table("seal_age = '1s'")).await;
    session.set_route("staged").await;
    let before = usage::cpu_seconds(cluster.front.pid());
    let busy = session.clone();
    let blocker = tokio::spawn(async move {
        busy.value("SELECT count(*) FROM many a JOIN many b ON a.value % 7 < b.value % 11").await
    });
    until("it computes", CEILING, || async {
        (usage::cpu_seconds(cluster.front.pid()) > before + 0.3).then_some(())
    })
    .await;
    let mut sender = Sender::connect(cluster.front.ws(), "numbered").await;
    sender.send(frame(1, 1, 10)).await;
    sender.acknowledged(1).await;
    let query = tokio::spawn(async move { session.query("SELECT sum(id) FROM numbered").await });
    let look = cluster.session().await;
    until("rows are sealed", CEILING, || async { sealed(&look, "numbered").await.then_some(()) }).await;
    // The keeper looks ten times a second for rows whose time has come.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let in_time = !query.is_finished() && !blocker.is_finished();
    blocker.await.unwrap();
    let answer = query.await.unwrap().map(|answer| answer.value());
    let again = http::metric(cluster.http(), "polarway_attempts_resubmitted_total").await;
    in_time.then_some((answer, again))
}

/// What [`late_query`] gives when the rows were sealed before its tasks ran.
async fn surely_late_query(grace: &str) -> Late {
    let mut size = 40_000;
    loop {
        if let Some(answer) = late_query(grace, size).await {
            return answer;
        }
        size *= 2;
        println!("once more, with {size} rows");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_rows_stay_in_memory_for_the_grace_and_who_comes_later_is_planned_anew() {
    let (answer, again) = surely_late_query("60s").await;
    assert_eq!((answer.unwrap().as_str(), again), ("55", 0.0));
    let (answer, again) = surely_late_query("1ms").await;
    assert_eq!((answer.unwrap().as_str(), again), ("55", 1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_22_limits_of_senders_are_those_of_the_configuration() {
    let setup = Setup::up()
        .set("ingest.listen", "127.0.0.1:0")
        .set("ingest.max_frame", "1KiB")
        .set("ingest.max_connections", 1)
        .set("ingest.connection_rate", "4KiB");
    let cluster = setup.start().await;
    let session = cluster.session().await;
    session.ok("CREATE STREAM t (id BIGINT)").await;
    let mut sender = Sender::connect(cluster.front.ws(), "t").await;
    let refused = Sender::try_connect(cluster.front.ws(), "t").await.err().unwrap();
    assert!(refused.to_string().contains("503"), "{refused}");
    // Twenty frames of 900 bytes are more than four seconds may bring, of which one is given; who brings them waits after.
    let started = std::time::Instant::now();
    let frame = format!("{{\"id\": 1}}{}", " ".repeat(890));
    for _ in 0..20 {
        sender.send(frame.clone()).await;
    }
    sender.acknowledged(20).await;
    sender.send(frame).await;
    sender.acknowledged(21).await;
    assert!(started.elapsed() > Duration::from_secs(2), "{:?}", started.elapsed());
    sender.send(" ".repeat(1025)).await;
    assert_eq!(sender.closed().await.1, 1009);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_answers_no_ping_is_given_up() {
    let setup = Setup::up().set("ingest.listen", "127.0.0.1:0").set("ingest.idle_timeout", "1s");
    let cluster = setup.start().await;
    let session = cluster.session().await;
    session.ok(&table("seal_rows = 10")).await;
    // Pings are answered by who reads.
    let _silent = Sender::connect(cluster.front.ws(), "numbered").await;
    until("it is given up", CEILING, || async {
        let metrics = http::get(cluster.http(), "/metrics").await;
        metrics.contains("polarway_ingest_closed_total{reason=\"idle\"} 1\n").then_some(())
    })
    .await;
}

/// A process that takes rows gives memory back sooner, and does without huge pages; another does not.
#[tokio::test(flavor = "multi_thread")]
async fn who_takes_rows_is_started_with_an_allocator_for_it() {
    for (setup, wanted) in [(Setup::up().set("ingest.listen", "127.0.0.1:0"), true), (Setup::up(), false)] {
        let cluster = setup.start().await;
        let environment = std::fs::read(format!("/proc/{}/environ", cluster.front.pid())).unwrap();
        let environment = String::from_utf8_lossy(&environment);
        for option in ["MIMALLOC_PURGE_DELAY=50", "MIMALLOC_ALLOW_THP=0"] {
            assert_eq!(environment.split('\0').any(|set| set == option), wanted, "{option}");
        }
    }
}
