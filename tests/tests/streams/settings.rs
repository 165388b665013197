//! The keys of `[ingest]`.

use std::path::Path;
use std::time::Duration;

use polarway_tests::{Sender, Setup, until, usage};
use tempfile::TempDir;

use super::numbered::{counts, frame, parquet_files, sealed, table};

const CEILING: Duration = Duration::from_secs(120);

/// Segments of logs below a directory.
fn logs(directory: &Path) -> usize {
    let streams = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let files = streams.flat_map(|stream| std::fs::read_dir(stream.path()).unwrap().flatten());
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

/// A query whose tasks wait while rows are sealed finds them in memory for as long as `ingest.grace` says.
async fn late_query(grace: &str) -> Result<String, polarway_common::Error> {
    let cluster =
        Setup::up().slots(1).set("ingest.listen", "127.0.0.1:0").set("ingest.grace", grace).start().await;
    let session = cluster.session().await;
    session.ok(&table("seal_age = '3s'")).await;
    let busy = cluster.session().await;
    busy.set_route("staged").await;
    session.set_route("staged").await;
    // It takes the only slot until it is dropped.
    let endless = "SELECT count(*) FROM generate_series(1, 100000000000) a";
    let before = usage::cpu_seconds(cluster.front.pid());
    let blocker = tokio::spawn(async move { busy.query(endless).await });
    until("it computes", CEILING, || async {
        (usage::cpu_seconds(cluster.front.pid()) > before + 0.5).then_some(())
    })
    .await;
    let mut sender = Sender::connect(cluster.front.ws(), "numbered").await;
    sender.send(frame(1, 1, 10)).await;
    sender.acknowledged(1).await;
    let late = session.clone();
    let query = tokio::spawn(async move { late.query("SELECT sum(id) FROM numbered").await });
    let look = cluster.session().await;
    until("rows are sealed", CEILING, || async { (sealed(&look, "numbered").await).then_some(()) }).await;
    // The keeper looks ten times a second for rows whose time has come.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!query.is_finished(), "it did not wait");
    blocker.abort();
    query.await.unwrap().map(|answer| answer.value())
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_rows_stay_in_memory_for_the_grace() {
    assert_eq!(late_query("60s").await.unwrap(), "55");
    let error = late_query("1ms").await.unwrap_err();
    assert!(error.to_string().contains("have left memory"), "{error}");
}
