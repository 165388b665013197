//! TLS on all ports, as users meet it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use polarway_client::{Client, ClientOptions, Endpoint, Token};
use polarway_common::{Error, ErrorKind};
use polarway_tests::pki::{Authority, Material, NAMES, Pki};
use polarway_tests::process::command;
use polarway_tests::wait::within;
use polarway_tests::{Cluster, Dial, Sender, Session, Setup, files, flight, http, python, until};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite;

use crate::identity::{ADMIN, Known, OTHER, PROCESS, READER, WRITER, logs};

pub const CEILING: Duration = Duration::from_secs(60);
/// For how long what is refused might be tried again; who waits for that hangs.
const LONG: Duration = Duration::from_secs(3600);
pub const TICKS: &str = "CREATE STREAM IF NOT EXISTS ticks (price DOUBLE)";

/// A session over TLS that trusts what is in a file.
pub async fn try_over(server: SocketAddr, ca: &Path, token: &str) -> Result<Session, Error> {
    try_with(&format!("https://{server}"), Some(ca), token, Duration::ZERO).await
}

pub async fn over(server: SocketAddr, ca: &Path, token: &str) -> Session {
    try_over(server, ca, token).await.unwrap()
}

/// One that has been asked for something.
pub async fn try_with(
    endpoint: &str,
    ca: Option<&Path>,
    token: &str,
    retry_for: Duration,
) -> Result<Session, Error> {
    let options = ClientOptions {
        retry_for,
        tls_ca: ca.map(Path::to_path_buf),
        token: Some(Token::new(token)?),
        ..ClientOptions::to(endpoint.parse()?)
    };
    let session =
        Session { client: within("connecting", CEILING, Box::pin(Client::connect(options))).await? };
    Box::pin(session.query("SELECT 1")).await?;
    Ok(session)
}

/// Why there is no such session.
async fn refused(endpoint: &str, ca: Option<&Path>) -> Error {
    match try_with(endpoint, ca, ADMIN, LONG).await {
        Err(error) => error,
        Ok(_) => panic!("{endpoint} is trusted"),
    }
}

/// What is wrong with what was set up is not tried again.
pub fn is_final(error: &Error) {
    assert_eq!(error.kind, ErrorKind::Configuration, "{error}");
    assert!(!error.is_retryable(), "{error}");
}

/// Waits until the scheduler counts so many executors; who has a token asks.
pub async fn until_executors(cluster: &Cluster, dial: &Dial, count: usize) {
    until(format!("the scheduler counts {count} executors"), CEILING, || async {
        let (status, body) = dial.get(cluster.http(), "/metrics", Some(READER)).await.ok()?;
        let counted = http::samples(&body).get("polarway_executors").copied();
        (status == 200 && counted == Some(count as f64)).then_some(())
    })
    .await;
}

/// Neither tokens nor keys are in the log of any process.
pub fn nothing_shown(cluster: &Cluster, pki: &Pki) {
    let logs = logs(cluster.dir());
    assert!(!logs.is_empty());
    for secret in [READER, WRITER, OTHER, ADMIN, PROCESS] {
        assert!(!logs.contains(secret), "a token is in a log");
    }
    assert!(!logs.contains("PRIVATE KEY") && !pki.leaf.is_shown_in(&logs), "a key is in a log");
}

