//! Who may do what, with real servers.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use polarway_client::{CancelOutcome, Client, ClientOptions, Token};
use polarway_common::{Error, ErrorKind};
use polarway_tests::process::command;
use polarway_tests::sender::Sender;
use polarway_tests::{Cluster, Session, Setup, files, flight, python, until};
use reqwest::StatusCode;
use tempfile::TempDir;
use tokio_tungstenite::tungstenite;

pub const READER: &str = "reader-token-of-rita-0123456789";
pub const WRITER: &str = "writer-token-of-will-0123456789";
pub const OTHER: &str = "writer-token-of-olga-0123456789";
pub const ADMIN: &str = "admin-token-of-adam-0123456789";
pub const PROCESS: &str = "secret-of-the-processes-0123456789";
const CEILING: Duration = Duration::from_secs(60);

/// A file of tokens; the directory goes with it.
pub struct Known {
    directory: TempDir,
}

impl Known {
    pub fn write() -> Self {
        let known = Self { directory: TempDir::new().unwrap() };
        known.change(&[
            ("rita", "read", READER),
            ("will", "write", WRITER),
            ("olga", "write", OTHER),
            ("adam", "admin", ADMIN),
        ]);
        known
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("tokens.toml")
    }

    fn change(&self, tokens: &[(&str, &str, &str)]) {
        let entry = |(name, role, token): &(&str, &str, &str)| {
            format!("[[token]]\nname = '{name}'\nrole = '{role}'\ntoken = '{token}'\n")
        };
        // As a file that is swapped: nobody reads half of it.
        let next = self.directory.path().join("next");
        std::fs::write(&next, tokens.iter().map(entry).collect::<String>()).unwrap();
        std::fs::rename(next, self.path()).unwrap();
    }

    fn on(&self, setup: Setup) -> Setup {
        setup.set("identity.tokens", self.path().display()).set("identity.process_secret", PROCESS)
    }
}

async fn try_as(server: SocketAddr, token: &str) -> Result<Session, Error> {
    let options = ClientOptions {
        retry_for: Duration::ZERO,
        token: Some(Token::new(token)?),
        ..ClientOptions::to(server.to_string().parse().unwrap())
    };
    Ok(Session { client: Client::connect(options).await? })
}

async fn as_(server: SocketAddr, token: &str) -> Session {
    try_as(server, token).await.unwrap()
}

async fn kind(session: &Session, sql: &str) -> Option<ErrorKind> {
    session.query(sql).await.err().map(|error| error.kind)
}

async fn get(server: SocketAddr, path: &str, token: Option<&str>) -> reqwest::Response {
    let request = reqwest::Client::new().get(format!("http://{server}{path}"));
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    request.send().await.unwrap()
}

