//! A peer as the harness holds it: a child process that speaks the line protocol.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;

use crate::failure::{Context, Failure, Result};
use crate::load::{Load, Sample};
use crate::peers::{Answer, Ask};
use crate::process::{Launch, Process};
use crate::record::{ProcessPeak, keep_larger};

/// How long a peer may take to start.
const START: Duration = Duration::from_secs(60);
/// How much longer than its patience a peer may stay silent before it is taken for stuck.
const GRACE: Duration = Duration::from_secs(20);
/// Making a table reads footers at most.
const TABLE: Duration = Duration::from_secs(120);

pub struct Peer {
    launch: Launch,
    running: Option<Running>,
    tables: Vec<(String, String)>,
    /// Peaks of processes that ended before the ones that run.
    earlier: Vec<ProcessPeak>,
}

struct Running {
    process: Process,
    stdin: ChildStdin,
}

impl Peer {
    /// Starts the peer; also gives its version.
    pub async fn start(launch: Launch) -> Result<(Self, String)> {
        let (running, version) = Running::start(&launch).await?;
        Ok((Self { launch, running: Some(running), tables: Vec::new(), earlier: Vec::new() }, version))
    }

    pub async fn table(&mut self, name: &str, path: &str) -> Result<()> {
        let ask = Ask::Table { name: name.to_owned(), path: path.to_owned() };
        expect_done(self.ask(&ask, TABLE).await?)?;
        self.tables.push((name.to_owned(), path.to_owned()));
        Ok(())
    }

    pub async fn query(&mut self, sql: &str, patience: Duration) -> Result<Sample> {
        let ask = Ask::Query { sql: sql.to_owned(), patience_seconds: patience.as_secs_f64() };
        expect_sample(self.ask(&ask, patience).await?)
    }

    pub async fn load(
        &mut self,
        sql: &str,
        clients: usize,
        window: Duration,
        patience: Duration,
    ) -> Result<Load> {
        let ask = Ask::Load {
            sql: sql.to_owned(),
            clients,
            seconds: window.as_secs_f64(),
            patience_seconds: patience.as_secs_f64(),
        };
        match self.ask(&ask, window + patience).await? {
            Answer::Load(load) => Ok(load),
            other => Err(unexpected(&other)),
        }
    }

    pub async fn read(&mut self, paths: &[String], how: &str, patience: Duration) -> Result<Sample> {
        let ask = Ask::Read { paths: paths.to_vec(), how: how.to_owned() };
        expect_sample(self.ask(&ask, patience).await?)
    }

    pub fn peaks(&mut self) -> Vec<ProcessPeak> {
        let mut peaks = self.earlier.clone();
        if let Some(running) = &mut self.running {
            keep_larger(&mut peaks, running.process.peaks());
        }
        peaks
    }

    pub async fn stop(self) -> Result<()> {
        match self.running {
            Some(running) => running.process.stop().await.map(drop),
            None => Ok(()),
        }
    }

    /// Asks, starting the peer again first if it was lost. A peer that stays silent or dies is given up.
    async fn ask(&mut self, ask: &Ask, patience: Duration) -> Result<Answer> {
        let running = match &mut self.running {
            Some(running) => running,
            None => self.restart().await?,
        };
        match running.ask(ask, patience + GRACE).await {
            Ok(Answer::Error { message }) => Err(Failure::new(message)),
            Ok(answer) => Ok(answer),
            Err(lost) => {
                self.give_up().await?;
                Err(lost)
            }
        }
    }

    async fn restart(&mut self) -> Result<&mut Running> {
        let (mut running, _) = Running::start(&self.launch).await?;
        for (name, path) in &self.tables {
            let ask = Ask::Table { name: name.clone(), path: path.clone() };
            expect_done(running.ask(&ask, TABLE).await?)?;
        }
        Ok(self.running.insert(running))
    }

    async fn give_up(&mut self) -> Result<()> {
        self.earlier = self.peaks();
        if let Some(running) = self.running.take() {
            running.process.stop().await?;
        }
        Ok(())
    }
}

impl Running {
    async fn start(launch: &Launch) -> Result<(Self, String)> {
        let mut process = Process::start(launch)?;
        let stdin = process.take_stdin().context(|| "a peer without standard input")?;
        let ready = |line: &str| serde_json::from_str::<Answer>(line).ok();
        match process.line_where(START, ready).await? {
            Answer::Ready { version, .. } => Ok((Self { process, stdin }, version)),
            Answer::Error { message } => Err(Failure::new(message)),
            other => Err(unexpected(&other)),
        }
    }

    async fn ask(&mut self, ask: &Ask, within: Duration) -> Result<Answer> {
        let line = serde_json::to_string(ask)? + "\n";
        self.stdin.write_all(line.as_bytes()).await?;
        self.stdin.flush().await?;
        Ok(serde_json::from_str(&self.process.line(within).await?)?)
    }
}

fn expect_sample(answer: Answer) -> Result<Sample> {
    match answer {
        Answer::Sample(sample) => Ok(sample),
        other => Err(unexpected(&other)),
    }
}

fn expect_done(answer: Answer) -> Result<()> {
    match answer {
        Answer::Done => Ok(()),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(answer: &Answer) -> Failure {
    Failure::new(format!("unexpected answer {answer:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers each request with a sample, but dies of the second.
    const SCRIPT: &str = r#"
        echo '{"answer":"ready","engine":"fake","version":"1.2"}'
        asked=0
        while read line; do
            case "$line" in
            *'"ask":"table"'*) echo '{"answer":"done"}' ;;
            *) asked=$((asked + 1))
               [ $asked = 2 ] && exit 1
               echo '{"answer":"sample","millis":1.0,"rows":7}' ;;
            esac
        done"#;

    #[tokio::test]
    async fn a_peer_that_dies_is_started_again_with_its_tables() {
        let directory = tempfile::tempdir().unwrap();
        let launch = Launch {
            role: "fake".into(),
            program: "bash".into(),
            arguments: vec!["-c".into(), SCRIPT.into()],
            directory: directory.path().into(),
            log: directory.path().join("fake.log"),
        };
        let (mut peer, version) = Peer::start(launch).await.unwrap();
        assert_eq!(version, "1.2");
        peer.table("t", "/t.parquet").await.unwrap();
        let patience = Duration::from_secs(10);
        assert_eq!(peer.query("x", patience).await.unwrap().rows, 7);
        assert!(peer.query("x", patience).await.unwrap_err().to_string().contains("fake ended"));
        assert_eq!(peer.query("x", patience).await.unwrap().rows, 7);
        assert!(peer.peaks()[0].peak_rss_bytes > 0);
        peer.stop().await.unwrap();
    }
}
