//! A store whose requests have spans, where they are made for something that is traced.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use polarway_common::trace::{TARGET, is_traced, is_wanted};
use tracing::{Instrument, debug_span, field};

use crate::error::Result;
use crate::lease::{Lease, LeaseId};
use crate::store::{MetaStore, Snapshot, Versioned, WatchStream};
use crate::txn::{Txn, TxnOutcome, Write};

/// See the module's page. What a watch tells later is part of nothing.
#[derive(Debug)]
pub struct TracedMetaStore(Arc<dyn MetaStore>);

impl TracedMetaStore {
    pub fn over(store: Arc<dyn MetaStore>) -> Arc<dyn MetaStore> {
        Arc::new(Self(store))
    }
}

/// The part of a key that says what it is of, and holds no name.
fn kind(key: &str) -> &str {
    key.split_once('/').map_or("", |(kind, _)| kind)
}

/// The key that tells most of a transaction.
fn first_key(txn: &Txn) -> &str {
    let written = txn.writes.first().map(Write::key);
    written.or_else(|| txn.preconditions.first().map(|condition| condition.key.as_str())).unwrap_or_default()
}

async fn traced<T>(
    request: &'static str,
    key: &str,
    work: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    if !is_wanted() {
        return work.await;
    }
    let span = debug_span!(
        target: TARGET,
        "metadata",
        request,
        keys = kind(key),
        otel.kind = "client",
        otel.status_code = field::Empty,
    );
    let done = work.instrument(span.clone()).await;
    if done.is_err() {
        span.record("otel.status_code", "ERROR");
    }
    done
}

#[async_trait]
impl MetaStore for TracedMetaStore {
    async fn get(&self, key: &str) -> Result<Option<Versioned>> {
        traced("get", key, self.0.get(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Snapshot> {
        traced("list", prefix, self.0.list(prefix)).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        // A copy: the transaction itself goes on its way.
        let key = if is_traced() { first_key(&txn).to_owned() } else { String::new() };
        traced("txn", &key, self.0.txn(txn)).await
    }

    async fn watch(&self, prefix: &str, after_revision: u64) -> Result<WatchStream> {
        traced("watch", prefix, self.0.watch(prefix, after_revision)).await
    }

    async fn revision(&self) -> Result<u64> {
        traced("revision", "", self.0.revision()).await
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease> {
        traced("grant", "", self.0.grant(ttl)).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<()> {
        traced("keep_alive", "", self.0.keep_alive(lease)).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        traced("revoke", "", self.0.revoke(lease)).await
    }
}
