//! `polarway health` against a server, from its start to its end.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::{ENDLESS, Server, directory, polarway, stderr, stdout, wait};

fn health(http: &str, more: &[&str]) -> Output {
    polarway().args(["health", "--http", http]).args(more).output().unwrap()
}

fn http(server: &Server) -> String {
    let address = server.ready.split(' ').find_map(|part| part.strip_prefix("http="));
    address.unwrap_or_else(|| panic!("no address in `{}`", server.ready)).to_owned()
}

/// The server's list of queries, as JSON.
fn queries(http: &str) -> String {
    let url = format!("http://{http}/v1/queries");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { reqwest::get(url).await.unwrap().text().await.unwrap() })
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "it did not happen that {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_server_is_well_ready_draining_and_gone() {
    let directory = directory();
    let mut server = Server::up(directory.path());
    let http = http(&server);
    let well = health(&http, &[]);
    assert_eq!((well.status.code(), stdout(&well).as_str()), (Some(0), "ok\n"), "{}", stderr(&well));
    assert_eq!(health(&http, &["--ready"]).status.code(), Some(0));

    // A query holds the drain open.
    let mut query =
        server.sql().args(["-c", ENDLESS]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the query runs", || queries(&http).contains(r#""state":"running""#));
    server.signal("TERM");
    until("it says that it drains", || {
        let ready = health(&http, &["--ready"]);
        ready.status.code() == Some(1) && stderr(&ready).contains("/readyz answers 503")
    });
    assert_eq!(health(&http, &[]).status.code(), Some(0), "it lives while it drains");
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(130));
    assert_eq!(wait(&mut query).code(), Some(1));

    let gone = health(&http, &[]);
    assert_eq!(gone.status.code(), Some(1));
    let told = stderr(&gone);
    assert!(told.starts_with(&format!("error: http://{http}/healthz does not answer: ")), "{told}");
    assert!(told.contains("refused"), "the cause is in it: {told}");
}

#[test]
fn a_server_that_accepts_and_says_nothing_is_not_waited_for_forever() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let asked = health(&address, &["--timeout", "200ms"]);
    assert_eq!(asked.status.code(), Some(1));
    assert!(stderr(&asked).contains("/healthz does not answer: "), "{}", stderr(&asked));
}
