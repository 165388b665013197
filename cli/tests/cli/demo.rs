//! `polarway demo` shows a cluster at work and leaves nothing behind.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{directory, polarway, signal, stderr, stdout, wait};

fn demo(temporary: &Path) -> Command {
    let mut command = polarway();
    command.args(["demo", "--scale-factor", "0.01", "--executors", "2"]).env("TMPDIR", temporary);
    command
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}

/// Whether a process with this id is there.
fn is_running(id: &str) -> bool {
    Path::new("/proc").join(id).exists()
}

/// The ids in the lines `NAME process ID`.
fn processes(text: &str) -> Vec<&str> {
    let ids = text.lines().filter_map(|line| line.split_once(" process ").map(|(_, id)| id));
    ids.filter(|id| id.parse::<u32>().is_ok()).collect()
}

#[test]
fn every_query_runs_on_both_executors_a_feed_is_fetched_and_all_is_removed() {
    let temporary = directory();
    let output = demo(temporary.path()).output().unwrap();
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    for name in ["small ", "Q1 ", "Q5 ", "Q9 ", "Q18 "] {
        assert!(text.contains(&format!("\n{name}")), "{name} in {text}");
    }
    assert!(text.contains("by the direct route") && text.contains("by the staged route"), "{text}");
    for line in text.lines().filter(|line| line.contains("tasks in all:")) {
        assert!(line.contains("executor-1 ") && line.contains("executor-2 "), "{line}");
    }
    assert_eq!(text.lines().filter(|line| line.contains("tasks in all:")).count(), 4, "{text}");
    let processes = processes(&text);
    assert_eq!(processes.len(), 4, "{text}");
    assert!(text.contains("CREATE STREAM trades") && text.contains("| BTCUSDT |"), "{text}");
    assert!(!processes.iter().any(|id| is_running(id)));
    assert!(is_empty(temporary.path()));
}

#[test]
fn an_interrupted_demo_leaves_nothing_either() {
    for wait_for in [Duration::from_millis(500), Duration::from_secs(7)] {
        let temporary = directory();
        let mut process = demo(temporary.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(wait_for);
        if process.try_wait().unwrap().is_none() {
            signal(&process, "INT");
            assert_eq!(wait(&mut process).code(), Some(130));
        }
        assert!(is_empty(temporary.path()));
    }
}
