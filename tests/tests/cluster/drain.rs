//! SIGTERM: what runs is finished, what is new is refused or goes elsewhere, and the process ends well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use polarway_common::ErrorKind;
use polarway_tests::{Cluster, Oracle, Session, Setup, difference, http, tpch, until};
use tokio::task::JoinHandle;

const CEILING: Duration = Duration::from_secs(90);

/// Clients that run queries one after the other until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    async fn start(cluster: &Cluster, oracle: &Arc<Oracle>, route: &'static str, clients: usize) -> Self {
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut running = vec![];
        for client in 0..clients {
            let session = Session::connect(cluster.grpc()).await;
            session.set_route(route).await;
            let (stop, answers, oracle) = (Arc::clone(&stop), Arc::clone(&answers), Arc::clone(oracle));
            running.push(tokio::spawn(async move {
                let mut faults = vec![];
                for number in [3, 5, 6, 12, 14].into_iter().cycle().skip(client) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let sql = tpch::query(number);
                    let fault = match session.query(&sql).await {
                        Ok(answer) => difference(&answer, &*oracle.answer(&sql).await, tpch::order(number)),
                        Err(error) => Some(format!("{:?}: {error}", error.kind)),
                    };
                    answers.fetch_add(1, Ordering::Relaxed);
                    if fault.is_some() {
                        // As a client that waits before it tries again.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    faults.extend(fault.map(|fault| format!("query {number}, {route}: {fault}")));
                }
                faults
            }));
        }
        Self { stop, answers, clients: running }
    }

    /// Waits for so many more answers.
    async fn go_on(&self, answers: usize) {
        let wanted = self.answers.load(Ordering::Relaxed) + answers;
        until(format!("{answers} more answers"), CEILING, || async {
            (self.answers.load(Ordering::Relaxed) >= wanted).then_some(())
        })
        .await;
    }

    /// Ends the load; gives what went wrong.
    async fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut faults = vec![];
        for client in self.clients {
            faults.extend(client.await.unwrap());
        }
        faults
    }
}

async fn oracle(data: &std::path::Path) -> Arc<Oracle> {
    let oracle = Oracle::tpch(data).await;
    for number in [3, 5, 6, 12, 14] {
        oracle.answer(&tpch::query(number)).await;
    }
    Arc::new(oracle)
}

