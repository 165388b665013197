//! Executors that die while queries run.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::time::{Duration, Instant};

use polarway_common::Error;
use polarway_tests::{Answer, Oracle, Order, Session, Setup, assert_same, chaos, files, tpch};
use rand::Rng;

/// The right answer or an error that says to try again: nothing else may come of a query.
fn assert_right_or_retryable(
    what: &str,
    outcome: &Result<Answer, Error>,
    expected: &Answer,
    order: Order<'_>,
) -> bool {
    match outcome {
        Ok(answer) => {
            assert_same(what, answer, expected, order);
            true
        }
        Err(error) => {
            assert!(error.is_retryable(), "{what}: {:?}: {error}", error.kind);
            println!("{what}: {:?}: {error}", error.kind);
            false
        }
    }
}

/// Many executors die at random moments of multi-stage queries; each is replaced.
async fn survive_kills(setup: Setup, numbers: &[usize], kills: usize) {
    let (mut cluster, data) = setup.start_with_tpch().await;
    let oracle = Oracle::tpch(&data).await;
    let session = cluster.session().await;
    session.set_route("staged").await;
    let mut chaos = chaos::seeded();
    // How long each query takes undisturbed, so that kills fall into it.
    let mut queries = vec![];
    for number in numbers {
        let sql = tpch::query(*number);
        let expected = oracle.answer(&sql).await;
        let started = Instant::now();
        assert_same(&sql, &session.ok(&sql).await, &expected, tpch::order(*number));
        queries.push((*number, sql, expected, started.elapsed()));
    }
    let (mut right, mut repeated, mut hit) = (0, 0, 0);
    for round in 0.. {
        // Kills between two stages may cost nothing; go on until some were felt.
        if round >= kills && (repeated > 0 || round >= 4 * kills) {
            break;
        }
        let (number, sql, expected, usual) = &queries[round % queries.len()];
        let delay = usual.mul_f64(chaos.random_range(0.0..1.0));
        let victim = chaos.random_range(0..cluster.executors.len());
        let what = format!("round {round}, query {number}, kill of executor {victim} after {delay:?}");
        let running = tokio::spawn({
            let (session, sql) = (session.clone(), sql.clone());
            async move { session.query(&sql).await }
        });
        tokio::time::sleep(delay).await;
        if !running.is_finished() {
            hit += 1;
        }
        cluster.kill_executor(victim);
        cluster.add_executor();
        let outcome = running.await.unwrap();
        if assert_right_or_retryable(&what, &outcome, expected, tpch::order(*number)) {
            right += 1;
            let attempt = session.progress(&outcome.unwrap().query_id).await.attempt;
            println!("{what}: right at attempt {attempt}");
            repeated += usize::from(attempt > 1);
        }
        cluster.until_executors(3).await;
    }
    println!("{hit} kills hit a running query, {right} answers, {repeated} after another attempt");
    assert!(repeated > 0, "no kill was felt: the test shows nothing");
    cluster.until_no_shuffle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn executor_death_never_changes_an_answer() {
    survive_kills(Setup::cluster(3), &[3, 5, 9, 18, 21], 12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn executor_death_under_clients_that_read_from_executors() {
    // Results stay on the executors for as long as their tickets are good.
    let setup = Setup::cluster(3).set("scheduler.results", "direct").set("scheduler.ticket_ttl", "15s");
    survive_kills(setup, &[3, 9, 18], 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn executor_death_of_all_but_one() {
    let (mut cluster, data) = Setup::cluster(3).start_with_tpch().await;
    let oracle = Oracle::tpch(&data).await;
    let session = cluster.session().await;
    session.set_route("staged").await;
    for number in [9, 21] {
        let sql = tpch::query(number);
        let expected = oracle.answer(&sql).await;
        let running = tokio::spawn({
            let (session, sql) = (session.clone(), sql.clone());
            async move { session.query(&sql).await }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.kill_executor(0);
        let outcome = running.await.unwrap();
        assert_right_or_retryable(&format!("query {number}"), &outcome, &expected, tpch::order(number));
        cluster.until_executors(cluster.executors.len()).await;
    }
    assert_eq!(cluster.executors.len(), 1);
    let sql = tpch::query(5);
    assert_same(
        "query 5 on the last executor",
        &session.ok(&sql).await,
        &*oracle.answer(&sql).await,
        tpch::order(5),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn executor_death_of_the_only_one_is_an_error_that_says_to_retry() {
    let setup = Setup::cluster(1).set("scheduler.executor_wait", "2s");
    let (mut cluster, data) = setup.start_with_tpch().await;
    let oracle = Oracle::tpch(&data).await;
    let session = cluster.session().await;
    for route in ["staged", "direct"] {
        session.set_route(route).await;
        let running = start(&session, tpch::query(21));
        tokio::time::sleep(Duration::from_millis(200)).await;
        cluster.kill_executor(0);
        // The answer may have been on its way before the kill.
        match running.await.unwrap() {
            Ok(answer) => {
                let sql = tpch::query(21);
                assert_same("query 21", &answer, &*oracle.answer(&sql).await, tpch::order(21));
            }
            Err(error) => assert!(error.is_retryable(), "{route}: {:?}: {error}", error.kind),
        }
        // And when there is one again, the same session goes on.
        cluster.add_executor();
        let sql = tpch::query(6);
        assert_same("query 6", &session.ok(&sql).await, &*oracle.answer(&sql).await, tpch::order(6));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn executor_death_under_a_direct_query() {
    let (mut cluster, data) = Setup::cluster(3).start_with_tpch().await;
    let oracle = Oracle::tpch(&data).await;
    let session = cluster.session().await;
    session.set_route("direct").await;
    let mut chaos = chaos::seeded();
    let sql = tpch::query(21);
    let expected = oracle.answer(&sql).await;
    for round in 0..6 {
        let running = start(&session, sql.clone());
        tokio::time::sleep(Duration::from_millis(chaos.random_range(0..800))).await;
        // Whichever runs the plan: with three of them, a third of the kills hit it.
        cluster.kill_executor(0);
        let outcome = running.await.unwrap();
        assert_right_or_retryable(&format!("round {round}"), &outcome, &expected, tpch::order(21));
        cluster.add_executor();
        cluster.until_executors(3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn executor_death_by_silence() {
    // A process that is stopped keeps its connections open and says nothing.
    let (mut cluster, data) = Setup::cluster(3).start_with_tpch().await;
    let oracle = Oracle::tpch(&data).await;
    let session = cluster.session().await;
    session.set_route("staged").await;
    let sql = tpch::query(21);
    let expected = oracle.answer(&sql).await;
    let running = start(&session, sql);
    tokio::time::sleep(Duration::from_millis(300)).await;
    cluster.executors[1].signal("STOP");
    let outcome = running.await.unwrap();
    assert_right_or_retryable("query 21 with a silent executor", &outcome, &expected, tpch::order(21));
    cluster.until_executors(2).await;
    // What it wakes up with must not disturb those that are there now.
    cluster.executors[1].signal("CONT");
    cluster.until_executors(3).await;
    for number in [3, 5] {
        let sql = tpch::query(number);
        assert_same(
            "after it woke up",
            &session.ok(&sql).await,
            &*oracle.answer(&sql).await,
            tpch::order(number),
        );
    }
    // Nor may the files stay that it had before it fell silent.
    cluster.until_no_shuffle().await;
}

/// What happens to shuffle files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    /// All are gone.
    Removed,
    /// Those that tell where a partition's rows are in a file are gone.
    WithoutIndex,
    /// Files that are complete lose their second half.
    Cut,
}

impl Damage {
    fn on(self, file: &Path) {
        let is_index = file.extension().is_some_and(|extension| extension == "index");
        match self {
            Damage::Removed => drop(std::fs::remove_file(file)),
            Damage::WithoutIndex if is_index => drop(std::fs::remove_file(file)),
            Damage::Cut if !is_index && is_complete(file) => {
                let length = std::fs::metadata(file).map_or(0, |metadata| metadata.len());
                drop(
                    std::fs::File::options().write(true).open(file).and_then(|file| file.set_len(length / 2)),
                );
            }
            Damage::WithoutIndex | Damage::Cut => {}
        }
    }
}

/// Whether its task has moved on from it, as far as can be told from outside.
fn is_complete(file: &Path) -> bool {
    let age = |file: &Path| std::fs::metadata(file).ok()?.modified().ok()?.elapsed().ok();
    file.with_extension("arrow.index").exists()
        || age(file).is_some_and(|age| age > Duration::from_millis(60))
}

/// At a random moment all executors are stopped, the files of first attempts are damaged, and work goes on.
async fn survive_damage(kind: Damage) {
    let (mut cluster, data) = Setup::cluster(3).start_with_tpch().await;
    let oracle = Oracle::tpch(&data).await;
    let session = cluster.session().await;
    session.set_route("staged").await;
    let mut chaos = chaos::seeded();
    let mut usual = BTreeMap::new();
    let mut felt = 0;
    for (round, number) in [21, 9, 18, 5, 8].into_iter().cycle().enumerate().take(60) {
        let sql = tpch::query(number);
        let expected = oracle.answer(&sql).await;
        if let Entry::Vacant(vacant) = usual.entry(number) {
            let started = Instant::now();
            session.ok(&sql).await;
            vacant.insert(started.elapsed());
        }
        let running = start(&session, sql);
        tokio::time::sleep(usual[&number].mul_f64(chaos.random_range(0.1..1.0))).await;
        cluster.executors.iter_mut().for_each(|executor| executor.signal("STOP"));
        for job in
            cluster.job_directories("").into_iter().filter(|job| job.to_string_lossy().ends_with("-a1"))
        {
            files::below(&job).iter().for_each(|file| kind.on(file));
        }
        cluster.executors.iter_mut().for_each(|executor| executor.signal("CONT"));
        let outcome = running.await.unwrap();
        let what = format!("round {round}, query {number}, {kind:?}");
        if assert_right_or_retryable(&what, &outcome, &expected, tpch::order(number)) {
            let attempt = session.progress(&outcome.unwrap().query_id).await.attempt;
            println!("{what}: right at attempt {attempt}");
            felt += usize::from(attempt > 1);
        } else {
            felt += 1;
        }
        if felt >= 6 {
            break;
        }
    }
    assert!(felt > 0, "no damage was felt: the test shows nothing");
    cluster.until_no_shuffle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn executor_death_a_missing_shuffle_file_is_not_an_empty_one() {
    survive_damage(Damage::Removed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn executor_death_a_missing_shuffle_index_is_not_an_empty_file() {
    survive_damage(Damage::WithoutIndex).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn executor_death_a_shuffle_file_that_is_cut_is_not_a_shorter_one() {
    survive_damage(Damage::Cut).await;
}

fn start(session: &Session, sql: String) -> tokio::task::JoinHandle<Result<Answer, Error>> {
    let session = session.clone();
    tokio::spawn(async move { session.query(&sql).await })
}
