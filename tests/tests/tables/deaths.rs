//! Writes whose processes die.

use std::time::Duration;

use polarway_common::ErrorKind;
use polarway_tests::etcd::Etcd;
use polarway_tests::wait::until;
use polarway_tests::{Session, Setup, files};
use tempfile::TempDir;

const LONG: &str = "SELECT a.l_orderkey, a.l_comment, b.l_comment AS other FROM lineitem a JOIN lineitem b ON a.l_orderkey = b.l_orderkey";

#[tokio::test(flavor = "multi_thread")]
async fn row_39_nothing_of_a_write_is_seen_whose_process_was_killed() {
    let out = TempDir::new().unwrap();
    let setup = Setup::up().allow(out.path()).writable(out.path().display());
    let (mut cluster, _) = setup.start_with_tpch().await;
    let session = cluster.session().await;
    let place = out.path().join("logs");
    std::fs::create_dir(&place).unwrap();
    let copy = format!("COPY ({LONG}) TO '{}/' STORED AS PARQUET", place.display());
    let copying = {
        let session = session.clone();
        tokio::spawn(async move { session.query(&copy).await })
    };
    // Some of it is on disk.
    until("files wait to be seen", Duration::from_secs(60), || async {
        (!files::below(&place).is_empty()).then_some(())
    })
    .await;
    cluster.front.kill();
    let broke = copying.await.unwrap().unwrap_err();
    assert!(broke.is_retryable(), "it failed by itself: {:?}: {broke}", broke.kind);
    let visible = |root: &std::path::Path| {
        files::below(root)
            .into_iter()
            .filter(|path| !path.display().to_string().contains("/.polarway-"))
            .count()
    };
    assert_eq!(visible(&place), 0);
    cluster.start_front_again();
    let session = cluster.session().await;
    let missing = session.query(&format!("SELECT count(*) FROM '{}/'", place.display())).await;
    assert_eq!(missing.unwrap_err().kind, ErrorKind::FileNotFound);
    // What waits is removed by whoever comes after.
    until("what waited is removed", Duration::from_secs(120), || async {
        std::fs::read_dir(&place).unwrap().next().is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_39_a_write_survives_its_executor_and_its_scheduler_and_takes_place_once() {
    let etcd = Etcd::start().await;
    let out = TempDir::new().unwrap();
    let setup = Setup::cluster(2)
        .schedulers(2)
        .set("metastore.etcd", etcd.url())
        .set("metastore.lease_ttl", "2s")
        .allow(out.path())
        .writable(out.path().display());
    let (mut cluster, _) = setup.start_with_tpch().await;
    let fronts = cluster.fronts();
    let session = Session::connect(fronts[1]).await;
    let wanted = session.value(&format!("SELECT count(*) FROM ({LONG})")).await;
    session.ok("SET polarway.route = 'staged'").await;
    session.ok("CREATE TABLE joined (l_orderkey BIGINT, l_comment VARCHAR, other VARCHAR)").await;

    // An executor dies while its tasks write.
    let insert = format!("INSERT INTO joined {LONG}");
    let inserting = {
        let (session, insert) = (session.clone(), insert.clone());
        tokio::spawn(async move { session.query(&insert).await })
    };
    until("tasks run", Duration::from_secs(60), || async {
        (cluster.running_tasks().await > 0.0).then_some(())
    })
    .await;
    cluster.kill_executor(0);
    let told = inserting.await.unwrap().unwrap().cells();
    assert_eq!(told[0][0], wanted);
    assert_eq!(session.value("SELECT count(*) FROM joined").await, wanted);
    cluster.add_executor();
    cluster.until_executors(2).await;

    // The scheduler dies, and the client asks the other one, by the same key.
    let both = Session::with_any(&fronts).await;
    both.ok("SET polarway.route = 'staged'").await;
    let place = out.path().join("copied");
    let copy = format!("COPY ({LONG}) TO '{}/' STORED AS PARQUET", place.display());
    let copying = tokio::spawn(async move { both.query(&copy).await });
    until("tasks run", Duration::from_secs(60), || async {
        (cluster.running_tasks().await > 0.0).then_some(())
    })
    .await;
    cluster.front.kill();
    let told = copying.await.unwrap().unwrap().cells();
    assert_eq!(told[0][0], wanted);
    assert_eq!(session.value(&format!("SELECT count(*) FROM '{}/'", place.display())).await, wanted);
}
