//! etcd as a [`MetaStore`], and the only place that knows it.
//!
//! What the contract asks for and etcd does not give by itself: the name of the precondition that failed (`txn`), lists
//! that are longer than an answer (`list`), watches that survive their connection (`watch`, `position`), a limit for
//! each call and the next member's turn (`connection`, `members`), and errors by what is known of the call (`fault`).

mod config;
mod connection;
mod fault;
mod list;
mod members;
mod position;
mod space;
mod txn;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use self::config::{Credentials, EtcdConfig, EtcdLimits, Password, TlsFiles};
use self::connection::{Client, Connection, Failed};
use crate::error::{MetaStoreError, Result};
use crate::lease::{LONGEST_TTL, Lease, LeaseId};
use crate::store::{MetaStore, Snapshot, Versioned, WatchStream};
use crate::txn::{Txn, TxnOutcome, Write};

/// A [`MetaStore`] that etcd holds, version 3.4 or later. Clones share the connections.
///
/// Reads, and what concerns leases, are sent again, to another member if there is one, when a member does not answer. A
/// transaction is sent again only if it is certain that it did not take place; otherwise the error is
/// [`MetaStoreError::OutcomeUnknown`]. A watch goes on when its connection breaks, and misses nothing; it ends with
/// [`MetaStoreError::Unavailable`] if no member answers as long as the patience lasts, and may be opened again after the
/// last revision that was seen as a whole.
#[derive(Debug, Clone)]
pub struct EtcdMetaStore {
    connection: Arc<Connection>,
}

impl EtcdMetaStore {
    /// Connects, and asks for the revision, so that what is wrong with the settings is known now.
    ///
    /// # Errors
    /// [`MetaStoreError::InvalidConfig`] for settings that contradict each other or files that cannot be read,
    /// [`MetaStoreError::NotAllowed`] if etcd refuses the credentials, [`MetaStoreError::Unavailable`] if no member
    /// answers.
    pub async fn connect(config: &EtcdConfig) -> Result<Self> {
        let store = Self { connection: Arc::new(Connection::new(config)?) };
        store.revision().await?;
        Ok(store)
    }
}

#[async_trait]
impl MetaStore for EtcdMetaStore {
    async fn get(&self, key: &str) -> Result<Option<Versioned>> {
        list::get(&self.connection, key).await
    }

    async fn list(&self, prefix: &str) -> Result<Snapshot> {
        list::list(&self.connection, prefix).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        let connection = &self.connection;
        txn.check()?;
        if txn.preconditions.is_empty() && txn.writes.is_empty() {
            return Ok(TxnOutcome::Committed { revision: self.revision().await? });
        }
        txn::check(&connection.space, connection.limits, &txn)?;
        // To etcd it would mean none.
        if let Some(lease) = txn.writes.iter().filter_map(Write::lease).find(|lease| lease.get() == 0) {
            return Err(MetaStoreError::LeaseNotFound { lease });
        }
        let send = |client: Client| {
            let txn = &txn;
            async move {
                let sent = client.kv().txn(txn::request(&connection.space, txn)).await;
                match sent {
                    Ok(answer) => Ok(answer),
                    Err(error) => Err(refusal(connection, &client, txn, error).await),
                }
            }
        };
        let answer = connection.change(send).await?;
        txn::outcome(&connection.place, txn, &answer)
    }

    async fn watch(&self, prefix: &str, after_revision: u64) -> Result<WatchStream> {
        watch::watch(Arc::clone(&self.connection), prefix, after_revision).await
    }

    async fn revision(&self) -> Result<u64> {
        list::now(&self.connection).await
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease> {
        let ttl = ttl.min(LONGEST_TTL);
        // etcd counts whole seconds, and none fewer than its elections take.
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let grant = |client: Client| async move {
            client.lease().grant(seconds.max(1).cast_signed(), None).await.map_err(Failed::Etcd)
        };
        let granted = self.connection.ask(grant).await?;
        let (id, seconds) = (granted.id().cast_unsigned(), granted.ttl().unsigned_abs());
        Ok(Lease { id: LeaseId::new(id), ttl: Duration::from_secs(seconds) })
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<()> {
        let keep_alive = |client: Client| async move {
            match client.lease().keep_alive(lease.get().cast_signed()).await {
                Ok(_) => Ok(()),
                Err(error) if fault::is_lease_not_found(&error) => {
                    Err(MetaStoreError::LeaseNotFound { lease }.into())
                }
                Err(error) => Err(Failed::Etcd(error)),
            }
        };
        self.connection.ask(keep_alive).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        let revoke = |client: Client| async move {
            match client.lease().revoke(lease.get().cast_signed()).await {
                Ok(_) => Ok(()),
                Err(error) if fault::is_lease_not_found(&error) => Ok(()),
                Err(error) => Err(Failed::Etcd(error)),
            }
        };
        self.connection.ask(revoke).await
    }
}

/// What a transaction's error is to its caller, where that takes the transaction to know.
async fn refusal(connection: &Connection, client: &Client, txn: &Txn, error: etcd_client::Error) -> Failed {
    if fault::is_lease_not_found(&error) {
        let leases: BTreeSet<_> = txn.writes.iter().filter_map(Write::lease).collect();
        return match ended(client, &leases).await {
            Some(lease) => MetaStoreError::LeaseNotFound { lease }.into(),
            None => Failed::Etcd(error),
        };
    }
    if fault::is_request_too_large(&error) {
        let bytes = txn::request_bytes(&connection.space, txn) as u64;
        // etcd does not say its limit, which is lower than we were told.
        return MetaStoreError::TooLarge { bytes, limit: bytes.saturating_sub(1) }.into();
    }
    if fault::is_too_many_operations(&error) {
        let count = txn.preconditions.len().max(txn.writes.len()) as u64;
        return MetaStoreError::TooManyOperations { count, limit: count.saturating_sub(1) }.into();
    }
    Failed::Etcd(error)
}

/// The one that has ended: etcd does not say which, and it matters only if there are several.
async fn ended(client: &Client, leases: &BTreeSet<LeaseId>) -> Option<LeaseId> {
    if leases.len() > 1 {
        for lease in leases {
            let left = client.lease().time_to_live(lease.get().cast_signed(), None).await;
            if left.is_ok_and(|left| left.ttl() <= 0) {
                return Some(*lease);
            }
        }
    }
    leases.first().copied()
}
