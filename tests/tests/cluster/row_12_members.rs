//! Who is in the cluster, as everyone sees it.

use std::time::{Duration, Instant};

use polarway_tests::etcd::Etcd;
use polarway_tests::{Session, Setup, http, until};

const CEILING: Duration = Duration::from_secs(60);
const TTL: Duration = Duration::from_secs(2);

fn over(etcd: &Etcd) -> Setup {
    Setup::cluster(2).schedulers(2).set("metastore.etcd", etcd.url()).set("metastore.lease_ttl", "2s")
}

async fn executors(session: &Session) -> usize {
    let sql = "SELECT count(*) FROM system.nodes WHERE role = 'executor' AND state = 'active'";
    session.value(sql).await.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_12_all_schedulers_see_who_joins_leaves_and_dies() {
    let etcd = Etcd::start().await;
    let mut cluster = over(&etcd).set("zone", "east").start().await;
    let mut sessions = vec![];
    for front in cluster.fronts() {
        sessions.push(Session::connect(front).await);
    }
    let seen = async |what: &str, count: usize| {
        let began = Instant::now();
        for session in &sessions {
            until(format!("{what}: {count} executors"), CEILING, || async {
                (executors(session).await == count).then_some(())
            })
            .await;
        }
        began.elapsed()
    };
    seen("at the start", 2).await;
    let nodes =
        sessions[1].ok("SELECT name, role, zone, slots, version FROM system.nodes ORDER BY name").await;
    let lines: Vec<String> = nodes.cells().iter().map(|row| row.join(" ")).collect();
    let version = env!("CARGO_PKG_VERSION");
    assert!(lines.contains(&format!("executor-1 executor east 2 {version}")), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.contains(" scheduler east 0 ")).count(), 2, "{lines:?}");
    let rest = http::get(cluster.http(), "/v1/nodes").await;
    assert!(rest.contains("\"executor-1\"") && !rest.contains("\"ingest\""), "{rest}");

    cluster.add_executor();
    println!("a join was seen by all after {:?} (with the start of the process)", seen("a join", 3).await);
    cluster.until_executors(3).await;

    let mut leaving = cluster.executors.remove(2);
    let began = Instant::now();
    assert!(leaving.stop().await.success());
    seen("a leave", 2).await;
    println!("a leave was over and seen by all after {:?}", began.elapsed());
    cluster.until_executors(2).await;

    let began = Instant::now();
    cluster.kill_executor(1);
    seen("a death", 1).await;
    let took = began.elapsed();
    println!("a death was seen by all after {took:?}, with leases of {TTL:?}");
    assert!(took > TTL / 4, "nobody can have known so soon: {took:?}");
    cluster.until_executors(1).await;
    // And it takes queries at each of them.
    for session in &sessions {
        session.set_route("staged").await;
        assert_eq!(session.value("SELECT count(*) FROM generate_series(1, 1000)").await, "1000");
    }
}