async fn executors_leave_one_by_one(route: &'static str) {
    let (mut cluster, data) = Setup::cluster(3).start_with_tpch().await;
    let oracle = oracle(&data).await;
    let load = Load::start(&cluster, &oracle, route, 3).await;
    load.go_on(3).await;
    for left in [2, 1] {
        let mut leaver = cluster.executors.remove(0);
        leaver.signal("TERM");
        let status = leaver.exit_status(CEILING).await;
        assert!(status.success(), "{}: {status}\n{}", leaver.name(), leaver.log());
        load.go_on(6).await;
        cluster.until_executors(left).await;
    }
    // One more, and the last of the first three goes: the load has moved on completely.
    cluster.add_executor();
    cluster.until_executors(2).await;
    let mut leaver = cluster.executors.remove(0);
    assert!(leaver.stop().await.success());
    load.go_on(6).await;
    let faults = load.end().await;
    assert!(faults.is_empty(), "{route}: {} queries failed\n{}", faults.len(), faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_of_executors_fails_no_staged_query() {
    executors_leave_one_by_one("staged").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_of_executors_fails_no_direct_query() {
    executors_leave_one_by_one("direct").await;
}

/// Starts a query that takes a while, and waits until it runs.
async fn long_query(
    cluster: &Cluster,
    route: &str,
) -> JoinHandle<Result<(usize, usize), polarway_common::Error>> {
    let session = cluster.session().await;
    session.set_route(route).await;
    let before = cluster.metric("polarway_queries_running").await;
    let running = tokio::spawn(async move {
        let mut stream = session
            .client
            .execute("SELECT l.* FROM lineitem l CROSS JOIN (VALUES (1), (2), (3)) AS v")
            .await?;
        let (mut rows, mut batches) = (0, 0);
        while let Some(batch) = stream.next_batch().await? {
            rows += batch.num_rows();
            batches += 1;
            if batches == 5 {
                // Still being read when the server is asked to stop.
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        }
        Ok((rows, batches))
    });
    until("the long query runs", CEILING, || async {
        (cluster.metric("polarway_queries_running").await > before).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    running
}

async fn a_front_drains(mut cluster: Cluster, routes: &[&str]) {
    for (number, route) in routes.iter().enumerate() {
        if number > 0 {
            cluster.start_front_again();
        }
        let newcomer = cluster.session().await;
        let running = long_query(&cluster, route).await;
        let early = newcomer.client.execute("SELECT count(DISTINCT n_name) FROM nation").await.unwrap();
        cluster.front.signal("TERM");
        let http = cluster.http();
        until("it says that it drains", CEILING, || async {
            let ready = reqwest::get(format!("http://{http}/readyz")).await.ok()?;
            (ready.status() == 503).then_some(())
        })
        .await;
        // Alive but not ready; new work is refused in a way that says where to go.
        assert_eq!(http::get(http, "/healthz").await, "ok\n");
        let error = newcomer.error("SELECT 1").await;
        assert_eq!(error.kind, ErrorKind::Draining, "{route}: {error}");
        assert!(error.is_retryable() && error.hint.is_some());
        drop(early);
        let (rows, _) =
            running.await.unwrap().unwrap_or_else(|error| panic!("{route}: {:?}: {error}", error.kind));
        assert_eq!(rows, 3 * 600_572, "{route}");
        let status = cluster.front.exit_status(CEILING).await;
        assert!(status.success(), "{route}: {status}\n{}", cluster.front.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_of_one_process_finishes_its_queries() {
    let (cluster, _) = Setup::up().start_with_tpch().await;
    a_front_drains(cluster, &["direct", "staged"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_of_the_scheduler_finishes_its_queries() {
    for route in ["direct", "staged"] {
        let (cluster, _) = Setup::cluster(2).start_with_tpch().await;
        a_front_drains(cluster, &[route]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_of_the_scheduler_under_load_refuses_and_fails_nothing() {
    for route in ["direct", "staged"] {
        let (mut cluster, data) = Setup::cluster(2).start_with_tpch().await;
        let oracle = oracle(&data).await;
        let load = Load::start(&cluster, &oracle, route, 4).await;
        load.go_on(8).await;
        let status = cluster.front.stop().await;
        assert!(status.success(), "{route}: {status}\n{}", cluster.front.log());
        load.go_on(8).await;
        let faults = load.end().await;
        assert!(!faults.is_empty(), "{route}: nobody was refused");
        // A connection that closes as a request is sent has refused it too: nothing of it reached the server.
        let refused =
            |fault: &String| fault.contains(": Draining: ") || fault.contains(": connection closed");
        let failed: Vec<_> = faults.iter().filter(|fault| !refused(fault)).collect();
        assert!(failed.is_empty(), "{route}: {failed:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_does_not_wait_for_ever() {
    let setup = Setup::up().set("scheduler.drain_timeout", "2s").set("executor.drain_timeout", "2s");
    let (mut cluster, _) = setup.start_with_tpch().await;
    let session = cluster.session().await;
    let mut stream = session
        .client
        .execute("SELECT l.* FROM lineitem l CROSS JOIN (VALUES (1), (2), (3), (4), (5), (6)) AS v")
        .await
        .unwrap();
    stream.next_batch().await.unwrap().unwrap();
    // The client reads no further.
    cluster.front.signal("TERM");
    let status = cluster.front.exit_status(CEILING).await;
    assert!(status.success(), "{status}\n{}", cluster.front.log());
    let mut outcome = Ok(());
    loop {
        match stream.next_batch().await {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    let error = outcome.expect_err("a result that is cut off must not look whole");
    assert!(error.is_retryable() || error.kind == ErrorKind::Cancelled, "{:?}: {error}", error.kind);
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_is_cut_short_by_a_second_signal() {
    let (mut cluster, _) = Setup::up().start_with_tpch().await;
    let session = cluster.session().await;
    let mut stream = session
        .client
        .execute("SELECT l.* FROM lineitem l CROSS JOIN (VALUES (1), (2), (3), (4), (5), (6)) AS v")
        .await
        .unwrap();
    stream.next_batch().await.unwrap().unwrap();
    cluster.front.signal("TERM");
    let http = cluster.http();
    until("it drains", CEILING, || async {
        let ready = reqwest::get(format!("http://{http}/readyz")).await.ok()?;
        (ready.status() == 503).then_some(())
    })
    .await;
    cluster.front.signal("TERM");
    let status = cluster.front.exit_status(Duration::from_secs(15)).await;
    assert_eq!(status.code(), Some(130), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_executors_outlive_their_scheduler() {
    let (mut cluster, data) = Setup::cluster(2).start_with_tpch().await;
    let address = cluster.grpc();
    assert!(cluster.front.stop().await.success());
    for executor in &mut cluster.executors {
        assert!(executor.is_running());
    }
    // A scheduler that comes back at the same address finds its executors and its catalog.
    cluster.start_front_at(address);
    cluster.until_executors(2).await;
    let session = cluster.session().await;
    session.set_route("staged").await;
    let sql = tpch::query(5);
    let oracle = Oracle::tpch(&data).await;
    polarway_tests::assert_same(
        "query 5",
        &session.ok(&sql).await,
        &*oracle.answer(&sql).await,
        tpch::order(5),
    );
}
