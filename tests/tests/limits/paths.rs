//! What configuration does not name cannot be reached: no file is opened, no connection is made.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use arrow_flight::{Action, Ticket};
use ballista_core::serde::protobuf::action::ActionType;
use ballista_core::serde::protobuf::{self, FetchPartition};
use polarway_common::ErrorKind;
use polarway_proto::ticket::{PlanTicket, QueryTicket, TicketSigner, expiry};
use polarway_tests::s3::S3Server;
use polarway_tests::{Session, Setup, files, flight, http};
use prost::Message;
use tokio::net::TcpListener;

/// A port that nobody should connect to.
struct Trap {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Trap {
    async fn set() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&connections);
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                seen.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { port, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Every way to name a location in a statement.
fn statements(location: &str) -> Vec<String> {
    let mut statements = vec![
        format!("SELECT * FROM '{location}'"),
        format!("SELECT count(*) FROM '{location}' a JOIN ok b ON TRUE"),
        format!("EXPLAIN SELECT * FROM '{location}'"),
        format!("DESCRIBE '{location}'"),
    ];
    for format in ["PARQUET", "CSV", "JSON", "ARROW"] {
        statements.push(format!("CREATE EXTERNAL TABLE stolen STORED AS {format} LOCATION '{location}'"));
        statements.push(format!(
            "CREATE EXTERNAL TABLE stolen (line VARCHAR) STORED AS {format} LOCATION '{location}'"
        ));
    }
    statements
}

async fn refused(session: &Session, location: &str) {
    for sql in statements(location) {
        let error = session.error(&sql).await;
        assert_eq!(error.kind, ErrorKind::PathNotAllowed, "{sql}: {error}");
        assert!(!error.message.contains("root:"), "{sql}: {error}");
        assert!(!error.message.contains("hunter2"), "{sql}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_11_files_and_urls_outside_the_roots_are_refused() {
    let files = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let inside = files.path().join("inside");
    std::fs::create_dir(&inside).unwrap();
    for path in [
        inside.join("ok.parquet"),
        files.path().join("beside.parquet"),
        outside.path().join("secret.parquet"),
    ] {
        files::parquet(&path, "SELECT 1 AS x").await;
    }
    symlink("/etc", inside.join("etc")).unwrap();
    symlink("/etc/passwd", inside.join("passwd.csv")).unwrap();
    symlink(outside.path(), inside.join("elsewhere")).unwrap();
    symlink(outside.path().join("secret.parquet"), inside.join("link.parquet")).unwrap();
    let inside_text = inside.display().to_string();
    let trap = Trap::set().await;
    let s3 = S3Server::start().await;
    std::fs::write(s3.bucket("private").join("x.csv"), "a\n1\n").unwrap();
    std::fs::write(s3.bucket("lake").join("x.csv"), "a\n1\n").unwrap();
    let setup = Setup::cluster(1).allow(&inside).allow("s3://lake/open");
    let cluster = s3.configure(setup).start().await;
    let session = cluster.session().await;
    session
        .ok(&format!("CREATE EXTERNAL TABLE ok STORED AS PARQUET LOCATION '{inside_text}/ok.parquet'"))
        .await;
    assert_eq!(session.value("SELECT max(x) FROM ok WHERE x > 0").await, "1");
    let before = s3.take_requests().len();
    assert_eq!(before, 0);

    let port = trap.port;
    for location in [
        "/etc/passwd".to_owned(),
        "/etc/".to_owned(),
        "/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "/proc/self/environ".to_owned(),
        "../../../../../../etc/passwd".to_owned(),
        format!("{inside_text}/../beside.parquet"),
        format!("{inside_text}/x/../../beside.parquet"),
        format!("{inside_text}/etc/passwd"),
        format!("{inside_text}/passwd.csv"),
        format!("{inside_text}/elsewhere/secret.parquet"),
        format!("{inside_text}/link.parquet"),
        format!("{inside_text}/*/../../beside.parquet"),
        format!("{}/*.parquet", outside.path().display()),
        format!("{inside_text}extra/x.parquet"),
        "http://169.254.169.254/latest/meta-data/x.csv".to_owned(),
        format!("http://127.0.0.1:{port}/x.parquet"),
        format!("http://localhost:{port}/x.csv"),
        format!("https://127.0.0.1:{port}/x.parquet"),
        format!("https://user:hunter2@127.0.0.1:{port}/x.parquet"),
        format!("http://[::1]:{port}/x.json"),
        "s3://private/x.csv".to_owned(),
        "s3://lake/x.csv".to_owned(),
        "s3://lake/opened/x.csv".to_owned(),
        "s3://lake/open/../x.csv".to_owned(),
        "s3a://lake/open/x.csv".to_owned(),
        "gs://lake/open/x.csv".to_owned(),
        "az://lake/open/x.csv".to_owned(),
    ] {
        refused(&session, &location).await;
    }
    // A directory that is allowed does not lend its name to what its links lead to.
    let globbed = session.query(&format!("SELECT * FROM '{inside_text}/*.csv'")).await;
    if let Ok(answer) = globbed {
        assert!(!answer.text().contains("root:"), "{}", answer.text());
    }
    let whole = session.query(&format!("SELECT * FROM '{inside_text}/elsewhere/*.parquet'")).await;
    assert_eq!(whole.unwrap_err().kind, ErrorKind::PathNotAllowed);
    assert_eq!(trap.connections(), 0, "a connection was made");
    assert_eq!(s3.take_requests(), [], "the object store was asked");
    assert_eq!(
        session.value("SELECT count(*) FROM information_schema.tables WHERE table_name = 'stolen'").await,
        "0"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn row_11_a_link_that_appears_later_is_refused() {
    let files = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let table = files.path().join("t");
    std::fs::create_dir(&table).unwrap();
    files::parquet(&table.join("a.parquet"), "SELECT 1 AS x").await;
    files::parquet(&outside.path().join("b.parquet"), "SELECT 41 AS x").await;
    for setup in [Setup::up(), Setup::cluster(1)] {
        let cluster = setup.allow(files.path()).start().await;
        let session = cluster.session().await;
        session
            .ok(&format!("CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{}/'", table.display()))
            .await;
        for route in ["direct", "staged"] {
            session.set_route(route).await;
            assert_eq!(session.value("SELECT sum(x) FROM t WHERE x > 0").await, "1", "{route}");
            symlink(outside.path().join("b.parquet"), table.join("b.parquet")).unwrap();
            match session.query("SELECT sum(x) FROM t WHERE x > 0").await {
                Ok(answer) => assert_eq!(answer.value(), "1", "{route}: the link was followed"),
                Err(error) => assert_eq!(error.kind, ErrorKind::PathNotAllowed, "{route}: {error}"),
            }
            std::fs::remove_file(table.join("b.parquet")).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_11_links_do_not_lead_a_listing_astray() {
    let files = tempfile::tempdir().unwrap();
    let table = files.path().join("t");
    std::fs::create_dir(&table).unwrap();
    files::parquet(&table.join("a.parquet"), "SELECT 1 AS x").await;
    for name in ["again", "and-again"] {
        symlink(&table, table.join(name)).unwrap();
    }
    let cluster = Setup::cluster(1).allow(files.path()).start().await;
    let session = cluster.session().await;
    session.ok(&format!("CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{}/'", table.display())).await;
    let path = format!("SELECT sum(x) FROM '{}/' WHERE x > 0", table.display());
    let statements = ["SELECT sum(x) FROM t WHERE x > 0", path.as_str()];
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        for sql in statements {
            assert_eq!(session.value(sql).await, "1", "{sql} on {route}");
        }
    }
    // Half the machine lies below this one.
    symlink("/", table.join("root")).unwrap();
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        for sql in statements {
            let error = session.error(sql).await;
            assert_eq!(error.kind, ErrorKind::PathNotAllowed, "{sql} on {route}: {error}");
            assert!(error.message.contains("/t/root"), "{sql} on {route}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_11_an_executor_checks_for_itself() {
    let files = tempfile::tempdir().unwrap();
    let (shared, own) = (files.path().join("shared"), files.path().join("own"));
    for directory in [&shared, &own] {
        std::fs::create_dir(directory).unwrap();
        files::parquet(&directory.join("a.parquet"), "SELECT value AS x FROM generate_series(1, 10)").await;
    }
    // The scheduler may read both directories; the executor one of them.
    let cluster = Setup::cluster(1).allow(files.path()).allow_executors(&shared).start().await;
    let session = cluster.session().await;
    for name in ["shared", "own"] {
        let location = files.path().join(name).display().to_string();
        session.ok(&format!("CREATE EXTERNAL TABLE {name} STORED AS PARQUET LOCATION '{location}/'")).await;
    }
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        assert_eq!(session.value("SELECT sum(x) FROM shared WHERE x > 0").await, "55", "{route}");
        let error = session.error("SELECT sum(x) FROM own WHERE x > 0").await;
        assert_eq!(error.kind, ErrorKind::PathNotAllowed, "{route}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_11_forged_tickets_are_refused() {
    let files = tempfile::tempdir().unwrap();
    files::parquet(&files.path().join("a.parquet"), "SELECT value AS x FROM generate_series(1, 10)").await;
    let cluster = Setup::cluster(1)
        .allow(files.path())
        .set("scheduler.results", "direct")
        .set("query.route", "staged")
        .start()
        .await;
    let executor = cluster.executors[0].grpc;
    let stranger = TicketSigner::from_secret(b"not the secret of this cluster").unwrap();
    let expires_at = expiry(SystemTime::now(), Duration::from_secs(600));
    let plan = PlanTicket { query_id: "q-forged".into(), expires_at, ..PlanTicket::default() };
    let query = QueryTicket {
        query_id: "q-forged".into(),
        sql: "SELECT 1".into(),
        expires_at,
        ..QueryTicket::default()
    };
    let kind_of = |error: polarway_common::Error| error.kind;

    let forged_plan = stranger.sign_plan(&plan).to_vec();
    let error = flight::redeem(executor, forged_plan.clone()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidTicket, "{error}");
    let error = flight::redeem(cluster.grpc(), stranger.sign_query(&query).to_vec()).await.unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::InvalidTicket | ErrorKind::Plan | ErrorKind::Unsupported),
        "{error:?}"
    );

    // A true ticket, one bit changed, or redeemed at the wrong place.
    let client = flight::connect(cluster.grpc()).await;
    let sql = format!("SELECT sum(x) FROM '{}/'", files.path().display());
    let info = flight::info(&client, &sql).await;
    let Ticket { ticket } = flight::ticket(&info);
    assert!(ticket.starts_with(b"PWP1"), "the result stands on the executor");
    assert!(!flight::redeem(executor, ticket.to_vec()).await.unwrap().is_empty());
    for index in [4, 5, 20, ticket.len() / 2, ticket.len() - 1] {
        let mut forged = ticket.to_vec();
        forged[index] ^= 1;
        let error = flight::redeem(executor, forged).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidTicket, "byte {index}: {error}");
    }
    assert!(flight::redeem(cluster.grpc(), ticket.to_vec()).await.is_err());

    // A true query ticket of the scheduler's, changed.
    let info = flight::info(&client, "SELECT 1").await;
    let Ticket { ticket } = flight::ticket(&info);
    assert!(!flight::redeem(cluster.grpc(), ticket.to_vec()).await.unwrap().is_empty());
    let mut forged = ticket.to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert_eq!(kind_of(flight::redeem(cluster.grpc(), forged).await.unwrap_err()), ErrorKind::InvalidTicket);

    for nonsense in [
        &b""[..],
        b"PWP1",
        b"PWQ1",
        b"PWP1 and more that is no signature, however long it may be made to look like one",
    ] {
        assert!(flight::redeem(executor, nonsense).await.is_err());
        assert!(flight::redeem(cluster.grpc(), nonsense).await.is_err());
    }
    let failed = http::metric(cluster.executors[0].http(), "polarway_executor_tasks_failed_total").await;
    assert_eq!(failed, 0.0, "a forged ticket reached the engine");
}

#[tokio::test(flavor = "multi_thread")]
async fn row_11_the_shuffle_service_stays_in_its_directory() {
    let files = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let hidden = outside.path().join("1/2");
    std::fs::create_dir_all(&hidden).unwrap();
    for name in ["data.arrow", "data-3.arrow"] {
        files::write(&hidden.join(name), "SELECT 'hunter2' AS secret", "STORED AS ARROW").await;
    }
    let cluster = Setup::cluster(1).allow(files.path()).start().await;
    let executor = cluster.executors[0].grpc;
    let absolute = outside.path().display().to_string();
    let relative = format!("../../../../../../../../../../../..{absolute}");
    for job_id in [absolute, relative] {
        for file_id in [None, Some(3)] {
            let fetch = FetchPartition {
                job_id: job_id.clone(),
                stage_id: 1,
                partition_id: 2,
                file_id,
                ..Default::default()
            };
            let request =
                protobuf::Action { settings: vec![], action_type: Some(ActionType::FetchPartition(fetch)) };
            let request = request.encode_to_vec();
            let got = flight::redeem(executor, request.clone()).await;
            assert!(got.is_err(), "{job_id}: a file outside was sent by DoGet");
            let action = Action { r#type: "IO_BLOCK_TRANSPORT".into(), body: request.into() };
            let answer = flight::connect(executor).await.do_action(action).await;
            let body = match answer {
                Ok(stream) => stream.into_inner().message().await.ok().flatten().map(|result| result.body),
                Err(_) => None,
            };
            assert!(body.is_none_or(|body| body.is_empty()), "{job_id}: a file outside was sent by DoAction");
        }
    }
}
