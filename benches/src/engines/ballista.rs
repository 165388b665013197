//! A stock Ballista cluster: one scheduler, executors, and the client that plans for it, each a process.

use std::time::Duration;

use tempfile::TempDir;

use super::launcher::Launcher;
use super::peer::Peer;
use super::ports;
use crate::failure::{Context, Result};
use crate::load::{Load, Sample};
use crate::process::{Launch, Process};
use crate::record::{ProcessPeak, keep_larger};

const START: Duration = Duration::from_secs(60);

/// Shape of the cluster.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub executors: usize,
    /// Slots of each executor.
    pub slots: usize,
    /// Target partitions of the client's session.
    pub partitions: usize,
}

pub struct Ballista {
    launcher: Launcher,
    shape: Shape,
    running: Option<Running>,
    tables: Vec<(String, String)>,
    /// Peaks of processes that ended before the ones that run.
    earlier: Vec<ProcessPeak>,
}

struct Running {
    client: Peer,
    servers: Vec<Process>,
    _work: TempDir,
}

impl Ballista {
    pub async fn start(launcher: &Launcher, shape: Shape) -> Result<(Self, String)> {
        let (running, version) = Running::start(launcher, shape).await?;
        let (launcher, running) = (launcher.clone(), Some(running));
        Ok((Self { launcher, shape, running, tables: Vec::new(), earlier: Vec::new() }, version))
    }

    pub async fn table(&mut self, name: &str, path: &str) -> Result<()> {
        self.client().await?.table(name, path).await?;
        self.tables.push((name.to_owned(), path.to_owned()));
        Ok(())
    }

    /// A client that gives up does not make the cluster stop working, so after a failure it is started anew: what
    /// is measured next must not share the slots with what was given up.
    pub async fn query(&mut self, sql: &str, patience: Duration) -> Result<Sample> {
        let answer = self.client().await?.query(sql, patience).await;
        if answer.is_err() {
            self.end().await?;
        }
        answer
    }

    pub async fn load(
        &mut self,
        sql: &str,
        clients: usize,
        window: Duration,
        patience: Duration,
    ) -> Result<Load> {
        let answer = self.client().await?.load(sql, clients, window, patience).await;
        if !answer.as_ref().is_ok_and(|load| load.failures.is_empty()) {
            self.end().await?;
        }
        answer
    }

    pub fn peaks(&mut self) -> Vec<ProcessPeak> {
        let mut peaks = self.earlier.clone();
        if let Some(running) = &mut self.running {
            keep_larger(&mut peaks, running.servers.iter_mut().map(Process::peak).collect());
            keep_larger(&mut peaks, running.client.peaks());
        }
        peaks
    }

    pub async fn stop(mut self) -> Result<()> {
        self.end().await
    }

    async fn client(&mut self) -> Result<&mut Peer> {
        if self.running.is_none() {
            let (mut running, _) = Running::start(&self.launcher, self.shape).await?;
            for (name, path) in &self.tables {
                running.client.table(name, path).await?;
            }
            self.running = Some(running);
        }
        self.running.as_mut().map(|running| &mut running.client).context(|| "the cluster is not running")
    }

    async fn end(&mut self) -> Result<()> {
        self.earlier = self.peaks();
        let Some(running) = self.running.take() else { return Ok(()) };
        running.client.stop().await?;
        // Executors stand behind the scheduler in the list and end first, while it can still hear them.
        for server in running.servers.into_iter().rev() {
            server.stop().await?;
        }
        Ok(())
    }
}

impl Running {
    async fn start(launcher: &Launcher, shape: Shape) -> Result<(Self, String)> {
        let work = tempfile::tempdir().context(|| "making a work directory")?;
        let role = |role: String, arguments: Vec<String>| Launch {
            directory: work.path().to_owned(),
            log: launcher.log(&format!("ballista-{role}")),
            program: launcher.harness.clone(),
            role,
            arguments,
        };
        let text = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();

        let [port] = ports::free()?;
        let (port_text, executors) = (port.to_string(), shape.executors.to_string());
        let arguments = text(&["peer-ballista-scheduler", "--port", &port_text, "--executors", &executors]);
        let mut servers = vec![serve(&role("scheduler".into(), arguments))?];
        // The scheduler must listen before an executor starts, which tries to reach it once only.
        ports::until_ok(port, "/healthz", START).await?;
        for index in 1..=shape.executors {
            let [flight, grpc] = ports::free()?;
            let name = format!("executor-{index}");
            let directory = work.path().join(&name).display().to_string();
            std::fs::create_dir_all(&directory)?;
            let arguments = text(&[
                "peer-ballista-executor",
                "--flight-port",
                &flight.to_string(),
                "--grpc-port",
                &grpc.to_string(),
                "--scheduler-port",
                &port_text,
                "--slots",
                &shape.slots.to_string(),
                "--work",
                &directory,
            ]);
            servers.push(serve(&role(name, arguments))?);
        }
        ports::until_ok(port, "/readyz", START).await?;
        let partitions = shape.partitions.to_string();
        let arguments =
            text(&["peer-ballista-client", "--scheduler-port", &port_text, "--partitions", &partitions]);
        let (client, version) = Peer::start(role("client".into(), arguments)).await?;
        Ok((Self { client, servers, _work: work }, version))
    }
}

fn serve(launch: &Launch) -> Result<Process> {
    let mut process = Process::start(launch)?;
    process.discard_output();
    Ok(process)
}