/// The status of what a server answers to a WebSocket's handshake; none if it takes the connection.
async fn shaken(server: SocketAddr, stream: &str, token: Option<&str>) -> Option<u16> {
    match Sender::connect_with(server, stream, token).await {
        Ok(_) => None,
        Err(tungstenite::Error::Http(answer)) => Some(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

pub fn logs(directory: &Path) -> String {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let logs = entries.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

fn nothing_shown(cluster: &Cluster) {
    let logs = logs(cluster.dir());
    assert!(logs.contains("polarway::audit"), "nothing was audited");
    for secret in [READER, WRITER, OTHER, ADMIN, PROCESS] {
        assert!(!logs.contains(secret), "a secret is in a log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_nobody_gets_in_without_a_token_that_is_known() {
    let known = Known::write();
    let setup = known.on(Setup::up()).set("ingest.listen", "127.0.0.1:0").set("log.level", "debug");
    let cluster = setup.start_without_waiting().await;
    let (grpc, http, ws) = (cluster.grpc(), cluster.http(), cluster.front.ws());
    as_(grpc, ADMIN).await.ok("CREATE STREAM ticks (price DOUBLE)").await;

    let refused = match Session::try_connect(grpc).await {
        Err(error) => error,
        Ok(session) => session.error("SELECT 1").await,
    };
    assert_eq!(refused.kind, ErrorKind::Unauthenticated);
    assert!(refused.hint.as_ref().is_some_and(|hint| hint.contains("authorization")), "{refused}");
    for wrong in ["wrong-token-0123456789", &READER[1..], &format!("{READER}0")] {
        let refused = match try_as(grpc, wrong).await {
            Err(error) => error,
            Ok(session) => session.error("SELECT 1").await,
        };
        assert_eq!(refused.kind, ErrorKind::Unauthenticated);
        assert!(!refused.to_string().contains(wrong), "{refused}");
    }
    // The secret of processes is no user's.
    let refused = match try_as(grpc, PROCESS).await {
        Err(error) => error,
        Ok(session) => session.error("SELECT 1").await,
    };
    assert_eq!(refused.kind, ErrorKind::NotAllowed);

    for path in ["/", "/queries", "/streams", "/metrics", "/v1/queries", "/v1/nodes", "/api/jobs", "/else"] {
        let answer = get(http, path, None).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(answer.headers().contains_key("www-authenticate"), "{path}");
        let answer = get(http, path, Some("wrong-token-0123456789")).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(get(http, path, Some(PROCESS)).await.status(), StatusCode::FORBIDDEN, "{path}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(http, path, None).await.status(), StatusCode::OK, "{path}");
    }
    for path in ["/", "/queries", "/streams", "/metrics", "/v1/queries", "/v1/nodes"] {
        assert_eq!(get(http, path, Some(READER)).await.status(), StatusCode::OK, "{path}");
    }
    assert_eq!(get(http, "/api/jobs", Some(WRITER)).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(get(http, "/api/jobs", Some(ADMIN)).await.status(), StatusCode::OK);
    // What a browser sends: the token as the password.
    let browser =
        reqwest::Client::new().get(format!("http://{http}/queries")).basic_auth("rita", Some(READER));
    assert_eq!(browser.send().await.unwrap().status(), StatusCode::OK);

    for stream in ["ticks", "nothing"] {
        assert_eq!(shaken(ws, stream, None).await, Some(401), "{stream}");
        assert_eq!(shaken(ws, stream, Some("wrong-token-0123456789")).await, Some(401), "{stream}");
        assert_eq!(shaken(ws, stream, Some(READER)).await, Some(403), "{stream}");
        assert_eq!(shaken(ws, stream, Some(PROCESS)).await, Some(403), "{stream}");
    }
    assert_eq!(shaken(ws, "nothing", Some(WRITER)).await, Some(404));
    assert_eq!(shaken(ws, "ticks", Some(WRITER)).await, None);
    nothing_shown(&cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_a_role_allows_what_it_says_and_no_more() {
    let (known, out) = (Known::write(), TempDir::new().unwrap());
    let setup = known.on(Setup::up()).set("ingest.listen", "127.0.0.1:0");
    let cluster = setup.allow(out.path()).writable(out.path().display()).start_without_waiting().await;
    let server = cluster.grpc();
    let (reader, writer, admin) =
        (as_(server, READER).await, as_(server, WRITER).await, as_(server, ADMIN).await);
    let place = out.path().display();
    let administers = [
        "CREATE SCHEMA books".to_owned(),
        "CREATE STREAM ticks (price DOUBLE)".to_owned(),
        format!("CREATE EXTERNAL TABLE copied STORED AS PARQUET LOCATION '{place}/copied/'"),
    ];
    let writes = [
        "CREATE TABLE numbers (n BIGINT)".to_owned(),
        "INSERT INTO numbers VALUES (1), (2)".to_owned(),
        "CREATE TABLE more AS SELECT n + 1 AS n FROM numbers".to_owned(),
        "CREATE VIEW twice AS SELECT 2 * n AS n FROM numbers".to_owned(),
        format!("COPY numbers TO '{place}/copied/' STORED AS PARQUET"),
    ];
    let reads = [
        "SELECT sum(n) FROM twice",
        "EXPLAIN SELECT * FROM numbers",
        "EXPLAIN ANALYZE SELECT * FROM numbers",
        "SHOW TABLES",
        "DESCRIBE numbers",
        "SET polarway.timeout = '1m'",
        "SELECT count(*) FROM ticks",
        "SELECT * FROM copied",
    ];
    for sql in administers.iter().chain(&writes) {
        assert_eq!(kind(&reader, sql).await, Some(ErrorKind::NotAllowed), "{sql}");
    }
    for sql in &administers {
        assert_eq!(kind(&writer, sql).await, Some(ErrorKind::NotAllowed), "{sql}");
    }
    for sql in &writes {
        writer.ok(sql).await;
    }
    for sql in &administers {
        admin.ok(sql).await;
    }
    for session in [&reader, &writer, &admin] {
        for sql in reads {
            session.ok(sql).await;
        }
    }
    // As a job, and prepared, it is the same.
    let submitted = reader.client.submit("INSERT INTO numbers VALUES (3)", None, CEILING).await;
    assert_eq!(submitted.unwrap_err().kind, ErrorKind::NotAllowed);
    for sql in ["DROP VIEW twice", "DROP TABLE numbers", "DROP STREAM ticks", "DROP SCHEMA books"] {
        assert_eq!(kind(&reader, sql).await, Some(ErrorKind::NotAllowed), "{sql}");
    }
    assert_eq!(reader.value("SELECT count(*) FROM numbers").await, "2");
    let error = reader.error("DROP TABLE numbers").await;
    assert_eq!(error.message, "DROP TABLE needs the role `write`; `rita` has the role `read`");
    assert_eq!(reader.ok("SHOW polarway.user").await.cells(), [["polarway.user", "rita"]]);
    for sql in ["SET polarway.user = 'adam'", "RESET polarway.user"] {
        // It is not what a session has set, so there is nothing to take back.
        let _ = reader.query(sql).await;
        assert_eq!(kind(&reader, "DROP TABLE numbers").await, Some(ErrorKind::NotAllowed), "{sql}");
    }
    nothing_shown(&cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_what_belongs_to_another_is_not_there() {
    let known = Known::write();
    let cluster = known.on(Setup::up()).start_without_waiting().await;
    let server = cluster.grpc();
    let (will, olga, adam) = (as_(server, WRITER).await, as_(server, OTHER).await, as_(server, ADMIN).await);

    // A handle.
    let handle = will.client.create_handle("SELECT 42 AS answer", CEILING).await.unwrap();
    let query = format!("SELECT * FROM {}", handle.table());
    assert_eq!(will.value(&query).await, "42");
    let refused = kind(&olga, &query).await;
    assert!(matches!(refused, Some(ErrorKind::NotFound | ErrorKind::TableNotFound)), "{refused:?}");
    assert_eq!(olga.client.renew_handle(&handle.id).await.unwrap_err().kind, ErrorKind::NotFound);
    olga.client.close_handle(&handle.id).await.unwrap();
    assert_eq!(will.value(&query).await, "42", "somebody else has closed it");

    // A job and its rows, and the key that it was submitted by.
    let job = will.client.submit("SELECT 7 AS n", Some("a-key"), CEILING).await.unwrap();
    until("the job ends", CEILING, || async { will.client.job(&job).await.unwrap().outcome }).await;
    assert_eq!(olga.client.job(&job).await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(olga.client.cancel_job(&job).await.unwrap_err().kind, ErrorKind::NotFound);
    assert!(olga.client.job_rows(&job).await.is_err());
    assert!(adam.client.job(&job).await.is_ok());
    assert_eq!(will.client.submit("SELECT 7 AS n", Some("a-key"), CEILING).await.unwrap(), job);
    let others = olga.client.submit("SELECT 7 AS n", Some("a-key"), CEILING).await.unwrap();
    assert_ne!(others, job, "one gets the outcome of another's statement");

    // A running query.
    let running = will.client.execute("SELECT count(*) FROM range(1, 1000000000000)").await.unwrap();
    let id = running.query_id().to_owned();
    let query = running.handle().clone();
    let reading = tokio::spawn(async move {
        let mut running = running;
        running.next_batch().await
    });
    until("it runs", CEILING, || async { will.client.progress(&id).await.unwrap() }).await;
    assert_eq!(olga.client.progress(&id).await.unwrap(), None);
    assert!(!matches!(olga.client.cancel(&query).await, Ok(CancelOutcome::Cancelled)));
    let listed = |token: &'static str| {
        let (http, id) = (cluster.http(), id.clone());
        async move { get(http, "/v1/queries", Some(token)).await.text().await.unwrap().contains(&id) }
    };
    assert!(listed(WRITER).await && listed(ADMIN).await && !listed(OTHER).await);
    let url = format!("http://{}/v1/queries/{id}", cluster.http());
    let ending = |token: &'static str| reqwest::Client::new().delete(&url).bearer_auth(token).send();
    assert_eq!(ending(OTHER).await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(
        get(cluster.http(), &format!("/queries/{id}"), Some(OTHER)).await.status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(ending(ADMIN).await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(reading.await.unwrap().unwrap_err().kind, ErrorKind::Cancelled);

    // A ticket.
    let info = flight::info_as(server, WRITER, "SELECT 1 AS one").await.unwrap();
    let ticket = flight::ticket(&info).ticket;
    let stolen = flight::redeem_as(server, OTHER, ticket.clone()).await.unwrap_err();
    assert_eq!(stolen.kind, ErrorKind::NotAllowed);
    assert!(flight::redeem_as(server, WRITER, ticket).await.is_ok());

    nothing_shown(&cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_a_token_that_is_taken_away_ends_with_all_that_it_opened() {
    let known = Known::write();
    let setup = known.on(Setup::up()).set("ingest.listen", "127.0.0.1:0");
    let cluster = setup.start_without_waiting().await;
    let (server, ws) = (cluster.grpc(), cluster.front.ws());
    let (writer, admin) = (as_(server, WRITER).await, as_(server, ADMIN).await);
    admin.ok("CREATE STREAM ticks (price DOUBLE)").await;
    let mut sender = Sender::connect_with(ws, "ticks", Some(WRITER)).await.unwrap();
    sender.send(r#"{"price": 1.5}"#).await;
    writer.ok("SELECT 1").await;
    known.change(&[("will", "write", "the-next-token-0123456789"), ("adam", "admin", ADMIN)]);
    until("the token is not known any more", CEILING, || async {
        (kind(&writer, "SELECT 1").await == Some(ErrorKind::Unauthenticated)).then_some(())
    })
    .await;
    assert_eq!(sender.closed().await, ("unauthenticated".to_owned(), 1008));
    assert_eq!(shaken(ws, "ticks", Some(WRITER)).await, Some(401));
    as_(server, "the-next-token-0123456789").await.ok("SELECT 1").await;
    // What came before is there.
    assert_eq!(admin.value("SELECT count(*) FROM ticks").await, "1");
    // A file that is wrong changes nothing.
    std::fs::write(known.path(), "nonsense").unwrap();
    until("the fault is told", CEILING, || async {
        logs(cluster.dir()).contains("the tokens stay as they were").then_some(())
    })
    .await;
    admin.ok("SELECT 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_processes_know_each_other_and_nobody_else_is_one() {
    let known = Known::write();
    let data = TempDir::new().unwrap();
    let file = data.path().join("n.parquet");
    files::parquet(&file, "SELECT value AS n FROM generate_series(0, 99999)").await;
    let setup = known.on(Setup::cluster(2).ingest(1)).allow(data.path());
    let cluster = setup.start_without_waiting().await;
    let server = cluster.grpc();
    let admin = as_(server, ADMIN).await;
    admin.set_route("staged").await;
    let sql = format!("SELECT sum(n) FROM '{}' GROUP BY n % 2 ORDER BY 1", file.display());
    assert_eq!(admin.ok(&sql).await.cells(), [["2499950000"], ["2500000000"]]);
    until("the stream is made", CEILING, || async {
        admin.query("CREATE STREAM IF NOT EXISTS ticks (price DOUBLE)").await.ok()
    })
    .await;
    let taker = cluster.ingest[0].ws();
    assert_eq!(shaken(taker, "ticks", None).await, Some(401));
    let mut sender = Sender::connect_with(taker, "ticks", Some(WRITER)).await.unwrap();
    sender.send(r#"{"price": 1.5}"#).await;
    sender.acknowledged(1).await;
    assert_eq!(admin.value("SELECT sum(price) FROM ticks").await, "1.5");

    // What only processes call, called by others.
    let at_scheduler = [
        "/ballista.protobuf.SchedulerGrpc/UpdateTaskStatus",
        "/ballista.protobuf.SchedulerGrpc/RegisterExecutor",
        "/polarway.v1.MetaStore/Revision",
    ];
    let at_taker =
        ["/arrow.flight.protocol.FlightService/DoAction", "/arrow.flight.protocol.FlightService/DoGet"];
    let at_scheduler = at_scheduler.map(|path| (server, path));
    for (door, path) in at_scheduler.into_iter().chain(at_taker.map(|path| (cluster.ingest[0].grpc, path))) {
        let refused = |token| flight::bare_call(door, path, token);
        assert_eq!(refused(None).await, Some(ErrorKind::Unauthenticated), "{path}");
        assert_eq!(refused(Some(ADMIN)).await, Some(ErrorKind::NotAllowed), "{path}");
        let by_process = refused(Some(PROCESS)).await;
        let refusals = [Some(ErrorKind::Unauthenticated), Some(ErrorKind::NotAllowed)];
        assert!(!refusals.contains(&by_process), "{path}: {by_process:?}");
    }
    nothing_shown(&cluster);
}

/// The driver sends name and password once, and from then on what it was told, or the header that it was given.
#[tokio::test(flavor = "multi_thread")]
async fn row_47_adbcs_driver_says_who_it_is_in_its_own_ways() {
    let known = Known::write();
    let cluster = known.on(Setup::up()).start_without_waiting().await;
    let mut command = Command::new(python::with("adbc-requirements.txt"));
    command
        .arg(python::script("adbc_identity.py"))
        .arg(format!("grpc://{}", cluster.grpc()))
        .arg("rita")
        .arg(READER);
    tokio::task::spawn_blocking(move || python::run(&mut command)).await.unwrap();
    nothing_shown(&cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_no_process_listens_to_others_without_identity_unless_told() {
    let data = TempDir::new().unwrap();
    let listening = |more: &[&str]| {
        let mut arguments: Vec<String> =
            ["up", "--listen", "0.0.0.0:0", "--http-listen", "127.0.0.1:0", "--data-dir"]
                .map(str::to_owned)
                .into();
        arguments.push(data.path().display().to_string());
        arguments.extend(more.iter().map(|&text| text.to_owned()));
        command(&arguments, &[])
    };
    let output = tokio::task::spawn_blocking({
        let mut command = listening(&[]);
        move || command.output().unwrap()
    });
    let output = output.await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(told.contains("`scheduler.listen`") && told.contains("identity.trusted_network"), "{told}");
    let trusting = Setup::up().front_at("0.0.0.0:0").set("identity.trusted_network", "true");
    let cluster = trusting.start_without_waiting().await;
    let here = SocketAddr::from(([127, 0, 0, 1], cluster.grpc().port()));
    Session::connect(here).await.ok("SELECT 1").await;
}
