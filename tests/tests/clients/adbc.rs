//! The ADBC driver for Flight SQL as it is published, without changes.

use std::process::Command;

use polarway_tests::{Setup, python, tpch};

async fn check(setup: Setup) {
    let python = python::with("adbc-requirements.txt");
    let data = tpch::data("0.1");
    let cluster = setup.allow(&data).start().await;
    let script = python::script("adbc_check.py");
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
