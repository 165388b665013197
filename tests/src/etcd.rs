//! etcd itself, one member, started by a test and stopped by it.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use tempfile::TempDir;

use crate::ports;
use crate::wait::until;

const CEILING: Duration = Duration::from_secs(60);

/// It is killed when this is dropped, and its data goes with it.
pub struct Etcd {
    process: Child,
    client: SocketAddr,
    peer: SocketAddr,
    directory: TempDir,
}

impl Etcd {
    /// Starts an empty one.
    pub async fn start() -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into()).await
    }

    /// Starts an empty one that others reach at `host`.
    pub async fn start_at(host: IpAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (client, peer) = (ports::free_at(host), ports::free());
        let process = spawn(&directory, client, peer);
        let mut etcd = Self { process, client, peer, directory };
        etcd.until_ready().await;
        etcd
    }

    /// For `metastore.etcd`.
    pub fn url(&self) -> String {
        format!("http://{}", self.client)
    }

    /// How many keys start with `prefix`.
    pub async fn count(&self, prefix: &str) -> u64 {
        let end = {
            let mut end = prefix.as_bytes().to_vec();
            *end.last_mut().unwrap() += 1;
            end
        };
        let body = serde_json::json!({
            "key": BASE64_STANDARD.encode(prefix),
            "range_end": BASE64_STANDARD.encode(end),
            "count_only": true,
        });
        let url = format!("{}/v3/kv/range", self.url());
        let answer = reqwest::Client::new().post(url).body(body.to_string()).send().await.unwrap();
        let answer: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        answer.get("count").map_or(0, |count| count.as_str().unwrap().parse().unwrap())
    }

    /// As if its machine had died.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again where it was, with its data.
    pub async fn start_again(&mut self) {
        self.process = spawn(&self.directory, self.client, self.peer);
        self.until_ready().await;
    }

    async fn until_ready(&mut self) {
        until("etcd listens", CEILING, || {
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none(), "etcd has ended: {}", self.log());
            let listens = TcpStream::connect(self.client).is_ok();
            async move { listens.then_some(()) }
        })
        .await;
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(directory: &TempDir, client: SocketAddr, peer: SocketAddr) -> Child {
    let log = File::options().create(true).append(true).open(directory.path().join("log")).unwrap();
    let (client, peer) = (format!("http://{client}"), format!("http://{peer}"));
    let process = Command::new("etcd")
        .args(["--name", "one", "--data-dir"])
        .arg(directory.path().join("data"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("one={peer}"), "--logger", "zap", "--log-level", "warn"])
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap_or_default())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn();
    process.unwrap_or_else(|error| panic!("etcd cannot be started ({error}): `make setup` installs it"))
}
