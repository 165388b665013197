//! A process is killed while it appends; what it acknowledged must be in the log.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use polarway_ingest::wal::{Wal, WalOptions};

const DIRECTORY: &str = "WAL_KILL_TEST_DIRECTORY";
const FIRST: &str = "WAL_KILL_TEST_FIRST";
const MARK: &str = "acknowledged ";

fn options(directory: &Path) -> WalOptions {
    WalOptions { directory: directory.to_owned(), segment_bytes: 100_000, max_bytes: 1 << 30, queue: 64 }
}

/// Sizes differ, so that records and groups end anywhere in a page.
fn payload(id: u64) -> Bytes {
    let filler = (0..id.wrapping_mul(2_654_435_761) % 3000).map(|i| (i + id) as u8);
    id.to_le_bytes().into_iter().chain(filler).collect()
}

fn open(directory: &Path) -> (Wal, Vec<u64>) {
    let mut ids = Vec::new();
    let (wal, _) = Wal::open(options(directory), |_, bytes| {
        let id = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        assert_eq!(bytes, payload(id));
        ids.push(id);
        Ok(())
    })
    .unwrap();
    (wal, ids)
}

/// Not a test by itself: the parent runs it in a process of its own, and kills it.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let wal = Arc::new(open(&directory).0);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..20)
            .map(|task| {
                let wal = Arc::clone(&wal);
                tokio::spawn(async move {
                    // A bound, should the parent be gone.
                    for round in 0..20_000 {
                        let id = first + round * 20 + task;
                        wal.append(payload(id)).await.unwrap();
                        // One write per line, straight to the pipe: nothing is lost in a buffer.
                        let line = format!("\n{MARK}{id}\n");
                        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

fn spawn_child(directory: &Path, first: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The ids in whole lines; the last one may be cut.
fn acknowledged(output: &str) -> impl Iterator<Item = u64> {
    let whole = output.rfind('\n').map_or("", |end| &output[..end]);
    whole.lines().filter_map(|line| line.strip_prefix(MARK)).map(|id| id.parse().unwrap())
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut expected = BTreeSet::new();
    let mut first = 0;
    for round in 0..20_u64 {
        let mut child = spawn_child(directory.path(), first);
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        let mut output = String::new();
        // Some way into the work, then at any moment of a group: both by chance.
        let lines = RandomState::new().hash_one(round) % 600;
        for _ in 0..lines {
            assert!(reader.read_line(&mut output).unwrap() > 0, "child ended by itself: {output}");
        }
        for _ in 0..RandomState::new().hash_one(round) % 300_000 {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        reader.read_to_string(&mut output).unwrap();
        assert!(!child.wait().unwrap().success());
        expected.extend(acknowledged(&output));

        let (wal, ids) = open(directory.path());
        let found: BTreeSet<_> = ids.iter().copied().collect();
        assert_eq!(found.len(), ids.len(), "a record came twice");
        let lost: Vec<_> = expected.difference(&found).collect();
        assert!(lost.is_empty(), "lost {lost:?} in round {round}");
        // What a replay gave must come again as well.
        expected = found;
        first += 1_000_000;
        drop(wal);
    }
    assert!(expected.len() > 500);
}
