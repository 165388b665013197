//! Starts engines: where the programs are, where logs and data go.

use std::fs;
use std::path::{Path, PathBuf};

use super::ballista::{self, Ballista};
use super::peer::Peer;
use super::polarway::{Polarway, Shape, Terms};
use super::{Engine, OURS, System};
use crate::failure::{Failure, Result};
use crate::process::Launch;

/// The programs and places of a run.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// The product.
    pub polarway: PathBuf,
    /// This program, which holds the DataFusion and Ballista peers.
    pub harness: PathBuf,
    /// Directory of the Python peers' environments, each under the peer's name.
    pub environments: PathBuf,
    /// Directory of the Python peers' programs.
    pub peers: PathBuf,
    /// Directory that our processes may read.
    pub data: PathBuf,
    /// Directory of the processes' logs.
    pub logs: PathBuf,
}

/// A peer in Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Python {
    DuckDb,
    Polars,
    PyArrow,
    Sail,
    Spark,
    Daft,
}

impl Python {
    /// The name of its environment and in records, where it has no other.
    pub fn name(self) -> &'static str {
        match self {
            Python::DuckDb => "duckdb",
            Python::Polars => "polars",
            Python::PyArrow => "pyarrow",
            Python::Sail => "sail",
            Python::Spark => "spark",
            Python::Daft => "daft",
        }
    }
}

impl Launcher {
    /// Our one-process form, with `arguments` besides those that every run needs, as its users find it.
    pub async fn up(&self, arguments: &[&str]) -> Engine {
        self.ours(&up(arguments), &Terms::default()).await
    }

    /// Our one-process form, whose queries take the direct route.
    pub async fn up_direct(&self) -> Engine {
        self.ours(&up(&[]), &Terms { route: Some("direct"), ..Terms::default() }).await
    }

    /// Our cluster form of `executors` with `slots` each, whose queries take the staged route.
    pub async fn staged(&self, executors: usize, slots: usize, partitions: usize) -> Engine {
        let terms = Terms { route: Some("staged"), target_partitions: Some(partitions), ..Terms::default() };
        self.ours(&Shape::Cluster { executors, slots }, &terms).await
    }

    /// Our one-process form, recorded as `name`, with `settings` such as `telemetry.sample=0.01`.
    pub async fn up_as(&self, name: &str, settings: &[String], terms: &Terms) -> Engine {
        let arguments: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting.as_str()]).collect();
        self.ours_as(name, &up(&arguments), terms).await
    }

    async fn ours(&self, shape: &Shape, terms: &Terms) -> Engine {
        self.ours_as(OURS, shape, terms).await
    }

    async fn ours_as(&self, name: &str, shape: &Shape, terms: &Terms) -> Engine {
        let started = Polarway::start(self, shape, terms).await;
        let started = started.map(|(ours, version)| (System::Polarway(Box::new(ours)), version));
        Engine::new(name, started, self.secret())
    }

    /// DataFusion in a process of its own.
    pub async fn datafusion(&self, partitions: usize) -> Engine {
        let partitions = partitions.to_string();
        let arguments = ["peer-datafusion", "--partitions", &partitions].map(str::to_owned).to_vec();
        self.peer("datafusion", &self.harness, arguments).await
    }

    /// A stock Ballista cluster of `executors` with `slots` each.
    pub async fn ballista(&self, executors: usize, slots: usize, partitions: usize) -> Engine {
        let started = Ballista::start(self, ballista::Shape { executors, slots, partitions }).await;
        let started = started.map(|(cluster, version)| (System::Ballista(Box::new(cluster)), version));
        Engine::new("ballista", started, self.secret())
    }

    /// A peer in Python, recorded as `name`.
    pub async fn python(&self, which: Python, name: &str) -> Engine {
        self.script(which, name, &[]).await
    }

    /// A peer in Python that uses as many cores as it is told.
    pub async fn guest(&self, which: Python, partitions: usize) -> Engine {
        self.script(which, which.name(), &["--partitions", &partitions.to_string()]).await
    }

    /// Sail with `workers` in its server's process.
    pub async fn sail_cluster(&self, workers: usize, partitions: usize) -> Engine {
        let (workers, partitions) = (workers.to_string(), partitions.to_string());
        let arguments = ["--partitions", &partitions, "--workers", &workers];
        self.script(Python::Sail, Python::Sail.name(), &arguments).await
    }

    async fn script(&self, which: Python, name: &str, arguments: &[&str]) -> Engine {
        let interpreter = match self.interpreter(which) {
            Ok(interpreter) => interpreter,
            Err(missing) => return Engine::new(name, Err(missing), self.secret()),
        };
        let script = self.peers.join(format!("peer_{}.py", which.name())).display().to_string();
        let words = [script].into_iter().chain(arguments.iter().map(|word| (*word).to_owned())).collect();
        self.peer(name, &interpreter, words).await
    }

    /// The interpreter that has the peer's packages, or why it is not installed, as `benches/setup.sh` left it.
    fn interpreter(&self, which: Python) -> Result<PathBuf> {
        let home = self.environments.join(which.name());
        let interpreter = home.join("bin").join("python");
        if interpreter.exists() {
            return Ok(interpreter);
        }
        let reason = fs::read_to_string(home.with_extension("missing"));
        Err(Failure::new(match reason {
            Ok(reason) => reason.trim().to_owned(),
            Err(_) => "benches/setup.sh has not installed it".to_owned(),
        }))
    }

    async fn peer(&self, name: &str, program: &Path, arguments: Vec<String>) -> Engine {
        let launch = Launch {
            role: name.to_owned(),
            program: program.to_owned(),
            arguments,
            directory: self.logs.clone(),
            log: self.log(name),
        };
        let started = Peer::start(launch).await;
        let started = started.map(|(peer, version)| (System::Peer(Box::new(peer)), version));
        Engine::new(name, started, self.secret())
    }

    pub(super) fn log(&self, role: &str) -> PathBuf {
        self.logs.join(format!("{role}.log"))
    }

    fn secret(&self) -> Vec<(String, &'static str)> {
        let shown = |path: &Path| path.display().to_string();
        vec![
            (shown(&self.data), "<data>"),
            (shown(&self.logs), "<logs>"),
            (shown(&self.peers), "<peers>"),
            (shown(&self.environments), "<environments>"),
        ]
    }
}

fn up(arguments: &[&str]) -> Shape {
    Shape::Up { arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_that_is_not_installed_is_absent_and_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        let launcher = Launcher {
            polarway: place("polarway"),
            harness: place("harness"),
            environments: place("environments"),
            peers: place("peers"),
            data: place("data"),
            logs: place("logs"),
        };
        fs::create_dir(&launcher.environments).unwrap();
        fs::write(launcher.environments.join("daft.missing"), "daft==0 cannot be installed\n").unwrap();
        for (which, reason) in [
            (Python::Daft, "daft==0 cannot be installed"),
            (Python::Spark, "benches/setup.sh has not installed it"),
        ] {
            let engine = launcher.guest(which, 2).await;
            assert_eq!(engine.absent().unwrap().to_string(), reason);
            let record = engine.stop().await.unwrap();
            assert_eq!((record.name.as_str(), record.error.as_deref()), (which.name(), Some(reason)));
        }
    }
}
