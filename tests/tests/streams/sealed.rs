//! Sealed rows: in an object store, in directories, pruned by their times, and gone when their time is over.

use std::path::Path;
use std::time::Duration;

use polarway_tests::s3::S3Server;
use polarway_tests::{Cluster, Sender, Session, Setup, until};

use crate::queries::{TICKS, row};

const CEILING: Duration = Duration::from_secs(60);

/// Files below a directory whose name ends like this, by their paths below it.
fn files(root: &Path, ending: &str) -> Vec<String> {
    let mut found = vec![];
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path.strip_prefix(root).unwrap().to_string_lossy().into_owned());
        }
    }
    found.sort();
    found
}

async fn send(cluster: &Cluster, stream: &str, rows: &[String]) {
    let door = cluster.ingest.first().map_or_else(|| cluster.front.ws(), |process| process.ws());
    let mut sender = Sender::connect(door, stream).await;
    sender.send(rows.join("\n")).await;
    sender.acknowledged(1).await;
    assert_eq!(sender.bad, 0);
}

async fn until_sealed(session: &Session, stream: &str, rows: u64) {
    let query = format!("SELECT sealed_rows FROM system.streams WHERE stream_name = '{stream}'");
    until("rows are sealed", CEILING, || async {
        (session.value(&query).await == rows.to_string()).then_some(())
    })
    .await;
}

