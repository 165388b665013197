//! Rows that come slowly are sealed by their age.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use polarway_tests::{Oracle, Sender, Setup, until};

use super::numbered::{counts, frame, parquet_files, table};

const CEILING: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn row_26_slow_rows_are_sealed_by_age_and_the_last_ones_survive_a_stop() {
    let mut cluster = Setup::up().set("ingest.listen", "127.0.0.1:0").start().await;
    let session = cluster.session().await;
    session.ok(&table("seal_age = '2s', seal_rows = 1000000000")).await;
    let (sent, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (counter, stopped, server) = (Arc::clone(&sent), Arc::clone(&stop), cluster.front.ws());
    let sending = tokio::spawn(async move {
        let mut sender = Sender::connect(server, "numbered").await;
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        while !stopped.load(Ordering::SeqCst) {
            pace.tick().await;
            let id = counter.load(Ordering::SeqCst) + 1;
            sender.send(frame(1, id, 1)).await;
            sender.acknowledged(id).await;
            counter.store(id, Ordering::SeqCst);
        }
    });
    let streams = cluster.dir().join("front/streams");
    until("three files are there", CEILING, || async { (parquet_files(&streams).len() >= 3).then_some(()) })
        .await;
    let sent_then = sent.load(Ordering::SeqCst);
    let found = parquet_files(&streams);
    assert!(!sending.is_finished());
    // The files hold the first rows, each once, while the others are still coming.
    let oracle = Oracle::default();
    let mut sealed = 0;
    for (index, path) in found.iter().enumerate() {
        oracle.parquet(&format!("file{index}"), path).await;
        let answer =
            oracle.fresh_answer(&format!("SELECT count(*), min(id), max(id) FROM file{index}")).await;
        let cells: Vec<u64> = answer.cells()[0].iter().map(|cell| cell.parse().unwrap()).collect();
        assert_eq!((cells[1], cells[2]), (sealed + 1, sealed + cells[0]), "{}", path.display());
        sealed = cells[2];
    }
    println!("{} files with {sealed} rows when {sent_then} were sent", found.len());
    until("rows come that are not sealed", CEILING, || async {
        (sent.load(Ordering::SeqCst) > sealed + 10).then_some(())
    })
    .await;

    stop.store(true, Ordering::SeqCst);
    sending.await.unwrap();
    let sent = sent.load(Ordering::SeqCst);
    cluster.restart_front().await;
    assert_eq!(counts(&cluster.session().await).await, [(1, sent)].into());
}
