//! One server as a child process, from the line that says it is ready to its end.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::binary;

const START_CEILING: Duration = Duration::from_secs(60);
/// How long one that is told to stand still may go on.
const STOP_CEILING: Duration = Duration::from_secs(60);
/// How long a process that is dropped may take to end by itself.
const LAST_GRACE: Duration = Duration::from_secs(2);
const SHOWN_LOG_LINES: usize = 120;

/// What to start.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Shown in failures.
    pub name: String,
    pub arguments: Vec<String>,
    /// Over an environment without `POLARWAY_*` and `AWS_*`.
    pub env: Vec<(String, String)>,
    /// Where its standard error goes; appended.
    pub log: PathBuf,
    /// The network namespace to start it in, if not the test's.
    pub namespace: Option<String>,
}

/// A running server; stopped and reaped when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
    pub grpc: SocketAddr,
    pub http: Option<SocketAddr>,
    ws: Option<SocketAddr>,
}

/// The binary with a clean environment.
pub fn command(arguments: &[String], env: &[(String, String)]) -> Command {
    let mut command = Command::new(binary::polarway());
    for (name, _) in std::env::vars() {
        if name.starts_with("POLARWAY_") || name.starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).envs(env.iter().map(|(name, value)| (name, value)));
    command
}

/// The same command in a network namespace: `ip` becomes it.
fn within(namespace: &str, command: &Command) -> Command {
    let mut within = Command::new("ip");
    within.args(["netns", "exec", namespace]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => within.env(name, value),
            None => within.env_remove(name),
        };
    }
    within
}

impl Process {
    /// Starts a server and waits until it is ready.
    pub fn start(launch: Launch) -> Self {
        let log = File::options().create(true).append(true).open(&launch.log).unwrap();
        let mut command = command(&launch.arguments, &launch.env);
        if let Some(namespace) = &launch.namespace {
            command = within(namespace, &command);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", launch.name));
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        // Goes on reading after the first line, so that the server never writes into a closed pipe.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut process = Self {
            name: launch.name,
            child,
            log: launch.log,
            ended: None,
            grpc: unknown,
            http: None,
            ws: None,
        };
        let ready = lines.recv_timeout(START_CEILING);
        let addresses =
            ready.as_deref().ok().and_then(|line| line.split_once(" ready: ")).map(|(_, rest)| rest);
        let Some(addresses) = addresses else {
            panic!("{} did not become ready: {ready:?}, {:?}", process.name, process.child.try_wait());
        };
        let address = |key: &str| {
            addresses.split(' ').find_map(|part| part.strip_prefix(key)).map(|text| text.parse().unwrap())
        };
        process.grpc = address("grpc=").unwrap();
        process.http = address("http=");
        process.ws = address("ws=");
        process
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Address of the HTTP server, which the process was started with.
    pub fn http(&self) -> SocketAddr {
        self.http.unwrap_or_else(|| panic!("{} has no HTTP server", self.name))
    }

    /// Address for senders of rows, which the process was started with.
    pub fn ws(&self) -> SocketAddr {
        self.ws.unwrap_or_else(|| panic!("{} holds no streams", self.name))
    }

    pub fn is_running(&mut self) -> bool {
        self.ended.is_none() && self.try_wait().is_none()
    }

    /// Sends a signal by name: `TERM`, `STOP`, `CONT`, `INT`. After `STOP` none of its threads does anything more.
    pub fn signal(&mut self, signal: &str) {
        // A process that has been waited for may have lent its number to another.
        if !self.is_running() {
            return;
        }
        send_signal(self.pid(), signal);
        let deadline = Instant::now() + STOP_CEILING;
        while signal == "STOP" && !stands_still(self.pid()) {
            assert!(Instant::now() < deadline, "{} does not stop", self.name);
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// SIGKILL; returns when the process is gone.
    pub fn kill(&mut self) {
        if self.is_running() {
            self.child.kill().unwrap();
            self.ended = Some(self.child.wait().unwrap());
        }
    }

    /// Waits for the end of a process that was asked to stop.
    pub async fn exit_status(&mut self, ceiling: Duration) -> ExitStatus {
        let deadline = Instant::now() + ceiling;
        loop {
            if let Some(status) = self.try_wait() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "{} still runs {ceiling:?} after it was asked to stop",
                self.name
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// SIGTERM, and the status it ends with.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.exit_status(Duration::from_secs(60)).await
    }

    /// What the process has written to standard error.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn try_wait(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            if !thread::panicking() {
                send_signal(self.pid(), "TERM");
                let deadline = Instant::now() + LAST_GRACE;
                while Instant::now() < deadline && self.is_running() {
                    thread::sleep(Duration::from_millis(10));
                }
            }
            self.kill();
        }
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(SHOWN_LOG_LINES)..];
            eprintln!("--- log of {} ({:?}) ---\n{}\n--- end ---", self.name, self.ended, shown.join("\n"));
        }
    }
}

/// Whether every thread of a process is stopped. The signal is there before they are: one that is amid its work may go on
/// for a moment.
fn stands_still(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.map(|thread| thread.unwrap().path().join("stat")).all(|stat| {
        // A thread that has ended meanwhile has none.
        let Ok(stat) = std::fs::read_to_string(stat) else { return true };
        // The state follows the name, which stands in parentheses and may hold any character.
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['T', 'Z', 'X']))
    })
}

/// Sends a signal to a process that the caller started and has not waited for yet.
pub fn send_signal(pid: u32, signal: &str) {
    let sent = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status().unwrap();
    assert!(sent.success(), "kill -{signal} {pid}: {sent}");
}
