mod answers;
mod identity;
mod leases;
mod outages;
mod watches;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::*;
use crate::embedded::{EmbeddedMetaStore, HistoryLimit};
use crate::error::{MetaStoreError, Result};
use crate::lease::{Lease, LeaseId};
use crate::store::{MetaStore, Snapshot, Versioned, WatchStream};
use crate::txn::{Expect, Txn, TxnOutcome};
use polarway_identity::Credential;

mod conformance {
    use super::*;

    async fn new_store() -> (Arc<dyn MetaStore>, ()) {
        (serve(Arc::new(EmbeddedMetaStore::in_memory().unwrap()), Rights::all()).await, ())
    }

    crate::conformance_tests!(new_store);
}

const PATIENCE: Duration = Duration::from_secs(30);

const BRIEF: Patience =
    Patience { deadline: Duration::from_millis(800), retry_for: Duration::from_millis(300) };

fn embedded() -> Arc<EmbeddedMetaStore> {
    Arc::new(EmbeddedMetaStore::in_memory().unwrap())
}

fn remote(address: SocketAddr) -> RemoteMetaStore {
    remote_as(address, Credential::default())
}

fn remote_as(address: SocketAddr, credential: Credential) -> RemoteMetaStore {
    RemoteMetaStore::connect(&format!("http://{address}"), credential).unwrap()
}

/// A client of a server that ends with the test.
async fn serve(store: Arc<dyn MetaStore>, rights: Rights) -> Arc<RemoteMetaStore> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let door = MetaDoor::new(store, rights);
    tokio::spawn(Server::builder().add_service(door).serve_with_incoming(TcpIncoming::from(listener)));
    Arc::new(remote(address))
}

/// A server that can be killed with all its connections, as if its process had died.
struct Host {
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Host {
    fn start(address: &str, store: Arc<dyn MetaStore>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let started = Instant::now();
        let listener = {
            let _within = runtime.enter();
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            // A server that was killed gives up its port a little later.
            let address = address.parse().unwrap();
            while let Err(error) = socket.bind(address) {
                assert!(
                    error.kind() == std::io::ErrorKind::AddrInUse && started.elapsed() < PATIENCE,
                    "{error}"
                );
                std::thread::sleep(Duration::from_millis(5));
            }
            socket.listen(64).unwrap()
        };
        let address = listener.local_addr().unwrap();
        let door = MetaDoor::new(store, Rights::all());
        runtime.spawn(Server::builder().add_service(door).serve_with_incoming(TcpIncoming::from(listener)));
        Self { address, runtime: Some(runtime) }
    }

    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn put(store: &dyn MetaStore, key: &str, value: &str) -> u64 {
    store.txn(Txn::new().put(key, value.to_owned())).await.unwrap().committed().unwrap()
}
