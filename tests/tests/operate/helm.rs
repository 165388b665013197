//! The Helm chart: its tests are in `tests/helm`. `scripts/setup_helm.sh` brings helm, kubectl and promtool.

use std::path::{Path, PathBuf};
use std::process::Command;

use polarway_tests::python::run;
use polarway_tests::s3::{KEY, S3Server, SECRET};
use polarway_tests::{binary, python};
use tempfile::TempDir;

const REQUIREMENTS: &str = "helm-requirements.txt";

fn source() -> PathBuf {
    binary::repository().join("tests/helm")
}

/// The tests of these files, whose processes write below `directory`.
fn pytest(directory: &Path, files: &[&str]) -> Command {
    let mut command = Command::new(python::with(REQUIREMENTS));
    command
        .current_dir(source())
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "pyproject.toml", "--basetemp"])
        .arg(directory.join("pytest"))
        .args(files)
        .env("POLARWAY_BIN", binary::polarway())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn tested(files: &[&str]) {
    let directory = TempDir::new().unwrap();
    run(&mut pytest(directory.path(), files));
}

#[test]
fn row_46_chart_renders_to_valid_objects() {
    tested(&["test_text.py", "test_kubernetes.py"]);
}

#[test]
fn row_46_chart_objects_say_what_they_should() {
    tested(&["test_objects.py"]);
}

#[test]
fn row_46_chart_keeps_policies() {
    tested(&["test_policies.py"]);
}

#[test]
fn row_46_chart_refuses_contradictions() {
    tested(&["test_restrictions.py"]);
}

#[test]
fn row_46_chart_makes_configurations_that_the_server_takes() {
    tested(&["test_config.py"]);
}

#[test]
fn row_46_alerts_fire_when_they_should_and_have_a_runbook() {
    tested(&["test_alerts.py"]);
}

/// The rendered commands and environments as processes: TPC-H on every route, metrics, a rolling update.
#[test]
fn row_46_rendered_release_passes_tpc_h_and_an_update() {
    tested(&["test_processes.py"]);
}

/// Over an S3 server, whose keys come by the secret that the values name.
#[tokio::test(flavor = "multi_thread")]
async fn row_46_rendered_release_works_over_a_store_by_a_secret() {
    let server = S3Server::start().await;
    server.bucket("lake");
    let endpoint = format!("http://{}", server.address);
    let tested = tokio::task::spawn_blocking(move || {
        let directory = TempDir::new().unwrap();
        let mut tests = pytest(directory.path(), &["test_store.py"]);
        tests.env("TEST_S3_ENDPOINT", endpoint).env("TEST_S3_KEY", KEY).env("TEST_S3_SECRET", SECRET);
        run(&mut tests);
    });
    tested.await.unwrap();
    // It was this store that was written to.
    assert!(!server.take_requests().is_empty());
}

#[test]
fn row_46_helm_test_kills_an_executor_and_answers_stay_right() {
    tested(&["test_helm_test.py"]);
}

#[test]
fn row_46_metadata_is_brought_back_from_a_copy() {
    tested(&["test_backup.py"]);
}

/// Each file of tests is run by one of the functions above.
#[test]
fn row_46_no_file_of_tests_is_left_out() {
    let this = std::fs::read_to_string(binary::repository().join("tests/tests/operate/helm.rs")).unwrap();
    for entry in std::fs::read_dir(source()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("test_") {
            assert!(this.contains(&format!("\"{name}\"")), "{name}");
        }
    }
}

#[test]
fn helm_tests_are_tidy() {
    let interpreter = python::with(REQUIREMENTS);
    let script = binary::repository().join("scripts/helm_readme.py");
    for check in [&["check"][..], &["format", "--check"]] {
        run(Command::new(&interpreter)
            .current_dir(source())
            .args(["-m", "ruff"])
            .args(check)
            .args(["--no-cache", "--config", "pyproject.toml", "."])
            .arg(&script));
    }
}
