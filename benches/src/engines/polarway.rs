//! Our processes, and the clients at their door.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::try_join_all;
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use super::launcher::Launcher;
use crate::door::{Dial, Door};
use crate::failure::{Context, Failure, Result};
use crate::load::{self, Client, Load, Sample};
use crate::peers::context::create_table;
use crate::process::{Launch, Process};
use crate::record::ProcessPeak;
use crate::scrape::{Scraper, Scrapes};

const START: Duration = Duration::from_secs(60);
/// Connections that the clients of a load share, as a pool does.
const CONNECTIONS: usize = 8;
/// Short requests beside a long one that do not count.
const UNMEASURED: usize = 20;

/// Which of our processes run.
#[derive(Debug, Clone)]
pub enum Shape {
    /// One, with these arguments besides those that every run needs.
    Up { arguments: Vec<String> },
    /// A scheduler and executors with so many slots each.
    Cluster { executors: usize, slots: usize },
}

/// How queries are measured.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// The route to set, and to insist on.
    pub route: Option<&'static str>,
    pub target_partitions: Option<usize>,
    /// File with the authority of its certificate. Clients then speak TLS.
    pub ca: Option<PathBuf>,
    /// Where it is counted how often its metrics are read, once in each second that it is measured.
    pub scrapes: Option<Arc<Scrapes>>,
}

pub struct Polarway {
    address: String,
    ca: Option<PathBuf>,
    dial: Dial,
    door: Door,
    scraper: Option<Scraper>,
    processes: Vec<Process>,
    _state: TempDir,
}

impl Polarway {
    pub async fn start(launcher: &Launcher, shape: &Shape, terms: &Terms) -> Result<(Self, String)> {
        let state = tempfile::tempdir().context(|| "making a state directory")?;
        let (Listening { grpc: address, http }, processes) = match shape {
            Shape::Up { arguments } => {
                let (process, listening) = serve(launcher, state.path(), "up", arguments).await?;
                (listening, vec![process])
            }
            Shape::Cluster { executors, slots } => {
                cluster(launcher, state.path(), *executors, *slots).await?
            }
        };
        let ca = terms.ca.clone();
        let dial = dial_of(ca.as_deref())?;
        let mut door = Door::dial(&address, &dial).await?;
        door.open_session();
        for setting in terms.settings() {
            door.run(&setting).await.context(|| setting)?;
        }
        if let Some(route) = terms.route {
            door.insist_on(route);
        }
        let scraper = match &terms.scrapes {
            None => None,
            Some(scrapes) => {
                let http = http.context(|| "there is no address to read metrics at")?;
                Some(Scraper::new(http, Arc::clone(scrapes)))
            }
        };
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok((Self { address, ca, dial, door, scraper, processes, _state: state }, version))
    }

    pub async fn table(&mut self, name: &str, path: &str) -> Result<()> {
        self.door.run(&create_table(name, path)).await
    }

    pub async fn query(&mut self, sql: &str, patience: Duration) -> Result<Sample> {
        let work = load::timed(&mut self.door, sql, patience);
        match &mut self.scraper {
            None => work.await,
            Some(scraper) => scraper.beside(work.boxed()).await,
        }
    }

    /// As [`Polarway::query`], by a client that connects first. With TLS it has no session to resume.
    pub async fn query_anew(&mut self, sql: &str, patience: Duration) -> Result<Sample> {
        let dial = dial_of(self.ca.as_deref())?;
        load::timed(&mut Newcomer { address: self.address.clone(), dial }, sql, patience).await
    }

    pub async fn load(
        &mut self,
        sql: &str,
        clients: usize,
        window: Duration,
        patience: Duration,
    ) -> Result<Load> {
        let connections = 0..clients.min(CONNECTIONS);
        let pool = try_join_all(connections.map(|_| Door::dial(&self.address, &self.dial))).await?;
        let doors: Vec<Door> = pool.into_iter().cycle().take(clients).collect();
        let work = load::closed_loop(doors, sql, window, patience);
        Ok(match &mut self.scraper {
            None => work.await,
            Some(scraper) => scraper.beside(work.boxed()).await,
        })
    }

    pub async fn beside(
        &mut self,
        short: &str,
        long: &str,
        requests: usize,
        patience: Duration,
    ) -> Result<(Load, Load)> {
        let (light, heavy) = (self.door.clone(), self.door.clone());
        Ok(load::beside(light, short, heavy, long, (UNMEASURED, requests), patience).await)
    }

    pub async fn at_once(&mut self, statements: &[String], patience: Duration) -> Result<Sample> {
        let begin = Instant::now();
        let queries = statements.iter().map(|sql| {
            let mut door = self.door.clone();
            async move { door.query(sql).await }
        });
        let rows = timeout(patience, try_join_all(queries))
            .await
            .unwrap_or_else(|_| Err(Failure::new(format!("no answer in {} s", patience.as_secs_f64()))))?;
        Ok(Sample { millis: load::millis(begin.elapsed()), rows: rows.into_iter().sum() })
    }