async fn conforms_on_s3(s3: &S3Server, setup: Setup) {
    let bucket = s3.bucket("lake");
    let setup = s3
        .configure(setup)
        .allow("s3://lake/")
        .set("ingest.directory", "s3://lake/live")
        .set("ingest.grace", "0s");
    let cluster = setup.start().await;
    let session = cluster.session().await;
    session.ok(TICKS).await;
    send(&cluster, "ticks", &(0..1200).map(row).collect::<Vec<_>>()).await;
    until_sealed(&session, "ticks", 1200).await;
    send(&cluster, "ticks", &(1200..1300).map(row).collect::<Vec<_>>()).await;
    let parquet = files(&bucket, ".parquet");
    assert!(parquet.iter().all(|file| file.contains("/data/day=2026-11-25/")), "{parquet:?}");
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        let all = "SELECT count(*), count(DISTINCT id), sum(id) FROM ticks";
        assert_eq!(session.ok(all).await.cells(), [["1300", "1300", "844350"]], "{route}");
    }
    session.ok("DROP STREAM ticks").await;
    assert_eq!(files(&bucket, "").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_rows_are_objects_of_a_bucket() {
    let s3 = S3Server::start().await;
    conforms_on_s3(&s3, Setup::up().set("ingest.listen", "127.0.0.1:0")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_rows_of_another_process_are_objects_of_a_bucket() {
    let s3 = S3Server::start().await;
    conforms_on_s3(&s3, Setup::cluster(2).ingest(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_other_times_are_not_opened() {
    let cluster = Setup::up().set("ingest.listen", "127.0.0.1:0").set("ingest.grace", "0s").start().await;
    let session = cluster.session().await;
    session.ok("CREATE STREAM t (id BIGINT, at TIMESTAMP(6)) WITH (event_time = 'at', seal_rows = 10)").await;
    let now = session.value("SELECT now()::timestamp(6)").await;
    for day in 1..=5 {
        let at =
            session.value(&format!("SELECT ('{now}'::timestamp(6) - interval '{day} days')::varchar")).await;
        let rows: Vec<String> = (0..10).map(|id| format!(r#"{{"id": {id}, "at": "{at}"}}"#)).collect();
        send(&cluster, "t", &rows).await;
        until_sealed(&session, "t", day * 10).await;
    }
    send(&cluster, "t", &[format!(r#"{{"id": 100, "at": "{now}"}}"#)]).await;
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        let recent = "SELECT id FROM t WHERE at > now() - interval '5 minutes'";
        assert_eq!(session.ok(recent).await.cells(), [["100"]], "{route}");
        let plan = session.ok(&format!("EXPLAIN ANALYZE {recent}")).await.text();
        assert!(plan.contains("live/") && !plan.contains(".parquet"), "{route}: {plan}");
        let older = "SELECT count(*) FROM t WHERE at < now() - interval '3 days 1 hour'";
        assert_eq!(session.value(older).await, "20", "{route}");
        let plan = session.ok(&format!("EXPLAIN {older}")).await.text();
        let named = |day: u64| plan.contains(&format!("{:020}-{:020}", (day - 1) * 10, day * 10));
        assert_eq!([1, 2, 3, 4, 5].map(named), [false, false, false, true, true], "{route}: {plan}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partition_columns_are_directories() {
    let cluster = Setup::up().set("ingest.listen", "127.0.0.1:0").set("ingest.grace", "0s").start().await;
    let session = cluster.session().await;
    session.ok(&TICKS.replace("seal_rows = 500", "seal_rows = 300, partition_by = 'symbol'")).await;
    let mut rows: Vec<String> = (0..299).map(row).collect();
    rows.push(row(299).replace("\"SOL\"", "\"A/B=C %D\""));
    send(&cluster, "ticks", &rows).await;
    until_sealed(&session, "ticks", 300).await;
    let directories: Vec<String> = files(&cluster.dir().join("front/streams"), ".parquet")
        .iter()
        .map(|path| path.split('/').find(|part| part.starts_with("symbol=")).unwrap().to_owned())
        .collect();
    assert_eq!(directories, ["symbol=A%2FB%3DC %25D", "symbol=BTC", "symbol=ETH", "symbol=SOL"]);
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        let groups = "SELECT symbol, count(*) FROM ticks GROUP BY symbol ORDER BY symbol";
        assert_eq!(
            session.ok(groups).await.cells(),
            [["A/B=C %D", "1"], ["BTC", "100"], ["ETH", "100"], ["SOL", "99"]],
            "{route}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_28_days_that_are_over_are_gone() {
    let cluster = Setup::up().set("ingest.listen", "127.0.0.1:0").set("ingest.grace", "200ms").start().await;
    let session = cluster.session().await;
    session
        .ok("CREATE STREAM t (id BIGINT, at TIMESTAMP(6))
             WITH (event_time = 'at', seal_rows = 100, retention = '30days')")
        .await;
    let days = |id: i64| format!("SELECT (now() - interval '{} days')::timestamp(6)::varchar", id * 10);
    let mut rows = vec![];
    for id in 0..100 {
        let at = session.value(&days(id % 10)).await;
        rows.push(format!(r#"{{"id": {id}, "at": "{at}"}}"#));
    }
    send(&cluster, "t", &rows).await;
    until("old days are gone", CEILING, || async {
        (session.value("SELECT count(*) FROM t").await == "30").then_some(())
    })
    .await;
    assert_eq!(session.value("SELECT min(at) > now() - interval '30 days' FROM t").await, "true");
    until("so are their files", CEILING, || async {
        (files(&cluster.dir().join("front/streams"), ".parquet").len() == 3).then_some(())
    })
    .await;
    assert_eq!(session.value("SELECT count(*) FROM t").await, "30");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_come_again_are_dropped_over_restarts() {
    let setup = Setup::up().set("ingest.listen", "127.0.0.1:0").set("ingest.grace", "0s");
    let mut cluster = setup.start().await;
    let session = cluster.session().await;
    session.ok(&TICKS.replace("seal_rows = 500", "seal_rows = 100, dedup = 'symbol, id'")).await;
    send(&cluster, "ticks", &(0..150).map(row).collect::<Vec<_>>()).await;
    until_sealed(&session, "ticks", 150).await;
    send(&cluster, "ticks", &(100..180).map(row).collect::<Vec<_>>()).await;
    assert_eq!(session.value("SELECT count(*) FROM ticks").await, "180");
    cluster.restart_front().await;
    let session = cluster.session().await;
    let mut sender = Sender::connect(cluster.front.ws(), "ticks?producer=p").await;
    sender.send((0..200).map(row).collect::<Vec<_>>().join("\n")).await;
    sender.acknowledged(1).await;
    assert_eq!((sender.rows, sender.bad), (20, 0));
    let all = "SELECT count(*), count(DISTINCT id), sum(id) FROM ticks";
    assert_eq!(session.ok(all).await.cells(), [["200", "200", "19900"]]);
    let error = session.error("CREATE STREAM t (a INT) WITH (dedup = 'b')").await;
    assert_eq!(error.to_string().lines().next(), Some("dedup names `b`, which is no column"));
}
