//! Starts engines: where the programs are, where logs and data go.

use std::path::{Path, PathBuf};

use super::ballista::{self, Ballista};
use super::peer::Peer;
use super::polarway::{Polarway, Shape, Terms};
use super::{Engine, OURS, System};
use crate::process::Launch;

/// The programs and places of a run.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// The product.
    pub polarway: PathBuf,
    /// This program, which holds the DataFusion and Ballista peers.
    pub harness: PathBuf,
    /// Interpreter with the Python peers' packages.
    pub python: PathBuf,
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
}

impl Python {
    fn script(self) -> &'static str {
        match self {
            Python::DuckDb => "peer_duckdb.py",
            Python::Polars => "peer_polars.py",
            Python::PyArrow => "peer_pyarrow.py",
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
        let terms = Terms { route: Some("staged"), target_partitions: Some(partitions) };
        self.ours(&Shape::Cluster { executors, slots }, &terms).await
    }

    async fn ours(&self, shape: &Shape, terms: &Terms) -> Engine {
        let started = Polarway::start(self, shape, terms).await;
        let started = started.map(|(ours, version)| (System::Polarway(Box::new(ours)), version));
        Engine::new(OURS, started, self.secret())
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
        let script = self.peers.join(which.script()).display().to_string();
        self.peer(name, &self.python, vec![script]).await
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
            (shown(&self.python), "<python>"),
        ]
    }
}

fn up(arguments: &[&str]) -> Shape {
    Shape::Up { arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect() }
}
