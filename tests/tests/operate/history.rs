//! What is known of queries once the scheduler that ran them is gone.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use polarway_client::{Client, ClientOptions, Token};
use polarway_common::ErrorKind;
use polarway_tests::etcd::Etcd;
use polarway_tests::{Session, Setup, http, until};
use reqwest::StatusCode;
use serde_json::Value;
use tempfile::TempDir;

const READER: &str = "reader-token-of-rita-0123456789";
const OTHER: &str = "reader-token-of-olga-0123456789";
const ADMIN: &str = "admin-token-of-adam-0123456789";
const TENANT: &str = "reader-token-of-anna-0123456789";
const PROCESS: &str = "secret-of-the-processes-0123456789";
const CEILING: Duration = Duration::from_secs(60);

fn with_tokens(setup: Setup, directory: &Path) -> Setup {
    let known = [
        ("rita", "read", "default", READER),
        ("olga", "read", "default", OTHER),
        ("adam", "admin", "default", ADMIN),
        ("anna", "read", "acme", TENANT),
    ];
    let entry = |(name, role, namespace, token): (&str, &str, &str, &str)| {
        format!("[[token]]\nname = '{name}'\nrole = '{role}'\nnamespace = '{namespace}'\ntoken = '{token}'\n")
    };
    let path = directory.join("tokens.toml");
    std::fs::write(&path, known.map(entry).concat()).unwrap();
    setup.set("identity.tokens", path.display()).set("identity.process_secret", PROCESS)
}

async fn as_(server: SocketAddr, token: &str) -> Session {
    let options = ClientOptions {
        retry_for: Duration::ZERO,
        token: Some(Token::new(token).unwrap()),
        ..ClientOptions::to(server.to_string().parse().unwrap())
    };
    Session { client: Client::connect(options).await.unwrap() }
}

async fn get(server: SocketAddr, path: &str, token: &str) -> (StatusCode, String) {
    let request = reqwest::Client::new().get(format!("http://{server}{path}")).bearer_auth(token);
    let answer = request.send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

async fn listed(server: SocketAddr, token: &str) -> Vec<Value> {
    let (status, body) = get(server, "/v1/queries", token).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// By id, so that two lists can be compared.
fn by_id(mut queries: Vec<Value>) -> Vec<Value> {
    queries.sort_by_key(|query| query["id"].as_str().unwrap().to_owned());
    queries
}

fn with_id<'a>(queries: &'a [Value], id: &str) -> Option<&'a Value> {
    queries.iter().find(|query| query["id"] == id)
}

