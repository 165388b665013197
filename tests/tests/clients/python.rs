//! Our Python package, against real servers: its tests are in `client/python/tests`.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use polarway_tests::etcd::Etcd;
use polarway_tests::otlp::Collector;
use polarway_tests::pki::{Authority, Material, NAMES, Pki};
use polarway_tests::python::run;
use polarway_tests::s3::copy_tree;
use polarway_tests::{Cluster, Dial, Sender, Setup, binary, flight, python, until};
use tempfile::TempDir;

const REQUIREMENTS: &str = "client-requirements.txt";

/// The package as it is when it is installed: its Python files beside the native module of this build.
fn package() -> TempDir {
    let directory = TempDir::new().unwrap();
    let package = directory.path().join("polarway");
    copy_tree(&source().join("python/polarway"), &package);
    symlink(binary::python_module(), package.join("_polarway.abi3.so")).unwrap();
    directory
}

fn source() -> std::path::PathBuf {
    binary::repository().join("client/python")
}

fn pytest(package: &Path, paths: &[&str]) -> Command {
    let mut command = Command::new(python::with(REQUIREMENTS));
    command
        .current_dir(source())
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "pyproject.toml", "-o", "pythonpath="])
        .args(paths)
        .env("PYTHONPATH", package)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn listed(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// `data` is a directory that the servers may read and the tests write.
async fn against(cluster: &Cluster, data: &Path) {
    let data = data.to_owned();
    let servers = listed(&cluster.fronts());
    let http: Vec<SocketAddr> =
        [&cluster.front].into_iter().chain(&cluster.others).map(|scheduler| scheduler.http()).collect();
    let http = listed(&http);
    let takers =
        if cluster.ingest.is_empty() { std::slice::from_ref(&cluster.front) } else { &cluster.ingest };
    let ws = listed(&takers.iter().map(|process| process.ws()).collect::<Vec<_>>());
    let tested = tokio::task::spawn_blocking(move || {
        let package = package();
        let mut tests = pytest(package.path(), &["tests/server"]);
        tests
            .env("POLARWAY_TEST_SERVERS", servers)
            .env("POLARWAY_TEST_HTTP", http)
            .env("POLARWAY_TEST_WS", ws)
            .env("POLARWAY_TEST_DATA", data);
        run(&mut tests);
    });
    tested.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn python_client_against_one_process() {
    let data = TempDir::new().unwrap();
    let cluster = Setup::up()
        .allow(data.path())
        .writable(data.path().display())
        .set("ingest.listen", "127.0.0.1:0")
        .start()
        .await;
    against(&cluster, data.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_client_against_two_schedulers() {
    let etcd = Etcd::start().await;
    let data = TempDir::new().unwrap();
    let setup = Setup::cluster(2).allow(data.path()).writable(data.path().display()).ingest(2).schedulers(2);
    let cluster = setup.set("metastore.etcd", etcd.url()).start().await;
    against(&cluster, data.path()).await;
}

/// The tests that need no server, of which `wanted` says which.
fn alone(wanted: &str) {
    run(&mut pytest(package().path(), &["tests", "--ignore=tests/server", "-k", wanted]));
}

#[test]
fn row_31_python_results_and_options() {
    alone("row_31");
}

#[test]
fn row_32_python_traversal() {
    alone("row_32");
}

#[test]
fn row_41_python_circuit_breaker() {
    alone("row_41");
}

#[test]
fn python_sinks_mqtt_and_kafka() {
    alone("live or mqtt or kafka");
}

/// Whatever has no test of its own here.
#[test]
fn python_handles_verbs_and_the_rest() {
    alone("not (row_31 or row_32 or row_41 or live or mqtt or kafka or feeds or arbitrage)");
}

#[test]
fn python_feeds() {
    alone("feeds or arbitrage");
}

#[test]
fn python_examples_say_what_they_give() {
    let package = package();
    run(&mut pytest(package.path(), &[package.path().to_str().unwrap()]));
}

#[test]
fn python_types_are_checked_and_its_code_is_tidy() {
    let interpreter = python::with(REQUIREMENTS);
    let path = interpreter.to_str().unwrap();
    for check in [
        &["-m", "pyright", "--pythonpath", path][..],
        &["-m", "mypy", "--no-incremental"],
        &["-m", "ruff", "check", "--no-cache"],
        &["-m", "ruff", "format", "--check", "--no-cache"],
    ] {
        run(Command::new(&interpreter).current_dir(source()).args(check));
    }
}

/// Each call belongs to the span that its task is in, also of calls that one client makes at once.
#[tokio::test(flavor = "multi_thread")]
async fn row_48_python_says_which_span_a_call_is_made_in() {
    let collector = Collector::start().await;
    let setup = Setup::up().set("telemetry.otlp_endpoint", collector.url()).set("telemetry.sample", "0");
    let cluster = setup.start().await;
    let traces = [
        "4bf92f3577b34da6a3ce929d0e0e4740",
        "4bf92f3577b34da6a3ce929d0e0e4741",
        "4bf92f3577b34da6a3ce929d0e0e4742",
    ];
    let parents = traces.map(|trace| format!("00-{trace}-00f067aa0ba902b7-01"));
    let server = cluster.grpc().to_string();
    let asked = tokio::task::spawn_blocking(move || {
        let package = package();
        let mut program = Command::new(python::with(REQUIREMENTS));
        program.arg(python::script("traced.py")).arg(server).args(parents);
        run(program.env("PYTHONPATH", package.path()).env("PYTHONDONTWRITEBYTECODE", "1"));
    });
    asked.await.unwrap();
    for trace in traces {
        until(format!("the query of the trace {trace}"), Duration::from_secs(60), || async {
            let queries = collector.of(trace).iter().filter(|span| span.name == "query").count();
            (queries == 1).then_some(())
        })
        .await;
    }
}

/// By both clients and the sink of rows; another authority than the servers' is refused at once.
#[tokio::test(flavor = "multi_thread")]
async fn row_47_python_asks_and_sends_over_tls() {
    const TOKEN: &str = "admin-token-of-adam-0123456789";
    let (pki, data) = (Pki::make(), TempDir::new().unwrap());
    let tokens = data.path().join("tokens.toml");
    std::fs::write(&tokens, format!("[[token]]\nname = 'adam'\nrole = 'admin'\ntoken = '{TOKEN}'\n"))
        .unwrap();
    let setup = Setup::up().set("identity.tokens", tokens.display()).set("ingest.listen", "127.0.0.1:0");
    let cluster = pki.material.on(setup).start_without_waiting().await;
    let user = Dial::user(&[&pki.authority]);
    let channel = user.channel(cluster.grpc()).await.unwrap();
    flight::info_over(&channel, TOKEN, "CREATE STREAM ticks (price DOUBLE)").await.unwrap();
    Sender::connect_over(&user, cluster.front.ws(), "ticks", Some(TOKEN)).await.unwrap();

    let other = Authority::make("another authority");
    let others = Material::write(&other.issue(&NAMES), &[&other]);
    let servers = [format!("https://{}", cluster.grpc()), format!("wss://{}", cluster.front.ws())];
    let authorities = [pki.ca(), others.ca()];
    let asked = tokio::task::spawn_blocking(move || {
        let package = package();
        let mut program = Command::new(python::with(REQUIREMENTS));
        program.arg(python::script("encrypted.py")).args(servers).args(authorities).arg(TOKEN);
        run(program.env("PYTHONPATH", package.path()).env("PYTHONDONTWRITEBYTECODE", "1"));
    });
    asked.await.unwrap();
}
