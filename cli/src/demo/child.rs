//! A server as a process of its own, which never outlives its guard.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use polarway_common::{Error, Listening};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

use crate::ready;

/// How long a server may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a server may take to end once asked.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait for a process that was killed.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
const LOG_TAIL_LINES: usize = 15;

#[derive(Debug)]
pub struct Child {
    name: String,
    process: tokio::process::Child,
    log: PathBuf,
    listening: Option<Listening>,
    /// Held open, so that the process never writes into a closed pipe.
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts this program with `args`; its log goes to `NAME.log` in `log_dir`.
    pub fn start(name: &str, args: Vec<OsString>, log_dir: &Path) -> Result<Self, Error> {
        let cannot =
            |what: &str, error: std::io::Error| Error::internal(format!("cannot {what} {name}: {error}"));
        let program = std::env::current_exe().map_err(|error| cannot("find the program for", error))?;
        let log = log_dir.join(format!("{name}.log"));
        let log_file = File::create(&log).map_err(|error| cannot("create the log of", error))?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log_file).kill_on_drop(true);
        // In a group of its own it does not get the terminal's Ctrl-C; this process decides when it ends.
        command.process_group(0);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("POLARWAY_") {
                command.env_remove(variable);
            }
        }
        let mut process = command.spawn().map_err(|error| cannot("start", error))?;
        let stdout =
            process.stdout.take().ok_or_else(|| Error::internal("a child has no standard output"))?;
        let stdout = BufReader::new(stdout).lines();
        Ok(Self { name: name.to_owned(), process, log, listening: None, stdout })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn id(&self) -> u32 {
        self.process.id().unwrap_or(0)
    }

    /// Waits for the line that says where the server listens.
    pub async fn ready(&mut self) -> Result<Listening, Error> {
        if let Some(listening) = self.listening {
            return Ok(listening);
        }
        let found = tokio::time::timeout(START_TIMEOUT, async {
            while let Ok(Some(line)) = self.stdout.next_line().await {
                if let Some(listening) = ready::parse(&line) {
                    return Some(listening);
                }
            }
            None
        });
        match found.await {
            Ok(Some(listening)) => {
                self.listening = Some(listening);
                Ok(listening)
            }
            Ok(None) => Err(self.failed("ended before it was ready")),
            Err(_) => Err(self.failed(&format!("was not ready within {START_TIMEOUT:?}"))),
        }
    }

    /// Asks the process to end and waits until it has.
    ///
    /// # Errors
    /// When it had to be killed or did not end well.
    pub async fn stop(&mut self) -> Result<(), Error> {
        if let Some(id) = self.process.id() {
            terminate(id).await?;
        }
        match tokio::time::timeout(STOP_TIMEOUT, self.process.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(self.failed(&describe(status))),
            Ok(Err(error)) => Err(self.failed(&format!("cannot be waited for: {error}"))),
            Err(_) => {
                self.kill();
                Err(self.failed(&format!("did not end within {STOP_TIMEOUT:?} and was killed")))
            }
        }
    }

    /// Kills the process if it runs and takes its exit status, so that nothing of it remains.
    pub fn kill(&mut self) {
        let deadline = Instant::now() + KILL_TIMEOUT;
        // Fails only for a process that has ended.
        let _ = self.process.start_kill();
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn failed(&self, what: &str) -> Error {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n");
        Error::internal(format!("{} {what}; the end of its log:\n{tail}", self.name))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends `SIGTERM`. The standard library only kills, so the shell's own `kill`, which every system has, is asked.
async fn terminate(id: u32) -> Result<(), Error> {
    let mut command = Command::new("sh");
    command.args(["-c", "kill -TERM \"$1\"", "sh", &id.to_string()]).stderr(Stdio::null());
    let sent = command.status().await;
    sent.map(|_| ())
        .map_err(|error| Error::internal(format!("cannot send a signal to process {id}: {error}")))
}

fn describe(status: ExitStatus) -> String {
    format!("did not end well ({status})")
}