    pub fn peaks(&mut self) -> Vec<ProcessPeak> {
        self.processes.iter_mut().map(Process::peak).collect()
    }

    pub async fn stop(self) -> Result<()> {
        drop(self.door);
        // Executors stand behind the scheduler in the list and end first, while it can still hear them.
        for process in self.processes.into_iter().rev() {
            process.stop().await?;
        }
        Ok(())
    }
}

/// A client that has not connected yet.
struct Newcomer {
    address: String,
    dial: Dial,
}

impl Client for Newcomer {
    async fn query(&mut self, sql: &str) -> Result<u64> {
        let mut door = Door::dial(&self.address, &self.dial).await?;
        door.query(sql).await
    }
}

fn dial_of(ca: Option<&Path>) -> Result<Dial> {
    match ca {
        None => Ok(Dial::plain()),
        Some(ca) => Dial::trusting(ca),
    }
}

impl Terms {
    fn settings(&self) -> Vec<String> {
        let route = self.route.map(|route| format!("SET polarway.route = '{route}'"));
        let partitions = self
            .target_partitions
            .map(|partitions| format!("SET datafusion.execution.target_partitions = {partitions}"));
        route.into_iter().chain(partitions).collect()
    }
}

async fn cluster(
    launcher: &Launcher,
    state: &Path,
    executors: usize,
    slots: usize,
) -> Result<(Listening, Vec<Process>)> {
    let (scheduler, listening) = serve(launcher, state, "scheduler", &[]).await?;
    let mut processes = vec![scheduler];
    for index in 1..=executors {
        let arguments = ["--scheduler", &listening.grpc, "--slots", &slots.to_string()].map(str::to_owned);
        let directory = state.join(index.to_string());
        let (executor, _) =
            start(launcher, &directory, "executor", &format!("executor-{index}"), &arguments).await?;
        processes.push(executor);
    }
    Ok((listening, processes))
}

/// Starts a process that has a door, `up` or `scheduler`.
async fn serve(
    launcher: &Launcher,
    state: &Path,
    command: &str,
    arguments: &[String],
) -> Result<(Process, Listening)> {
    let mut words = ["--http-listen", "127.0.0.1:0"].map(str::to_owned).to_vec();
    words.extend_from_slice(arguments);
    start(launcher, state, command, command, &words).await
}

/// Starts `polarway <command>` and waits for the line that tells its addresses.
async fn start(
    launcher: &Launcher,
    state: &Path,
    command: &str,
    role: &str,
    arguments: &[String],
) -> Result<(Process, Listening)> {
    std::fs::create_dir_all(state)?;
    let (state_text, data) = (state.display().to_string(), launcher.data.display().to_string());
    let words = [command, "--listen", "127.0.0.1:0", "--data-dir", &state_text, "--allow", &data];
    let mut process = Process::start(&Launch {
        role: role.to_owned(),
        program: launcher.polarway.clone(),
        arguments: words.into_iter().map(str::to_owned).chain(arguments.iter().cloned()).collect(),
        directory: state.to_owned(),
        log: launcher.log(&format!("polarway-{role}")),
    })?;
    let listening = process.line_where(START, listening).await?;
    process.discard_output();
    Ok((process, listening))
}

/// Where a process of ours listens.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listening {
    grpc: String,
    http: Option<SocketAddr>,
}

/// The addresses in `polarway <role> ready: grpc=ADDR http=ADDR`.
fn listening(line: &str) -> Option<Listening> {
    let (who, addresses) = line.split_once(" ready: ")?;
    let of = |key: &str| addresses.split_ascii_whitespace().find_map(|word| word.strip_prefix(key));
    let grpc = of("grpc=").filter(|_| who.starts_with("polarway "))?;
    Some(Listening { grpc: grpc.to_owned(), http: of("http=").and_then(|http| http.parse().ok()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_tells_the_addresses() {
        let at = |grpc: u16, http: Option<u16>| {
            let http = http.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
            Some(Listening { grpc: format!("127.0.0.1:{grpc}"), http })
        };
        let line = "polarway up ready: grpc=127.0.0.1:50051 http=127.0.0.1:8080";
        assert_eq!(listening(line), at(50051, Some(8080)));
        assert_eq!(listening("polarway executor ready: http=127.0.0.1:1 grpc=127.0.0.1:2"), at(2, Some(1)));
        assert_eq!(listening("polarway executor ready: grpc=127.0.0.1:3"), at(3, None));
        assert_eq!(listening("polarway up starting"), None);
        assert_eq!(listening("other ready: grpc=127.0.0.1:1"), None);
    }

    #[test]
    fn terms_become_statements() {
        let terms = Terms { route: Some("staged"), target_partitions: Some(2), ..Terms::default() };
        assert_eq!(
            terms.settings(),
            ["SET polarway.route = 'staged'", "SET datafusion.execution.target_partitions = 2"]
        );
        assert!(Terms::default().settings().is_empty());
    }
}
