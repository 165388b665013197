//! Our processes, and the clients at their door.

use std::path::Path;
use std::time::Duration;

use futures::future::try_join_all;
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use super::launcher::Launcher;
use crate::door::Door;
use crate::failure::{Context, Failure, Result};
use crate::load::{self, Client, Load, Sample};
use crate::peers::context::create_table;
use crate::process::{Launch, Process};
use crate::record::ProcessPeak;

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

/// What a measured query may rely on.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// The route to set, and to insist on.
    pub route: Option<&'static str>,
    pub target_partitions: Option<usize>,
}

pub struct Polarway {
    address: String,
    door: Door,
    processes: Vec<Process>,
    _state: TempDir,
}

impl Polarway {
    pub async fn start(launcher: &Launcher, shape: &Shape, terms: &Terms) -> Result<(Self, String)> {
        let state = tempfile::tempdir().context(|| "making a state directory")?;
        let (address, processes) = match shape {
            Shape::Up { arguments } => {
                let (process, address) = serve(launcher, state.path(), "up", arguments).await?;
                (address, vec![process])
            }
            Shape::Cluster { executors, slots } => {
                cluster(launcher, state.path(), *executors, *slots).await?
            }
        };
        let mut door = Door::connect(&address).await?;
        door.open_session();
        for setting in terms.settings() {
            door.run(&setting).await.context(|| setting)?;
        }
        if let Some(route) = terms.route {
            door.insist_on(route);
        }
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok((Self { address, door, processes, _state: state }, version))
    }

    pub async fn table(&mut self, name: &str, path: &str) -> Result<()> {
        self.door.run(&create_table(name, path)).await
    }

    pub async fn query(&mut self, sql: &str, patience: Duration) -> Result<Sample> {
        load::timed(&mut self.door, sql, patience).await
    }

    pub async fn load(
        &mut self,
        sql: &str,
        clients: usize,
        window: Duration,
        patience: Duration,
    ) -> Result<Load> {
        let pool = try_join_all((0..clients.min(CONNECTIONS)).map(|_| Door::connect(&self.address))).await?;
        let doors = pool.into_iter().cycle().take(clients).collect();
        Ok(load::closed_loop(doors, sql, window, patience).await)
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
) -> Result<(String, Vec<Process>)> {
    let (scheduler, address) = serve(launcher, state, "scheduler", &[]).await?;
    let mut processes = vec![scheduler];
    for index in 1..=executors {
        let arguments = ["--scheduler", &address, "--slots", &slots.to_string()].map(str::to_owned);
        let directory = state.join(index.to_string());
        let (executor, _) =
            start(launcher, &directory, "executor", &format!("executor-{index}"), &arguments).await?;
        processes.push(executor);
    }
    Ok((address, processes))
}

/// Starts a process that has a door, `up` or `scheduler`.
async fn serve(
    launcher: &Launcher,
    state: &Path,
    command: &str,
    arguments: &[String],
) -> Result<(Process, String)> {
    let mut words = ["--http-listen", "127.0.0.1:0"].map(str::to_owned).to_vec();
    words.extend_from_slice(arguments);
    start(launcher, state, command, command, &words).await
}

/// Starts `polarway <command>` and waits for the line that tells its address.
async fn start(
    launcher: &Launcher,
    state: &Path,
    command: &str,
    role: &str,
    arguments: &[String],
) -> Result<(Process, String)> {
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
    let address = process.line_where(START, |line| grpc_address(line).map(str::to_owned)).await?;
    process.discard_output();
    Ok((process, address))
}

/// The address in `polarway <role> ready: grpc=ADDR http=ADDR`.
fn grpc_address(line: &str) -> Option<&str> {
    let (who, addresses) = line.split_once(" ready: ")?;
    who.starts_with("polarway ")
        .then(|| addresses.split_ascii_whitespace().find_map(|word| word.strip_prefix("grpc=")))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_tells_the_address() {
        let line = "polarway up ready: grpc=127.0.0.1:50051 http=127.0.0.1:8080";
        assert_eq!(grpc_address(line), Some("127.0.0.1:50051"));
        assert_eq!(
            grpc_address("polarway executor ready: http=127.0.0.1:1 grpc=127.0.0.1:2"),
            Some("127.0.0.1:2")
        );
        assert_eq!(grpc_address("polarway executor ready: grpc=127.0.0.1:3"), Some("127.0.0.1:3"));
        assert_eq!(grpc_address("polarway up starting"), None);
        assert_eq!(grpc_address("other ready: grpc=127.0.0.1:1"), None);
    }
    #[test]
    fn terms_become_statements() {
        let terms = Terms { route: Some("staged"), target_partitions: Some(2) };
        assert_eq!(
            terms.settings(),
            ["SET polarway.route = 'staged'", "SET datafusion.execution.target_partitions = 2"]
        );
        assert!(Terms::default().settings().is_empty());
    }
}
