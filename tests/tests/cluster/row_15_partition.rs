//! An executor that is cut off from everybody, and comes back.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use polarway_tests::etcd::Etcd;
use polarway_tests::namespace::Namespace;
use polarway_tests::{Oracle, Order, Session, Setup, assert_same, tpch, until};

use crate::stored::{FIRST_STAGES, LONG, Stored};

const CEILING: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn row_15_an_executor_that_is_cut_off_is_done_without_and_rejoins() {
    let namespace = Namespace::make();
    let etcd = Etcd::start_at(namespace.host()).await;
    let copies = tempfile::tempdir().unwrap();
    let setup = Setup::cluster(1)
        .slots(1)
        .front_at(SocketAddr::new(namespace.host(), 0))
        .set("identity.trusted_network", "true")
        .set("metastore.etcd", etcd.url())
        .set("metastore.lease_ttl", "2s")
        .set("shuffle.url", copies.path().display())
        .set("shuffle.upload_after", "20ms");
    let (mut cluster, data): (_, PathBuf) = setup.start_with_tpch().await;
    let away = cluster.add_executor_in(&namespace);
    cluster.until_executors(2).await;
    let oracle = Oracle::tpch(&data).await;
    let expected = oracle.answer(LONG).await;
    let session = Session::with_any(&cluster.fronts()).await;
    session.set_route("staged").await;

    let query = Stored::begin_at(&session, LONG).await;
    Stored::until_stored_at(&session, &cluster, &query, &FIRST_STAGES).await;
    namespace.cut();
    let cut = Instant::now();
    // Metrics of the one that is away cannot be had.
    let cut_off = cluster.executors.remove(away);
    cluster.until_executors(1).await;
    println!("schedulers did without it {:?} after the cut", cut.elapsed());
    let answer = query.reading.await.unwrap().unwrap();
    assert_same("with an executor cut off", &answer, &expected, Order::None);
    let progress = session.progress(&query.id).await;
    assert_eq!(progress.attempt, 1, "{progress:?}");
    for (number, stage) in FIRST_STAGES.into_iter().zip(&progress.stages) {
        assert_eq!((stage.id, stage.tasks), (number, stage.done), "a finished stage ran again");
    }

    namespace.heal();
    let healed = Instant::now();
    cluster.until_executors(2).await;
    println!("it was back {:?} after the cable was", healed.elapsed());
    cluster.executors.push(cut_off);
    for number in [3, 5, 9] {
        let sql = tpch::query(number);
        assert_same(&sql, &session.ok(&sql).await, &*oracle.answer(&sql).await, tpch::order(number));
    }
    // What it still held and did belongs to nobody.
    cluster.until_no_shuffle().await;
    until("no copies are left", CEILING, || async {
        std::fs::read_dir(copies.path()).unwrap().next().is_none().then_some(())
    })
    .await;
}
