use std::time::SystemTime;

use async_trait::async_trait;
use polarway_common::ManualClock;

use super::*;
use crate::embedded::EmbeddedMetaStore;
use crate::store::{Snapshot, Versioned, WatchStream};
use crate::txn::{Txn, TxnOutcome};

const PATIENCE: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(600);

/// A store that the network has cut off, except for what it has promised already.
#[derive(Debug)]
struct CutOff(EmbeddedMetaStore);

impl CutOff {
    async fn nothing<T>(&self) -> Result<T> {
        std::future::pending().await
    }
}

#[async_trait]
impl MetaStore for CutOff {
    async fn get(&self, _: &str) -> Result<Option<Versioned>> {
        self.nothing().await
    }

    async fn list(&self, _: &str) -> Result<Snapshot> {
        self.nothing().await
    }

    async fn txn(&self, _: Txn) -> Result<TxnOutcome> {
        self.nothing().await
    }

    async fn watch(&self, _: &str, _: u64) -> Result<WatchStream> {
        self.nothing().await
    }

    async fn revision(&self) -> Result<u64> {
        self.nothing().await
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease> {
        self.0.grant(ttl).await
    }

    async fn keep_alive(&self, _: LeaseId) -> Result<()> {
        self.nothing().await
    }

    async fn revoke(&self, _: LeaseId) -> Result<()> {
        self.nothing().await
    }
}

async fn hold(store: Arc<dyn MetaStore>, ttl: Duration, clock: Arc<dyn Clock>) -> (LeaseKeeper, Supervisor) {
    let supervisor = Supervisor::new();
    (LeaseKeeper::start(store, ttl, clock, &supervisor, "lease").await.unwrap(), supervisor)
}

fn embedded() -> Arc<EmbeddedMetaStore> {
    Arc::new(EmbeddedMetaStore::in_memory().unwrap())
}

fn system() -> Arc<dyn Clock> {
    Arc::new(polarway_common::SystemClock)
}

#[tokio::test]
async fn a_holder_that_is_cut_off_gives_up() {
    let store = Arc::new(CutOff(EmbeddedMetaStore::in_memory().unwrap()));
    let (keeper, supervisor) = hold(store, Duration::from_millis(400), system()).await;
    assert_eq!(timeout(PATIENCE, keeper.lost()).await.unwrap(), Lost::Unproven);
    assert!(!keeper.is_held());
    supervisor.shutdown(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_holder_that_stood_still_knows_it_before_its_task_does() {
    let clock = Arc::new(ManualClock::new(SystemTime::UNIX_EPOCH));
    let (keeper, _supervisor) = hold(embedded(), LONG, Arc::clone(&clock) as _).await;
    assert!(keeper.is_held());
    clock.advance(LONG - LONG / 8);
    // The task still sleeps.
    assert!(!keeper.is_held());
    assert_eq!(*keeper.watch().borrow(), None);
}

#[tokio::test]
async fn a_dropped_keeper_and_a_stopped_supervisor_give_up() {
    let store = embedded();
    for stop in [true, false] {
        let (keeper, supervisor) = hold(Arc::clone(&store) as _, LONG, system()).await;
        store.txn(Txn::new().put_leased("a", "1", keeper.lease())).await.unwrap();
        let mut lost = keeper.watch();
        if stop {
            supervisor.shutdown(PATIENCE).await.unwrap();
            assert!(!keeper.is_held());
        } else {
            drop(keeper);
        }
        assert_eq!(*lost.wait_for(Option::is_some).await.unwrap(), Some(Lost::Released));
        supervisor.shutdown(PATIENCE).await.unwrap();
        assert_eq!(store.get("a").await.unwrap(), None);
    }
}
