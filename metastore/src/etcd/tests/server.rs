//! etcd itself, started by a test and stopped by it.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use etcd_client::{Client, ConnectOptions};
use tempfile::TempDir;

use super::PATIENCE;

const ATTEMPTS: usize = 5;

/// One process of etcd, killed when it is dropped.
pub(super) struct Member {
    name: String,
    process: Child,
    directory: PathBuf,
    pub(super) url: String,
}

/// Members that are one store. Their directory goes with them.
pub(super) struct Cluster {
    pub(super) members: Vec<Member>,
    directory: TempDir,
}

/// How a cluster is started.
#[derive(Clone, Default)]
pub(super) struct Options {
    pub(super) flags: Vec<String>,
    pub(super) https: bool,
}

impl Options {
    pub(super) fn flags<const N: usize>(flags: [&str; N]) -> Self {
        Self { flags: flags.map(str::to_owned).to_vec(), https: false }
    }
}

struct Address {
    client: u16,
    peer: u16,
}

impl Cluster {
    pub(super) async fn start(size: usize) -> Self {
        Self::start_with(size, Options::default()).await
    }

    pub(super) async fn start_with(size: usize, options: Options) -> Self {
        for _ in 0..ATTEMPTS {
            if let Some(cluster) = Self::attempt(size, &options).await {
                return cluster;
            }
        }
        panic!("etcd does not start: see its log above");
    }

    /// A port that was free can be taken before etcd has it; then there is none.
    async fn attempt(size: usize, options: &Options) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let addresses: Vec<_> = free_ports(2 * size)
            .chunks(2)
            .map(|ports| Address { client: ports[0], peer: ports[1] })
            .collect();
        let peers: Vec<_> = addresses
            .iter()
            .enumerate()
            .map(|(index, address)| format!("m{index}=http://127.0.0.1:{}", address.peer))
            .collect();
        let token = directory.path().file_name().unwrap().to_string_lossy().into_owned();
        let spawn = |(index, address): (usize, &Address)| {
            let scheme = if options.https { "https" } else { "http" };
            let url = format!("{scheme}://localhost:{}", address.client);
            let (name, listen) = (format!("m{index}"), format!("{scheme}://127.0.0.1:{}", address.client));
            let peer = format!("http://127.0.0.1:{}", address.peer);
            let data = directory.path().join(&name);
            let log = File::create(directory.path().join(format!("{name}.log"))).unwrap();
            let process = Command::new("etcd")
                .args(["--name", &name, "--data-dir"])
                .arg(&data)
                .args(["--listen-client-urls", &listen, "--advertise-client-urls", &url])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .args(["--initial-cluster", &peers.join(","), "--initial-cluster-token", &token])
                .args(["--logger", "zap", "--log-level", "warn"])
                .args(&options.flags)
                .env_clear()
                .env("PATH", std::env::var("PATH").unwrap_or_default())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn();
            let process = process.unwrap_or_else(|error| {
                panic!("etcd cannot be started ({error}): `make setup` installs it (Debian's etcd-server)")
            });
            Member { name, process, directory: directory.path().to_owned(), url }
        };
        let members = addresses.iter().enumerate().map(spawn).collect();
        let mut cluster = Self { members, directory };
        for member in &mut cluster.members {
            if !member.is_ready().await {
                member.show_log();
                return None;
            }
        }
        Some(cluster)
    }

    pub(super) fn urls(&self) -> Vec<String> {
        self.members.iter().map(|member| member.url.clone()).collect()
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// Kills the member that leads, as if its machine had died.
    pub(super) async fn kill_leader(&mut self) {
        let started = Instant::now();
        loop {
            for member in &mut self.members {
                let mut client = member.client().await;
                if let Ok(status) = client.status().await
                    && status.leader() == status.header().unwrap().member_id()
                {
                    member.kill();
                    return;
                }
            }
            assert!(started.elapsed() < PATIENCE, "nobody leads");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Member {
    pub(super) async fn client(&self) -> Client {
        Client::connect([&self.url], Some(ConnectOptions::new())).await.unwrap()
    }

    /// A port that answers may be another one's; then this process is gone.
    async fn is_ready(&mut self) -> bool {
        let started = Instant::now();
        let port: u16 = self.url.rsplit(':').next().unwrap().parse().unwrap();
        loop {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                // Long enough for one that found the port taken to be gone.
                tokio::time::sleep(Duration::from_millis(50)).await;
                return self.process.try_wait().unwrap().is_none();
            }
            assert!(started.elapsed() < PATIENCE, "etcd does not listen on {port}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(super) fn kill(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    fn show_log(&self) {
        let log = fs::read_to_string(self.directory.join(format!("{}.log", self.name)));
        println!("{}", log.unwrap_or_default());
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}
