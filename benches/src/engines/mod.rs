//! One face for everything that answers a query: our processes behind their door, a peer, a Ballista cluster.

mod ballista;
mod launcher;
mod peer;
mod polarway;
mod ports;

use std::path::Path;
use std::time::Duration;

pub use launcher::{Launcher, Python};
pub use polarway::Terms;

use crate::failure::{Failure, Result};
use crate::load::{Load, Sample};
use crate::record::{EngineRecord, Measurement, ProcessPeak};

use ballista::Ballista;
use peer::Peer;
use polarway::Polarway;

/// Name in every record of ours, or of the one of ours that is under test.
pub const OURS: &str = "polarway";

/// A system under test. It starts once; after a request that it could not be stopped from working on, it is started
/// again with the same tables.
pub struct Engine {
    name: String,
    version: Option<String>,
    system: Result<System>,
    /// Machine paths, and what error messages say in their place.
    secret: Vec<(String, &'static str)>,
}

enum System {
    Polarway(Box<Polarway>),
    Peer(Box<Peer>),
    Ballista(Box<Ballista>),
}

impl Engine {
    fn new(name: &str, started: Result<(System, String)>, secret: Vec<(String, &'static str)>) -> Self {
        let started = started.map_err(|failure| Failure::new(scrub(&failure.to_string(), &secret)));
        let (system, version) = match started {
            Ok((system, version)) => (Ok(system), Some(version)),
            Err(failure) => (Err(failure), None),
        };
        Self { name: name.to_owned(), version, system, secret }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why it is not there, if it did not start.
    pub fn absent(&self) -> Option<&Failure> {
        self.system.as_ref().err()
    }

    /// Makes Parquet at `path` known as `name`; a directory is given with all its files.
    ///
    /// # Errors
    /// The engine is not there, or refuses. It is then taken for absent, since nothing it measures would be
    /// comparable.
    pub async fn table(&mut self, name: &str, path: &Path) -> Result<()> {
        let path = if path.is_dir() { format!("{}/", path.display()) } else { path.display().to_string() };
        let made = match self.system.as_mut().map_err(|failure| failure.clone())? {
            System::Polarway(ours) => ours.table(name, &path).await,
            System::Peer(peer) => peer.table(name, &path).await,
            System::Ballista(cluster) => cluster.table(name, &path).await,
        };
        if let Err(failure) = made {
            let failure = Failure::new(scrub(&format!("making table {name}: {failure}"), &self.secret));
            if let Ok(system) = std::mem::replace(&mut self.system, Err(failure.clone())) {
                system.stop().await?;
            }
            return Err(failure);
        }
        Ok(())
    }

    /// Runs one request and reads its whole answer.
    ///
    /// # Errors
    /// The engine is not there, the query fails or takes longer than `patience`.
    pub async fn query(&mut self, sql: &str, patience: Duration) -> Result<Sample> {
        let answer = match self.system.as_mut().map_err(|failure| failure.clone())? {
            System::Polarway(ours) => ours.query(sql, patience).await,
            System::Peer(peer) => peer.query(sql, patience).await,
            System::Ballista(cluster) => cluster.query(sql, patience).await,
        };
        answer.map_err(|failure| Failure::new(scrub(&failure.to_string(), &self.secret)))
    }

    /// As [`Engine::query`], by a client that connects first.
    ///
    /// # Errors
    /// The engine is not ours, or those of [`Engine::query`].
    pub async fn query_anew(&mut self, sql: &str, patience: Duration) -> Result<Sample> {
        let answer = match self.system.as_mut().map_err(|failure| failure.clone())? {
            System::Polarway(ours) => ours.query_anew(sql, patience).await,
            _ => Err(Failure::new("only ours is measured with the connection")),
        };
        answer.map_err(|failure| Failure::new(scrub(&failure.to_string(), &self.secret)))
    }

    /// Lets `clients` send `sql` back to back for `window`.
    ///
    /// # Errors
    /// The engine is not there or died. Requests that fail are counted in the load.
    pub async fn load(
        &mut self,
        sql: &str,
        clients: usize,
        window: Duration,
        patience: Duration,
    ) -> Result<Load> {
        let answer = match self.system.as_mut().map_err(|failure| failure.clone())? {
            System::Polarway(ours) => ours.load(sql, clients, window, patience).await,
            System::Peer(peer) => peer.load(sql, clients, window, patience).await,
            System::Ballista(cluster) => cluster.load(sql, clients, window, patience).await,
        };
        answer.map_err(|failure| Failure::new(scrub(&failure.to_string(), &self.secret)))
    }

    /// Times `requests` of `short`, one after the other, while `long` runs beside them again and again. Gives the loads
    /// of both.
    ///
    /// # Errors
    /// The engine is not ours, or is not there. Requests that fail are counted in the loads.
    pub async fn beside(
        &mut self,
        short: &str,
        long: &str,
        requests: usize,
        patience: Duration,
    ) -> Result<(Load, Load)> {
        let answer = match self.system.as_mut().map_err(|failure| failure.clone())? {
            System::Polarway(ours) => ours.beside(short, long, requests, patience).await,
            _ => Err(Failure::new("only ours is measured beside a long query")),
        };
        answer.map_err(|failure| Failure::new(scrub(&failure.to_string(), &self.secret)))
    }

    /// Runs one query per statement, all at once, and takes the time until the last answer is read.
    ///
    /// # Errors
    /// The engine is not ours, or a query fails or takes longer than `patience`.
    pub async fn at_once(&mut self, statements: &[String], patience: Duration) -> Result<Sample> {
        let answer = match self.system.as_mut().map_err(|failure| failure.clone())? {
            System::Polarway(ours) => ours.at_once(statements, patience).await,
            _ => Err(Failure::new("only ours takes statements at once")),
        };
        answer.map_err(|failure| Failure::new(scrub(&failure.to_string(), &self.secret)))
    }

    /// Reads whole files into memory by the peer's own reader.
    ///
    /// # Errors
    /// The engine is no such peer, or fails, or takes longer than `patience`.
    pub async fn read(&mut self, paths: &[String], how: &str, patience: Duration) -> Result<Sample> {
        let answer = match self.system.as_mut().map_err(|failure| failure.clone())? {
            System::Peer(peer) => peer.read(paths, how, patience).await,
            _ => Err(Failure::new("only a peer reads files by itself")),
        };
        answer.map_err(|failure| Failure::new(scrub(&failure.to_string(), &self.secret)))
    }

    /// Peaks of its processes.
    pub fn peaks(&mut self) -> Vec<ProcessPeak> {
        match &mut self.system {
            Ok(System::Polarway(ours)) => ours.peaks(),
            Ok(System::Peer(peer)) => peer.peaks(),
            Ok(System::Ballista(cluster)) => cluster.peaks(),
            Err(_) => Vec::new(),
        }
    }

    /// Ends its processes and says what it was.
    ///
    /// # Errors
    /// A process could not be stopped.
    pub async fn stop(mut self) -> Result<EngineRecord> {
        let processes = self.peaks();
        let error = self.absent().map(ToString::to_string);
        if let Ok(system) = self.system {
            system.stop().await?;
        }
        Ok(EngineRecord { name: self.name, version: self.version, error, processes })
    }

    /// An empty measurement of `case` by this engine.
    pub fn measurement(&self, case: &str) -> Measurement {
        Measurement::new(&self.name, case)
    }
}

impl System {
    async fn stop(self) -> Result<()> {
        match self {
            System::Polarway(ours) => ours.stop().await,
            System::Peer(peer) => peer.stop().await,
            System::Ballista(cluster) => cluster.stop().await,
        }
    }
}

/// Replaces machine paths, so that records and documentation hold none.
fn scrub(message: &str, secret: &[(String, &'static str)]) -> String {
    let clean = secret.iter().fold(message.to_owned(), |text, (path, name)| text.replace(path, name));
    crate::load::short(&clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_engine_that_did_not_start_says_why_without_paths() {
        let secret = vec![("/home/me/data".to_owned(), "<data>")];
        let failure = Failure::new("no such file: /home/me/data/x.parquet");
        let mut engine = Engine::new("duckdb", Err(failure), secret);
        let asked = engine.query("SELECT 1", Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(asked.to_string(), "no such file: <data>/x.parquet");
        let record = engine.stop().await.unwrap();
        assert_eq!(record.error.as_deref(), Some("no such file: <data>/x.parquet"));
    }
}
