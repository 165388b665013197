//! Transactions of which it is not known whether they took place.

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::error::{MetaStoreError, Result};
use crate::lease::Lease;
use crate::store::{Snapshot, Versioned, WatchStream};
use crate::txn::{Txn, TxnOutcome};

/// Does not tell of the next transactions whether they took place; which of them do is set.
#[derive(Debug)]
struct Unsure {
    inner: Arc<EmbeddedMetaStore>,
    next: Mutex<VecDeque<bool>>,
}

impl Unsure {
    fn new() -> Arc<Self> {
        Arc::new(Self { inner: embedded(), next: Mutex::default() })
    }

    fn set(&self, next: &[bool]) {
        self.next.lock().unwrap().extend(next);
    }
}

#[async_trait]
impl MetaStore for Unsure {
    async fn get(&self, key: &str) -> Result<Option<Versioned>> {
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Snapshot> {
        self.inner.list(prefix).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        let takes_place = self.next.lock().unwrap().pop_front();
        if takes_place != Some(false) {
            let outcome = self.inner.txn(txn).await;
            if takes_place.is_none() {
                return outcome;
            }
        }
        Err(MetaStoreError::OutcomeUnknown { place: "here".into(), detail: "it is a test".into() })
    }

    async fn watch(&self, prefix: &str, after_revision: u64) -> Result<WatchStream> {
        self.inner.watch(prefix, after_revision).await
    }

    async fn revision(&self) -> Result<u64> {
        self.inner.revision().await
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease> {
        self.inner.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<()> {
        self.inner.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.inner.revoke(lease).await
    }
}

const CASES: [&[bool]; 4] = [&[true], &[false], &[true, true], &[false, true, false]];

#[tokio::test]
async fn a_process_finds_its_own_entry() {
    for case in CASES {
        let (store, supervisor) = (Unsure::new(), Supervisor::new());
        store.set(case);
        let registration = register(Arc::clone(&store) as _, member("a"), LONG, &supervisor).await.unwrap();
        // The leases of the attempts before end, and nothing of it with them.
        while supervisor.running().len() > 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (_, revision) = held(*registration.status().borrow());
        assert_eq!(store.get("member/a").await.unwrap().unwrap().revision, revision, "{case:?}");
        supervisor.shutdown(PATIENCE).await.unwrap();
        assert_eq!(store.get("member/a").await.unwrap(), None);
    }
}

#[tokio::test]
async fn an_update_takes_place_once() {
    for case in CASES {
        let (store, supervisor) = (Unsure::new(), Supervisor::new());
        let registration = register(Arc::clone(&store) as _, member("a"), LONG, &supervisor).await.unwrap();
        let (lease, before) = held(*registration.status().borrow());
        store.set(case);
        let revision = registration.update(|member| member.slots += 1).await.unwrap();
        assert_eq!(revision, before + 1, "{case:?}");
        assert_eq!(held(*registration.status().borrow()), (lease, revision));
        let found = store.get("member/a").await.unwrap().unwrap();
        assert_eq!(found.revision, revision);
        assert_eq!(Member::decode("member/a", &found.value).unwrap().slots, 5);
    }
}
