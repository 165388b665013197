//! Child processes: started, watched for the line that says they are ready, measured, stopped and joined.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::failure::{Context, Failure, Result};
use crate::family;
use crate::machine::kibibytes;
use crate::record::{ProcessPeak, keep_larger};

/// How long a process may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(30);

/// What to start.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Name in records, such as `scheduler`.
    pub role: String,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// Working directory; relative paths that the process makes up on its own land here.
    pub directory: PathBuf,
    /// Where its standard error goes; appended.
    pub log: PathBuf,
}

/// A running child. Dropping it kills it; [`Process::stop`] is the gentle way.
#[derive(Debug)]
pub struct Process {
    role: String,
    log: PathBuf,
    /// Where this process's part of the log begins.
    log_begin: usize,
    child: Child,
    stdout: Option<Lines<BufReader<ChildStdout>>>,
    drain: Option<JoinHandle<()>>,
    peak: u64,
    /// Peaks of what stems from it, also of what has ended.
    family: Vec<ProcessPeak>,
}

impl Process {
    /// Starts `launch` with its standard streams connected.
    ///
    /// # Errors
    /// The program is not there, or the log cannot be opened.
    pub fn start(launch: &Launch) -> Result<Self> {
        if let Some(parent) = launch.log.parent() {
            fs::create_dir_all(parent).context(|| format!("making {}", parent.display()))?;
        }
        let log_begin = fs::metadata(&launch.log).map_or(0, |facts| facts.len()) as usize;
        let log = File::options().create(true).append(true).open(&launch.log);
        let log = log.context(|| format!("opening {}", launch.log.display()))?;
        let mut child = Command::new(&launch.program)
            .args(&launch.arguments)
            .current_dir(&launch.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context(|| format!("starting {}", launch.program.display()))?;
        let stdout = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        Ok(Self {
            role: launch.role.clone(),
            log: launch.log.clone(),
            log_begin,
            child,
            stdout,
            drain: None,
            peak: 0,
            family: Vec::new(),
        })
    }

    /// The child's standard input; there once.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// The next line of standard output.
    ///
    /// # Errors
    /// None comes within `within`, or the process ends first; the message then quotes its log's last lines.
    pub async fn line(&mut self, within: Duration) -> Result<String> {
        let role = &self.role;
        let lines = self.stdout.as_mut().context(|| format!("{role}'s output is no longer read"))?;
        let next = timeout(within, lines.next_line()).await;
        match next.map_err(|_| Failure::new(format!("{role} was silent for {} s", within.as_secs())))?? {
            Some(line) => Ok(line),
            None => Err(Failure::new(format!("{role} ended; its last words: {}", self.last_words()))),
        }
    }

    /// Reads lines until `accept` makes something of one.
    ///
    /// # Errors
    /// As [`Process::line`], with `within` for the whole wait.
    pub async fn line_where<T>(&mut self, within: Duration, accept: impl Fn(&str) -> Option<T>) -> Result<T> {
        let role = self.role.clone();
        let search = async {
            loop {
                if let Some(found) = accept(&self.line(within).await?) {
                    return Ok(found);
                }
            }
        };
        timeout(within, search)
            .await
            .unwrap_or_else(|_| Err(Failure::new(format!("{role} was not ready in {} s", within.as_secs()))))
    }

    /// From now on throws the child's output away, so that it never blocks on a full pipe.
    pub fn discard_output(&mut self) {
        if let Some(mut lines) = self.stdout.take() {
            self.drain =
                Some(tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} }));
        }
    }

    /// Its number, until it has been waited for.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The largest resident set so far. After the process has ended, the last one that was read.
    pub fn peak(&mut self) -> ProcessPeak {
        if let Some(pid) = self.child.id() {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            self.peak = self.peak.max(kibibytes(&status, "VmHWM").unwrap_or(0));
        }
        ProcessPeak { role: self.role.clone(), peak_rss_bytes: self.peak }
    }

    /// [`Process::peak`], and the same of the processes that stem from it, such as a peer's JVM. Those are called by
    /// its name and their own; equal names are added up.
    pub fn peaks(&mut self) -> Vec<ProcessPeak> {
        if let Some(pid) = self.child.id() {
            let mut now: BTreeMap<String, u64> = BTreeMap::new();
            for relative in family::descendants(pid) {
                *now.entry(format!("{}-{}", self.role, relative.name)).or_default() += relative.peak();
            }
            let now = now.into_iter().map(|(role, peak_rss_bytes)| ProcessPeak { role, peak_rss_bytes });
            keep_larger(&mut self.family, now.collect());
        }
        let mut peaks = vec![self.peak()];
        peaks.extend(self.family.iter().cloned());
        peaks
    }

    /// Sends SIGTERM and waits, also for what stems from it; kills what does not end within half a minute.
    ///
    /// # Errors
    /// The signal cannot be sent or the child cannot be waited for.
    pub async fn stop(mut self) -> Result<ExitStatus> {
        drop(self.child.stdin.take());
        self.discard_output();
        let family = self.child.id().map(family::descendants).unwrap_or_default();
        if let Some(pid) = self.child.id() {
            Command::new("kill").args(["-TERM", &pid.to_string()]).status().await?;
        }
        let ended = match timeout(GRACE, self.child.wait()).await {
            Ok(ended) => ended,
            Err(_) => {
                self.child.start_kill()?;
                self.child.wait().await
            }
        };
        // What is measured next must not share the cores with what is still ending.
        family::end(&family, GRACE).await?;
        if let Some(drain) = self.drain.take() {
            drain.await?;
        }
        ended.context(|| format!("waiting for {}", self.role))
    }

    fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(log.get(self.log_begin..).unwrap_or_default());
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(3)..].join(" | ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, directory: &std::path::Path) -> Process {
        let launch = Launch {
            role: "shell".into(),
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            directory: directory.into(),
            log: directory.join("shell.log"),
        };
        Process::start(&launch).unwrap()
    }

    #[tokio::test]
    async fn a_process_is_found_ready_measured_and_stopped() {
        let directory = tempfile::tempdir().unwrap();
        let mut process = shell("echo starting; echo ready: 42; exec sleep 60", directory.path());
        let number = process
            .line_where(Duration::from_secs(10), |line| line.strip_prefix("ready: ").map(str::to_owned))
            .await
            .unwrap();
        assert_eq!(number, "42");
        process.discard_output();
        assert!(process.peak().peak_rss_bytes > 0);
        assert!(!process.stop().await.unwrap().success());
    }

    #[tokio::test]
    async fn children_are_measured_and_end_with_their_parent() {
        let directory = tempfile::tempdir().unwrap();
        // The child ends with its standard input, as the server of a peer does.
        let mut process = shell("echo up; cat >/dev/null; true", directory.path());
        assert_eq!(process.line(Duration::from_secs(10)).await.unwrap(), "up");
        let peaks = loop {
            let peaks = process.peaks();
            if peaks.iter().any(|peak| peak.role == "shell-cat" && peak.peak_rss_bytes > 0) {
                break peaks;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert_eq!(peaks[0].role, "shell");
        let family = family::descendants(process.pid().unwrap());
        process.stop().await.unwrap();
        assert!(!family.is_empty() && !family.iter().any(family::Relative::lives));
    }

    #[tokio::test]
    async fn an_early_end_quotes_the_log() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("shell.log"), "an earlier process\n").unwrap();
        let mut process = shell("echo no such option >&2; exit 2", directory.path());
        let error = process.line(Duration::from_secs(10)).await.unwrap_err().to_string();
        assert_eq!(error, "shell ended; its last words: no such option");
        assert_eq!(process.stop().await.unwrap().code(), Some(2));
    }

    #[tokio::test]
    async fn silence_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let mut process = shell("exec sleep 60", directory.path());
        let error = process.line_where(Duration::from_millis(50), |_| Some(())).await.unwrap_err();
        assert!(error.to_string().contains("was silent") || error.to_string().contains("not ready"));
        process.stop().await.unwrap();
    }
}
