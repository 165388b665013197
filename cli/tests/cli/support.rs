//! Runs the `polarway` binary as users do.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Runs for many minutes and needs no tables.
pub const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b \
                           WHERE (a.value * b.value) % 7 = 3";

pub fn polarway() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polarway"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("POLARWAY_") {
            command.env_remove(name);
        }
    }
    command
}

/// A server process; killed if the test does not stop it.
pub struct Server {
    process: Child,
    /// Held open, so that the server never writes into a closed pipe.
    _stdout: BufReader<ChildStdout>,
    pub ready: String,
}

impl Server {
    pub fn start(args: &[&str]) -> Self {
        let mut process = polarway().args(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut ready = String::new();
        stdout.read_line(&mut ready).unwrap();
        Self { process, _stdout: stdout, ready: ready.trim_end().to_owned() }
    }

    /// `polarway up` over a directory that holds its data too.
    pub fn up(directory: &Path) -> Self {
        let data_dir = directory.join("polarway");
        Self::start(&[
            "up",
            "--listen",
            "127.0.0.1:0",
            "--http-listen",
            "127.0.0.1:0",
            "--data-dir",
            data_dir.to_str().unwrap(),
            "--allow",
            directory.to_str().unwrap(),
        ])
    }

    /// The gRPC address of the ready line.
    pub fn endpoint(&self) -> &str {
        let address = self.ready.split(' ').find_map(|part| part.strip_prefix("grpc="));
        address.unwrap_or_else(|| panic!("no address in `{}`", self.ready))
    }

    pub fn signal(&self, name: &str) {
        signal(&self.process, name);
    }

    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.process)
    }

    pub fn sql(&self) -> Command {
        let mut command = polarway();
        command.args(["sql", "--endpoint", self.endpoint()]);
        command
    }

    /// Runs statements from the command line.
    pub fn ask(&self, sql: &str, more: &[&str]) -> Output {
        self.sql().args(["-c", sql]).args(more).output().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn signal(process: &Child, name: &str) {
    let id = process.id().to_string();
    assert!(Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status().unwrap().success());
}

/// Waits a bounded time for a process to end.
pub fn wait(process: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = process.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            let _ = process.kill();
            panic!("the process did not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a command with text on its standard input.
pub fn with_input(command: &mut Command, input: &str) -> Output {
    let mut process =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    process.wait_with_output().unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub fn read_all(mut from: impl Read) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).unwrap();
    text
}

pub fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}