/// All ports of all processes, with what they are.
pub fn ports(cluster: &Cluster) -> Vec<(String, SocketAddr)> {
    let processes = [&cluster.front].into_iter().chain(&cluster.executors).chain(&cluster.ingest);
    let mut ports: Vec<(String, SocketAddr)> = processes
        .flat_map(|process| {
            [
                (format!("{} gRPC", process.name()), process.grpc),
                (format!("{} HTTP", process.name()), process.http()),
            ]
        })
        .collect();
    ports.extend(cluster.ingest.iter().map(|process| (format!("{} rows", process.name()), process.ws())));
    ports
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_a_cluster_speaks_tls_on_all_its_ports() {
    let (known, pki, data) = (Known::write(), Pki::make(), TempDir::new().unwrap());
    let file = data.path().join("n.parquet");
    files::parquet(&file, "SELECT value AS n FROM generate_series(0, 99999)").await;
    // Neither a secret of processes nor a trusted network.
    let setup = Setup::cluster(2).ingest(2).set("identity.tokens", known.path().display());
    let setup = pki.material.on(setup).set("log.level", "debug").allow(data.path());
    let cluster = setup.start_without_waiting().await;
    let user = Dial::user(&[&pki.authority]);
    until_executors(&cluster, &user, 2).await;
    let session = over(cluster.grpc(), &pki.ca(), ADMIN).await;

    let sql = format!("SELECT sum(n) FROM '{}' GROUP BY n % 2 ORDER BY 1", file.display());
    for (route, results) in [("direct", "proxy"), ("staged", "proxy"), ("staged", "direct")] {
        session.set_route(route).await;
        session.set("polarway.results", results).await;
        let answer = session.ok(&sql).await;
        assert_eq!(answer.route, route);
        assert_eq!(answer.cells(), [["2499950000"], ["2500000000"]], "{route} {results}");
    }

    // All ports are encrypted, and those who have the right name and authority are let in.
    for (port, address) in ports(&cluster) {
        assert_eq!(user.shown_by(address).await.unwrap(), *pki.leaf.certificate(), "{port}");
    }
    for process in [&cluster.front, &cluster.executors[0], &cluster.ingest[0]] {
        let (status, _) = user.get(process.http(), "/healthz", None).await.unwrap();
        assert_eq!(status, 200, "{}", process.name());
    }
    assert_eq!(user.get(cluster.http(), "/v1/queries", None).await.unwrap().0, 401);
    assert_eq!(user.get(cluster.http(), "/v1/queries", Some(READER)).await.unwrap().0, 200);

    // Rows, by whoever has the stream; the other one shows the way and stays with TLS.
    until("the stream is made", CEILING, || async { session.query(TICKS).await.ok() }).await;
    let owner = session.value("SELECT owner FROM system.streams WHERE stream_name = 'ticks'").await;
    let owner: usize = owner.strip_prefix("ingest-").unwrap().parse().unwrap();
    let elsewhere = cluster.ingest[1 - owner].ws();
    let shown = Sender::connect_over(&user, elsewhere, "ticks", Some(WRITER)).await.err().unwrap();
    let tungstenite::Error::Http(answer) = shown else { panic!("{shown}") };
    assert_eq!(answer.status(), 307);
    let right = format!("wss://{}/v1/streams/ticks", cluster.ingest[owner].ws());
    assert_eq!(answer.headers()["Location"], right.as_str());
    let mut sender =
        Sender::connect_over(&user, cluster.ingest[owner].ws(), "ticks", Some(WRITER)).await.unwrap();
    sender.send(r#"{"price": 1.5}"#).await;
    sender.acknowledged(1).await;
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        assert_eq!(session.value("SELECT sum(price) FROM ticks").await, "1.5", "{route}");
    }
    nothing_shown(&cluster, &pki);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_results_that_lie_on_executors_are_named_with_tls() {
    let (known, pki, data) = (Known::write(), Pki::make(), TempDir::new().unwrap());
    let file = data.path().join("n.parquet");
    files::parquet(&file, "SELECT value AS n FROM generate_series(0, 999)").await;
    let setup = Setup::cluster(1)
        .set("identity.tokens", known.path().display())
        .set("scheduler.results", "direct")
        .set("query.route", "staged")
        .allow(data.path());
    let cluster = pki.material.on(setup).start_without_waiting().await;
    let user = Dial::user(&[&pki.authority]);
    until_executors(&cluster, &user, 1).await;
    let channel = user.channel(cluster.grpc()).await.unwrap();
    let sql = format!("SELECT sum(n) FROM '{}'", file.display());
    let info = flight::info_over(&channel, ADMIN, &sql).await.unwrap();
    let locations: Vec<&str> =
        info.endpoint.iter().flat_map(|endpoint| &endpoint.location).map(|at| at.uri.as_str()).collect();
    assert_eq!(locations, [format!("grpc+tls://{}", cluster.executors[0].grpc)]);
    nothing_shown(&cluster, &pki);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_one_process_speaks_tls() {
    let (known, pki) = (Known::write(), Pki::make());
    let setup = Setup::up().set("identity.tokens", known.path().display());
    let setup = pki.material.in_environment(setup).set("ingest.listen", "127.0.0.1:0");
    let cluster = setup.set("log.level", "debug").start_without_waiting().await;
    let user = Dial::user(&[&pki.authority]);
    until_executors(&cluster, &user, 1).await;
    let session = over(cluster.grpc(), &pki.ca(), ADMIN).await;
    for route in ["direct", "staged"] {
        session.set_route(route).await;
        assert_eq!(session.value("SELECT sum(value) FROM generate_series(1, 100)").await, "5050", "{route}");
    }
    session.ok(TICKS).await;
    let sending = Sender::connect_over(&user, cluster.front.ws(), "ticks", Some(WRITER));
    let mut sender = sending.await.unwrap();
    sender.send(r#"{"price": 1.5}"#).await;
    sender.acknowledged(1).await;
    assert_eq!(session.value("SELECT sum(price) FROM ticks").await, "1.5");

    // A token that is wrong is refused as without TLS, and not taken for a fault of TLS.
    let error = try_over(cluster.grpc(), &pki.ca(), "wrong-token-0123456789").await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Unauthenticated, "{error}");

    // The shell.
    let shell = |more: &[&str], ca: Option<&Path>| {
        let endpoint = format!("https://{}", cluster.grpc());
        let mut arguments =
            ["sql", "--endpoint", &endpoint, "-c", "SELECT 40 + 2 AS n"].map(str::to_owned).to_vec();
        arguments.extend(more.iter().map(|&text| text.to_owned()));
        let mut env = vec![("POLARWAY_TOKEN".to_owned(), READER.to_owned())];
        env.extend(ca.map(|path| ("POLARWAY_TLS_CA".to_owned(), path.display().to_string())));
        output(command(&arguments, &env))
    };
    let ca = pki.ca();
    for (status, told) in
        [shell(&["--tls-ca", ca.to_str().unwrap()], None).await, shell(&[], Some(&ca)).await]
    {
        assert_eq!(status, Some(0), "{told}");
        assert!(told.contains("42"), "{told}");
    }
    // The system does not know our authority.
    let (status, told) = shell(&[], None).await;
    assert!(!matches!(status, None | Some(0)), "{told}");
    nothing_shown(&cluster, &pki);
}

/// Runs a program to its end; gives its exit code and all that it wrote.
pub async fn output(command: Command) -> (Option<i32>, String) {
    let mut command = tokio::process::Command::from(command);
    let output = within("a program", CEILING, command.kill_on_drop(true).output()).await.unwrap();
    let told = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8_lossy(&told).into_owned())
}

/// Wherever it is noticed that no handshake will ever do, it is told at once and not tried again.
#[tokio::test(flavor = "multi_thread")]
async fn row_47_a_client_trusts_its_authority_and_the_name_it_dials() {
    let (known, pki) = (Known::write(), Pki::make());
    let other = Authority::make("another authority");
    let others = Material::write(&other.issue(&NAMES), &[&other]);
    let setup = Setup::up().set("identity.tokens", known.path().display());
    let cluster = pki.material.on(setup).start_without_waiting().await;
    let here = format!("https://{}", cluster.grpc());
    over(cluster.grpc(), &pki.ca(), READER).await.ok("SELECT 1").await;
    // The same by its name, and in the other way to write it.
    for place in
        [format!("grpc+tls://{}", cluster.grpc()), format!("https://localhost:{}", cluster.grpc().port())]
    {
        try_with(&place, Some(&pki.ca()), READER, Duration::ZERO).await.unwrap();
    }

    let error = refused(&here, Some(&others.ca())).await;
    assert!(error.message.contains(&cluster.grpc().to_string()), "{error}");
    is_final(&error);
    // The system does not know it either.
    is_final(&refused(&here, None).await);
    // One of the right authority for another name, and one that was good until 2021.
    let nameless = pki.authority.issue(&[NAMES[0], "db.example"]);
    let expired = pki.authority.issue_expired(&NAMES);
    for leaf in [nameless, expired] {
        let inside = Material::write(&pki.leaf, &[&pki.authority]);
        let outside = Material::write(&leaf, &[&pki.authority]);
        let setup = Setup::up().set("identity.tokens", known.path().display());
        let cluster = outside.for_users(inside.on(setup)).start_without_waiting().await;
        is_final(&refused(&format!("https://{}", cluster.grpc()), Some(&pki.ca())).await);
    }

    for (name, text) in
        [("nothing-here.pem", None), ("empty.pem", Some("")), ("nonsense.pem", Some("nonsense"))]
    {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join(name);
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let error = refused(&here, Some(&path)).await;
        assert!(error.message.contains(name), "{error}");
        is_final(&error);
    }
    nothing_shown(&cluster, &pki);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_users_are_shown_a_certificate_of_the_authority_they_know() {
    let (known, pki) = (Known::write(), Pki::make());
    let public = Authority::make("the world's authority");
    let leaf = public.issue(&["localhost", "127.0.0.1"]);
    let outside = Material::write(&leaf, &[&public]);
    let setup = Setup::cluster(1).ingest(1).set("identity.tokens", known.path().display());
    let cluster = outside.for_users(pki.material.on(setup)).start_without_waiting().await;
    let (user, process) = (Dial::user(&[&public]), Dial::user(&[&pki.authority]).at_processes());
    until_executors(&cluster, &user, 1).await;
    let session = over(cluster.grpc(), &outside.ca(), ADMIN).await;
    session.set_route("staged").await;
    session.ok("SELECT sum(value) FROM generate_series(1, 100)").await;
    for (port, address) in ports(&cluster) {
        assert_eq!(user.shown_by(address).await.unwrap(), *leaf.certificate(), "{port}");
    }
    for address in [cluster.grpc(), cluster.executors[0].grpc, cluster.ingest[0].grpc] {
        assert_eq!(process.shown_by(address).await.unwrap(), *pki.leaf.certificate(), "{address}");
    }
    is_final(&refused(&format!("https://{}", cluster.grpc()), Some(&pki.ca())).await);
    assert!(!leaf.is_shown_in(&logs(cluster.dir())));
    nothing_shown(&cluster, &pki);
}

/// Sends what is no TLS, and reads to the end of the connection.
async fn said(server: SocketAddr, words: &[u8]) -> Vec<u8> {
    let talking = async {
        let mut socket = TcpStream::connect(server).await.unwrap();
        let mut answer = vec![];
        // The connection may be cut amid all of this.
        let _ = socket.write_all(words).await;
        let _ = socket.read_to_end(&mut answer).await;
        answer
    };
    within(format!("{server} cuts off what is no TLS"), CEILING, talking).await
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_plaintext_is_cut_off_at_every_port() {
    /// The first byte of an alert, which is all that a server may say.
    const ALERT: u8 = 21;
    let (known, pki) = (Known::write(), Pki::make());
    let setup = Setup::cluster(1).ingest(1).set("identity.tokens", known.path().display());
    let cluster = pki.material.on(setup).start_without_waiting().await;
    let user = Dial::user(&[&pki.authority]);
    until_executors(&cluster, &user, 1).await;
    let session = over(cluster.grpc(), &pki.ca(), ADMIN).await;
    until("the stream is made", CEILING, || async { session.query(TICKS).await.ok() }).await;

    let get = format!(
        "GET /healthz HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN}\r\nconnection: close\r\n\r\n"
    );
    let upgrade = format!(
        "GET /v1/streams/ticks HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {WRITER}\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    for (port, address) in ports(&cluster) {
        for words in [get.as_bytes(), upgrade.as_bytes(), http2] {
            let answer = said(address, words).await;
            let is_cut = answer.is_empty() || (answer[0] == ALERT && answer.len() < 16);
            assert!(is_cut, "{port}: {}", String::from_utf8_lossy(&answer));
        }
    }
    for address in [cluster.grpc(), cluster.executors[0].grpc, cluster.ingest[0].grpc] {
        let error = try_with(&address.to_string(), None, ADMIN, Duration::ZERO).await.err().unwrap();
        let told = format!("{} {}", error.message, error.hint.unwrap_or_default());
        assert!(told.contains("https://"), "{told}");
    }
    let taker = cluster.ingest[0].ws();
    assert!(Sender::connect_with(taker, "ticks", Some(WRITER)).await.is_err());
    assert!(http::try_get(cluster.http(), "/healthz").await.is_none());

    // Whoever does it right is still served.
    session.ok("SELECT 1").await;
    assert!(Sender::connect_over(&user, taker, "ticks", Some(WRITER)).await.is_ok());
    let (_, metrics) = user.get(cluster.http(), "/metrics", Some(READER)).await.unwrap();
    let failed = http::samples(&metrics).get("polarway_tls_handshakes_failed_total").copied();
    assert!(failed.is_some_and(|failed| failed > 0.0), "{failed:?}");
    nothing_shown(&cluster, &pki);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_a_client_that_is_told_half_of_it_is_refused() {
    let pki = Pki::make();
    let cluster = Setup::up().start().await;
    let here = cluster.grpc().to_string();
    // Whom to trust, and nothing that asks for it.
    for place in [here.clone(), format!("http://{here}"), format!("grpc://{here}")] {
        is_final(&refused(&place, Some(&pki.ca())).await);
    }
    // A server that does not speak TLS.
    let error = refused(&format!("https://{here}"), Some(&pki.ca())).await;
    assert!(error.hint.is_some(), "{error}");
    is_final(&error);
    // One with and one without.
    let endpoints: Vec<Endpoint> = vec![format!("https://{here}").parse().unwrap(), here.parse().unwrap()];
    let options = ClientOptions { tls_ca: Some(pki.ca()), ..ClientOptions::to_any(endpoints) };
    is_final(&Client::connect(options).await.err().unwrap());
}

/// The driver as it is published trusts the authority that it is given.
#[tokio::test(flavor = "multi_thread")]
async fn row_47_adbcs_driver_speaks_tls() {
    let (known, pki, data) = (Known::write(), Pki::make(), TempDir::new().unwrap());
    let file = data.path().join("n.parquet");
    files::parquet(&file, "SELECT value AS n FROM generate_series(1, 100)").await;
    let setup = Setup::cluster(1)
        .set("identity.tokens", known.path().display())
        .set("scheduler.results", "direct")
        .set("query.route", "staged")
        .allow(data.path());
    let cluster = pki.material.on(setup).start_without_waiting().await;
    until_executors(&cluster, &Dial::user(&[&pki.authority]), 1).await;
    let other = Authority::make("another authority");
    let others = Material::write(&other.issue(&NAMES), &[&other]);
    let mut command = Command::new(python::with("adbc-requirements.txt"));
    command
        .arg(python::script("adbc_tls.py"))
        .arg(format!("grpc+tls://{}", cluster.grpc()))
        .args([pki.ca(), others.ca()])
        .arg(READER)
        .arg(format!("SELECT sum(n) FROM '{}'", file.display()));
    tokio::task::spawn_blocking(move || python::run(&mut command)).await.unwrap();
    nothing_shown(&cluster, &pki);
}
