//! The ADBC driver for Flight SQL as it is published, without changes.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::process::Command;

use polarway_tests::{Setup, binary, tpch};

/// A Python with the packages of `tests/python/requirements.txt`, made once.
fn python() -> PathBuf {
    let requirements = binary::repository().join("tests/python/requirements.txt");
    let mut hasher = DefaultHasher::new();
    std::fs::read_to_string(&requirements).unwrap().hash(&mut hasher);
    let environment = tpch::made_once(&format!("python-{:016x}", hasher.finish()), |directory| {
        let run = |program: &str, arguments: &[&str]| {
            let status = Command::new(program).args(arguments).status();
            let status = status
                .unwrap_or_else(|error| panic!("{program}: {error}; the test needs Python 3 with venv"));
            assert!(status.success(), "{program} {arguments:?}: {status}");
        };
        let directory = directory.to_str().unwrap();
        run("python3", &["-m", "venv", directory]);
        let requirements = requirements.to_str().unwrap();
        let pip =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements];
        run(&format!("{directory}/bin/python"), &pip);
    });
    environment.join("bin/python")
}

async fn check(setup: Setup) {
    let python = python();
    let data = tpch::data("0.1");
    let cluster = setup.allow(&data).start().await;
    let script = binary::repository().join("tests/python/adbc_check.py");
    let uri = format!("grpc://{}", cluster.grpc());
    let checked =
        tokio::task::spawn_blocking(move || Command::new(python).arg(script).arg(uri).arg(data).output());
    let output = checked.await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("all well"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn adbc_driver_against_one_process() {
    check(Setup::up()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn adbc_driver_against_a_cluster() {
    check(Setup::cluster(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn adbc_driver_reads_from_executors() {
    check(Setup::cluster(2).set("scheduler.results", "direct")).await;
}
