//! `polarway up`, `scheduler` and `executor` as processes.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{ENDLESS, Server, directory, polarway, stderr, stdout, wait};

#[test]
fn up_says_when_it_is_ready_and_ends_well_when_asked() {
    let directory = directory();
    let mut server = Server::up(directory.path());
    assert!(server.ready.starts_with("polarway up ready: grpc=127.0.0.1:"), "{}", server.ready);
    assert!(server.ready.contains(" http=127.0.0.1:"), "{}", server.ready);
    assert_eq!(stdout(&server.ask("SELECT 1 AS a", &["--format", "csv"])), "a\n1\n");
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn the_catalog_survives_a_restart() {
    let directory = directory();
    let mut server = Server::up(directory.path());
    assert!(server.ask("CREATE VIEW v AS SELECT 7 AS x", &[]).status.success());
    server.signal("INT");
    assert_eq!(server.wait().code(), Some(0));
    let server = Server::up(directory.path());
    assert_eq!(stdout(&server.ask("SELECT x FROM v", &["--format", "csv"])), "x\n7\n");
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let directory = directory();
    let mut server = Server::up(directory.path());
    let mut query =
        server.sql().args(["-c", ENDLESS]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    server.signal("TERM");
    std::thread::sleep(Duration::from_millis(500));
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(130));
    assert_eq!(wait(&mut query).code(), Some(1));
}

#[test]
fn a_scheduler_and_executors_work_together() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let allow = directory.path().to_str().unwrap();
    let mut scheduler = Server::start(&[
        "scheduler",
        "--listen",
        "127.0.0.1:0",
        "--http-listen",
        "127.0.0.1:0",
        "--data-dir",
        &path("scheduler"),
        "--allow",
        allow,
    ]);
    let address = scheduler.endpoint().to_owned();
    let start = |name: &str| {
        Server::start(&[
            "executor",
            "--listen",
            "127.0.0.1:0",
            "--scheduler",
            &address,
            "--name",
            name,
            "--slots",
            "1",
            "--memory-limit",
            "256MiB",
            "--work-dir",
            &path(name),
            "--allow",
            allow,
        ])
    };
    let mut executors = [start("one"), start("two")];
    for executor in &executors {
        assert!(executor.ready.starts_with("polarway executor ready: grpc=127.0.0.1:"), "{}", executor.ready);
    }
    // The first of the servers is none.
    let servers = format!("127.0.0.1:1,{address}");
    let listed = || {
        let output = polarway().args(["nodes", "--endpoint", &servers, "--format", "csv"]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let nodes = loop {
        let nodes = listed();
        // Executors say that they are there once they listen.
        if nodes.lines().count() == 4 || Instant::now() > deadline {
            break nodes;
        }
    };
    let names: Vec<&str> = nodes.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(names, ["name", "one", "two", &format!("scheduler-{}", address.replace(':', "-"))], "{nodes}");
    let file = path("numbers.csv");
    std::fs::write(&file, (0..1000).fold("n\n".to_owned(), |text, n| format!("{text}{n}\n"))).unwrap();
    let sql = format!(
        "CREATE EXTERNAL TABLE numbers STORED AS CSV LOCATION '{file}' OPTIONS ('has_header' 'true'); \
         SET polarway.route = 'staged'; SELECT n % 2 AS parity, sum(n) AS s FROM numbers GROUP BY 1 ORDER BY 1"
    );
    let output = scheduler.ask(&sql, &["--format", "csv"]);
    assert_eq!(stdout(&output), "parity,s\n0,249500\n1,250000\n", "{}", stderr(&output));
    scheduler.signal("TERM");
    assert_eq!(scheduler.wait().code(), Some(0));
    for executor in &mut executors {
        executor.signal("TERM");
        assert_eq!(executor.wait().code(), Some(0));
    }
}

#[test]
fn a_start_that_fails_says_why_in_one_message() {
    let directory = directory();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = polarway()
        .args([
            "up",
            "--log-level",
            "off",
            "--listen",
            &address,
            "--http-listen",
            "127.0.0.1:0",
            "--data-dir",
        ])
        .arg(directory.path())
        .output()
        .unwrap();
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""));
    assert!(
        stderr(&output).starts_with("error: ") && stderr(&output).contains(&address),
        "{}",
        stderr(&output)
    );
}

#[test]
fn the_configuration_is_shown_without_its_secrets() {
    let output = polarway()
        .args(["config", "--set", "scheduler.ticket_secret=0123456789abcdef", "--set", "query.route=staged"])
        .output()
        .unwrap();
    let text = stdout(&output);
    assert!(text.contains("route = \"staged\""), "{text}");
    assert!(text.contains("ticket_secret = \"***\"") && !text.contains("0123456789abcdef"), "{text}");
    let wrong = polarway().args(["config", "--set", "query.rout=staged"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stderr(&wrong).contains("did you mean `query.route`?"), "{}", stderr(&wrong));
}