/// Waits until a server has written so many queries down.
async fn until_written(server: SocketAddr, token: &str, count: usize) {
    until(format!("{count} queries are written"), CEILING, || async move {
        let (_, metrics) = get(server, "/metrics", token).await;
        let written = metrics.lines().find_map(|line| line.strip_prefix("polarway_history_written_total "));
        (written?.parse::<f64>().unwrap() >= count as f64).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_48_a_killed_schedulers_queries_are_shown_by_the_next() {
    let tokens = TempDir::new().unwrap();
    let mut cluster = with_tokens(Setup::up(), tokens.path()).start_without_waiting().await;
    let server = cluster.grpc();
    let (rita, olga, adam) = (as_(server, READER).await, as_(server, OTHER).await, as_(server, ADMIN).await);
    let mine = rita.ok("SELECT 1 AS mine").await.query_id;
    olga.ok("SELECT 2 AS of_olga").await;
    let failed = rita.error("SELECT 1 / (value - value) AS divided FROM generate_series(1, 10)").await;
    assert_eq!(failed.kind, ErrorKind::Execution);
    // What did not become a query is known, too, unless it changed the session alone.
    let unplanned = rita.error("SELECT nothing FROM nowhere").await;
    adam.ok("CREATE VIEW seen AS SELECT 3 AS n").await;
    rita.set("polarway.timeout", "1m").await;
    let before = listed(cluster.http(), ADMIN).await;
    let of = |sql: &str| {
        let found: Vec<&Value> = before.iter().filter(|query| query["sql"] == sql).collect();
        assert_eq!(found.len(), 1, "{sql}: {before:#?}");
        found[0].clone()
    };
    let unknown = of("SELECT nothing FROM nowhere");
    assert_eq!((unknown["state"].as_str(), unknown["user"].as_str()), (Some("failed"), Some("rita")));
    assert_eq!(unknown["error"]["code"], unplanned.kind.reason());
    assert_eq!(of("CREATE VIEW seen AS SELECT 3 AS n")["state"], "finished");
    assert!(!before.iter().any(|query| query["sql"].as_str().unwrap().starts_with("SET ")));
    until_written(cluster.http(), ADMIN, before.len()).await;

    cluster.front.kill();
    cluster.start_front_again();
    let http = cluster.http();
    let after = until("the history is read", CEILING, || async move {
        Some(listed(http, ADMIN).await).filter(|queries| !queries.is_empty())
    })
    .await;
    // The same of all of them: ids, statements, outcomes, times, owners, and who ran them.
    assert_eq!(by_id(after), by_id(before.clone()));
    let query = with_id(&before, &mine).unwrap();
    let scheduler = query["scheduler"].as_str().unwrap();
    assert!(scheduler.starts_with("scheduler-"), "{query}");
    let (status, progress) = get(http, &format!("/v1/queries/{mine}"), READER).await;
    let progress: Value = serde_json::from_str(&progress).unwrap();
    assert_eq!((status, progress["state"].as_str()), (StatusCode::OK, Some("finished")));
    let (status, page) = get(http, &format!("/queries/{mine}"), READER).await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("SELECT 1 AS mine") && page.contains(scheduler), "{page}");

    // To each its own, as before.
    for (token, user) in [(READER, "rita"), (OTHER, "olga")] {
        let own: Vec<Value> = before.iter().filter(|query| query["user"] == user).cloned().collect();
        assert!(!own.is_empty());
        assert_eq!(by_id(listed(http, token).await), by_id(own));
    }
    for path in [format!("/v1/queries/{mine}"), format!("/queries/{mine}")] {
        assert_eq!(get(http, &path, OTHER).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    let (_, page) = get(http, "/queries", OTHER).await;
    assert!(page.contains("of_olga") && !page.contains("AS mine"), "{page}");

    // What comes now is listed before.
    let latest = as_(cluster.grpc(), READER).await.ok("SELECT 4 AS latest").await.query_id;
    assert_eq!(listed(http, READER).await[0]["id"], latest);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_48_what_one_namespace_runs_pushes_out_nothing_of_another() {
    const MANY: usize = 1300;
    let tokens = TempDir::new().unwrap();
    let mut cluster = with_tokens(Setup::up(), tokens.path()).start_without_waiting().await;
    let (rita, anna) = (as_(cluster.grpc(), READER).await, as_(cluster.grpc(), TENANT).await);
    let mine = rita.ok("SELECT 1 AS mine").await.query_id;
    for _ in 0..MANY {
        anna.ok("SELECT 1").await;
    }
    let http = cluster.http();
    let own = listed(http, READER).await;
    assert_eq!(own.len(), 1);
    assert!(with_id(&own, &mine).is_some(), "{own:?}");
    assert!(listed(http, TENANT).await.len() >= 1000);
    until("all that can be is written", CEILING, || async move {
        let counted = http::samples(&get(http, "/metrics", ADMIN).await.1);
        let of = |what: &str| counted[&format!("polarway_history_{what}_total")];
        (of("written") + of("dropped") > MANY as f64).then_some(())
    })
    .await;

    cluster.restart_front().await;
    let http = cluster.http();
    let loud = until("the history is read", CEILING, || async move {
        Some(listed(http, TENANT).await).filter(|queries| !queries.is_empty())
    })
    .await;
    assert!(loud.iter().all(|query| query["user"] == "acme/anna"), "{loud:?}");
    assert_eq!(by_id(listed(http, READER).await), by_id(own));
}

#[tokio::test(flavor = "multi_thread")]
async fn row_48_a_scheduler_that_stops_writes_its_last_queries() {
    let mut cluster = Setup::up().start().await;
    let last = cluster.session().await.ok("SELECT 1 AS last_one").await.query_id;
    cluster.restart_front().await;
    let http = cluster.http();
    until("the history is read", CEILING, || async {
        with_id(&http::queries(http).await, &last).map(|query| assert_eq!(query["state"], "finished"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_48_a_cluster_shows_the_queries_of_a_scheduler_that_is_gone() {
    let etcd = Etcd::start().await;
    let setup = Setup::cluster(0).schedulers(2).set("metastore.etcd", etcd.url());
    let mut cluster = setup.set("metastore.lease_ttl", "2s").start().await;
    let (here, there) = (cluster.http(), cluster.others[0].http());
    let session = Session::connect(cluster.others[0].grpc).await;
    let id = session.ok("SELECT 42 AS elsewhere").await.query_id;
    let shown = || async { with_id(&http::queries(here).await, &id).cloned() };
    // While both are there.
    let query = until("a scheduler shows what another ran", CEILING, shown).await;
    assert_eq!(with_id(&http::queries(there).await, &id), Some(&query));
    cluster.others[0].kill();
    until("it has left the cluster", CEILING, || async {
        let nodes: Vec<Value> = serde_json::from_str(&http::get(here, "/v1/nodes").await).unwrap();
        (nodes.len() == 1).then_some(())
    })
    .await;
    assert_eq!(shown().await, Some(query));
    let page = http::get(here, &format!("/queries/{id}")).await;
    assert!(page.contains("SELECT 42 AS elsewhere"), "{page}");
    // And with it the next one that comes.
    cluster.restart_scheduler(1);
    let there = cluster.others[0].http();
    until("a new scheduler shows it", CEILING, || async {
        with_id(&http::queries(there).await, &id).cloned()
    })
    .await;
}
