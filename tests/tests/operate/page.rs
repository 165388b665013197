//! The page, in a real browser: its tests are in `tests/page`.

use std::path::Path;
use std::process::Command;

use polarway_tests::{Cluster, Setup, binary, python};
use tempfile::TempDir;

const REQUIREMENTS: &str = "page-requirements.txt";

/// `data` is a directory that the servers may read and write, and so may the tests.
async fn against(cluster: &Cluster, data: &Path, executors: usize) {
    let taker = cluster.ingest.first().unwrap_or(&cluster.front);
    let mut command = Command::new(python::with(REQUIREMENTS));
    command
        .current_dir(binary::repository().join("tests/page"))
        .args(["-m", "pytest", "-q", "-rP", "-p", "no:cacheprovider", "-c", "pytest.ini", "."])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("POLARWAY_TEST_PROGRAM", binary::polarway())
        .env("POLARWAY_TEST_SERVER", cluster.grpc().to_string())
        .env("POLARWAY_TEST_HTTP", cluster.http().to_string())
        .env("POLARWAY_TEST_WS", taker.ws().to_string())
        .env("POLARWAY_TEST_DATA", data)
        .env("POLARWAY_TEST_EXECUTORS", executors.to_string());
    tokio::task::spawn_blocking(move || python::run(&mut command)).await.unwrap();
}

fn writable(setup: Setup, data: &TempDir) -> Setup {
    setup.allow(data.path()).writable(data.path().display())
}

#[tokio::test(flavor = "multi_thread")]
async fn row_49_the_page_of_one_process() {
    let data = TempDir::new().unwrap();
    let cluster = writable(Setup::up(), &data).set("ingest.listen", "127.0.0.1:0").start().await;
    against(&cluster, data.path(), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_49_the_page_of_a_cluster() {
    let data = TempDir::new().unwrap();
    let cluster = writable(Setup::cluster(2).ingest(1), &data).start().await;
    against(&cluster, data.path(), 2).await;
}
