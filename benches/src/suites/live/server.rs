//! A fresh server for one measurement: `polarway up` with a door for senders, or the plain peer.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::rows;
use super::usage::Usage;
use crate::door::Door;
use crate::engines::OURS;
use crate::failure::{Context, Failure, Result};
use crate::load::Client;
use crate::process::{Launch, Process};
use crate::record::ProcessPeak;
use crate::suites::Bench;

const START: Duration = Duration::from_secs(60);

/// Name of the peer in records.
pub const PLAIN: &str = "tungstenite + arrow";

/// A server that takes rows.
pub struct Server {
    process: Process,
    /// Where senders connect.
    pub senders: SocketAddr,
    /// Its state, on the disk whose speed the figures depend on.
    state: TempDir,
}

/// Ours, with a client at its SQL door.
pub struct Ours {
    pub server: Server,
    pub door: Door,
    /// Where it shows its metrics.
    pub http: SocketAddr,
}

impl Server {
    /// Starts the plain peer, on `core` alone if there is one.
    ///
    /// # Errors
    /// It does not start.
    pub async fn plain(bench: &Bench, core: Option<usize>) -> Result<Self> {
        let state = state(bench)?;
        let arguments = vec!["peer-plain".to_owned()];
        let launch = launch(bench, PLAIN, &bench.launcher.harness, arguments, state.path(), core);
        let mut process = Process::start(&launch)?;
        let [senders] = process.line_where(START, |line| addresses(line, ["ws="])).await?;
        process.discard_output();
        Ok(Self { process, senders, state })
    }

    /// Directory of its state.
    pub fn directory(&self) -> &Path {
        self.state.path()
    }

    /// What its process has used so far.
    ///
    /// # Errors
    /// The process has ended.
    pub fn usage(&self) -> Result<Usage> {
        Usage::of(self.process.pid().context(|| "the server has ended")?)
    }

    /// Ends it, and gives its largest resident set.
    ///
    /// # Errors
    /// It cannot be stopped, or ends otherwise than in success.
    pub async fn stop(mut self) -> Result<ProcessPeak> {
        let peak = self.process.peak();
        let status = self.process.stop().await?;
        if !status.success() {
            return Err(Failure::new(format!("{} ended with {status} when it was stopped", peak.role)));
        }
        Ok(peak)
    }
}

impl Ours {
    /// Starts `polarway up` with `settings` such as `ingest.hot_limit=64MiB`, on `core` alone if there is one, and
    /// makes the stream with `options`.
    ///
    /// # Errors
    /// It does not start, or refuses the stream.
    pub async fn start(bench: &Bench, settings: &[&str], options: &str, core: Option<usize>) -> Result<Self> {
        let state = state(bench)?;
        let directory = state.path().display().to_string();
        let fixed =
            ["up", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--ws-listen", "127.0.0.1:0"];
        let place = ["--data-dir", &directory, "--allow", &directory];
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let arguments = fixed.into_iter().chain(place).chain(settings).map(str::to_owned).collect();
        let launch = launch(bench, "up", &bench.launcher.polarway, arguments, state.path(), core);
        let mut process = Process::start(&launch)?;
        let ready = |line: &str| addresses(line, ["grpc=", "http=", "ws="]);
        let [sql, http, senders] = process.line_where(START, ready).await?;
        process.discard_output();
        let mut door = Door::connect(&sql.to_string()).await?;
        door.open_session();
        door.run(&rows::create(options)).await.context(|| "making the stream")?;
        Ok(Self { server: Server { process, senders, state }, door, http })
    }

    /// Checks that the stream holds `expected` rows.
    ///
    /// # Errors
    /// As [`Ours::holds_where`].
    pub async fn holds(&mut self, expected: u64) -> Result<()> {
        self.holds_where("true", expected).await
    }

    /// Checks that the stream holds `expected` rows of which `condition` is true.
    ///
    /// # Errors
    /// It holds another number, or the query fails.
    pub async fn holds_where(&mut self, condition: &str, expected: u64) -> Result<()> {
        let counted = format!("SELECT count(*) AS n FROM {} WHERE {condition}", rows::STREAM);
        let sql = format!("SELECT n FROM ({counted}) AS counted WHERE n = {expected}");
        match self.door.query(&sql).await? {
            1 => Ok(()),
            _ => Err(Failure::new(format!("{OURS} acknowledged {expected} rows and counts another number"))),
        }
    }

    /// Ends it, and gives its largest resident set.
    ///
    /// # Errors
    /// As [`Server::stop`].
    pub async fn stop(self) -> Result<ProcessPeak> {
        drop(self.door);
        self.server.stop().await
    }
}

fn state(bench: &Bench) -> Result<TempDir> {
    let state = tempfile::Builder::new().prefix("live-").tempdir_in(bench.store.root());
    state.context(|| "making a state directory")
}

fn launch(
    bench: &Bench,
    role: &str,
    program: &Path,
    arguments: Vec<String>,
    directory: &Path,
    core: Option<usize>,
) -> Launch {
    let (program, arguments) = match core {
        None => (program.to_owned(), arguments),
        Some(core) => {
            let pinned = ["-c".to_owned(), core.to_string(), program.display().to_string()];
            (PathBuf::from("taskset"), pinned.into_iter().chain(arguments).collect())
        }
    };
    let log = bench.launcher.logs.join(if role == "up" { "polarway-live.log" } else { "plain.log" });
    Launch { role: role.to_owned(), program, arguments, directory: directory.to_owned(), log }
}

/// The addresses behind `keys` in a line such as `polarway up ready: grpc=ADDR http=ADDR ws=ADDR`.
fn addresses<const N: usize>(line: &str, keys: [&str; N]) -> Option<[SocketAddr; N]> {
    let (_, words) = line.split_once(" ready: ")?;
    let found: Vec<SocketAddr> = keys
        .iter()
        .filter_map(|key| words.split(' ').find_map(|word| word.strip_prefix(key))?.parse().ok())
        .collect();
    found.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_tells_the_addresses() {
        let line = "polarway up ready: grpc=127.0.0.1:1 http=127.0.0.1:2 ws=127.0.0.1:3";
        let [sql, senders] = addresses(line, ["grpc=", "ws="]).unwrap();
        assert_eq!((sql.port(), senders.port()), (1, 3));
        assert_eq!(addresses("polarway up ready: grpc=127.0.0.1:1", ["grpc=", "ws="]), None);
        assert!(addresses("plain ready: ws=127.0.0.1:4", ["ws="]).is_some());
        assert_eq!(addresses("starting", ["ws="]), None);
    }
}
