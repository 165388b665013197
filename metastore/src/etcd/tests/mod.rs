mod access;
mod limits;
mod membership;
mod outages;
mod proxy;
mod server;
mod watches;

use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;

use self::proxy::Proxy;
use self::server::{Cluster, Options};
use super::*;
use crate::conformance::{Failure, Outcome, contention, leases, resumption, watches as watch_cases};
use crate::patience::Patience;
use crate::store::{Event, EventKind};
use crate::txn::Expect;

const PATIENCE: Duration = Duration::from_secs(60);

mod conformance {
    use super::*;

    async fn new_store() -> (Arc<dyn MetaStore>, Cluster) {
        let cluster = Cluster::start(1).await;
        (Arc::new(connect(&cluster.urls()).await), cluster)
    }

    crate::conformance_tests!(new_store);
}

fn config(endpoints: &[String]) -> EtcdConfig {
    EtcdConfig { endpoints: endpoints.to_vec(), ..EtcdConfig::default() }
}

async fn connect(endpoints: &[String]) -> EtcdMetaStore {
    // A busy machine takes its time.
    let patience = Patience { deadline: PATIENCE, retry_for: PATIENCE / 2 };
    EtcdMetaStore::connect(&EtcdConfig { patience, ..config(endpoints) }).await.unwrap()
}

async fn put(store: &dyn MetaStore, key: &str, value: impl Into<bytes::Bytes>) -> u64 {
    store.txn(Txn::new().put(key, value)).await.unwrap().committed().unwrap()
}

/// Makes etcd forget what was before `revision`.
async fn compact(cluster: &Cluster, revision: u64) {
    let mut client = cluster.members[0].client().await;
    client.compact(revision.cast_signed(), None).await.unwrap();
}

async fn next(events: &mut WatchStream) -> Option<Result<Event>> {
    tokio::time::timeout(PATIENCE, events.next()).await.expect("no event arrived")
}
