//! Queries that clients lease: a text under a lease of the metadata store, so that any scheduler can plan it and nobody has
//! to clear it away.

use std::sync::Arc;
use std::time::Duration;

use polarway_common::{Caller, Error, ErrorKind};
use polarway_metastore::{Expect, Key, LeaseId, MetaStore, MetaStoreError, Precondition, Txn, Write};
use polarway_storage::catalog::ManagedDefinition;
use serde::{Deserialize, Serialize};

/// How long a handle may last without being renewed.
const SHORTEST: Duration = Duration::from_secs(1);
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A longer text is no handle: the store takes small values only.
const LONGEST_TEXT: usize = 256 << 10;

/// See the module's page.
#[derive(Debug, Clone)]
pub struct Handles(Arc<dyn MetaStore>);

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    /// Who made it, as [`Caller::owner`]; empty where callers are not told apart.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    owner: String,
    /// Empty for rows that were sent.
    sql: String,
    lease: u64,
    ttl_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    table: Option<ManagedDefinition>,
}

/// What stands behind a handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leased {
    Query(String),
    /// Rows that a client has sent.
    Table(ManagedDefinition),
}

impl Handles {
    pub fn new(meta: Arc<dyn MetaStore>) -> Self {
        Self(meta)
    }

    /// Leases a query for `owner` for so long, or as near to it as is possible; gives the handle's id and how long it lasts.
    ///
    /// # Errors
    /// `Unsupported` for a text that is too long; those of the metadata store.
    pub async fn create(&self, owner: &str, sql: String, ttl: Duration) -> Result<(String, Duration), Error> {
        if sql.len() > LONGEST_TEXT {
            let told =
                format!("a handle's query has at most {LONGEST_TEXT} bytes; this one has {}", sql.len());
            return Err(Error::new(ErrorKind::Unsupported, told));
        }
        let id = format!("h_{}", uuid::Uuid::new_v4().simple());
        let (write, ttl) = self.lease(owner, &id, sql, None, ttl).await?;
        self.0.txn(Txn { preconditions: vec![], writes: vec![write] }).await?;
        Ok((id, ttl))
    }

    /// What stands behind a handle of `owner`.
    ///
    /// # Errors
    /// `NotFound` if its lease has ended, there never was one, or it is somebody else's; those of the metadata store.
    pub async fn leased(&self, owner: &str, id: &str) -> Result<Leased, Error> {
        let Stored { sql, table, .. } = self.found(|by| by == owner, id).await?;
        Ok(table.map_or(Leased::Query(sql), Leased::Table))
    }

    /// Whether there is a handle of this id, whoever has made it.
    ///
    /// # Errors
    /// As [`Handles::leased`].
    pub async fn holds(&self, id: &str) -> Result<(), Error> {
        self.found(|_| true, id).await.map(drop)
    }

    /// What has to hold and is written for a table to be leased as the handle `id` of `owner`.
    ///
    /// # Errors
    /// `InvalidSetting` for an id that is none; those of the metadata store.
    pub async fn lease_table(
        &self,
        owner: &str,
        id: &str,
        table: &ManagedDefinition,
        ttl: Duration,
    ) -> Result<(Precondition, Write), Error> {
        let digits = id.strip_prefix("h_").unwrap_or_default();
        if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::new(ErrorKind::InvalidSetting, format!("`{id}` is no name of a handle")));
        }
        let (write, _) = self.lease(owner, id, String::new(), Some(table.clone()), ttl).await?;
        Ok((Precondition { key: key(id), expect: Expect::Absent }, write))
    }

    /// The entry of a handle under a new lease, and how long that lasts.
    async fn lease(
        &self,
        owner: &str,
        id: &str,
        sql: String,
        table: Option<ManagedDefinition>,
        ttl: Duration,
    ) -> Result<(Write, Duration), Error> {
        let lease = self.0.grant(ttl.clamp(SHORTEST, LONGEST)).await?;
        let ttl_ms = u64::try_from(lease.ttl.as_millis()).unwrap_or(u64::MAX);
        let value = serde_json::to_vec(&Stored {
            owner: owner.to_owned(),
            sql,
            lease: lease.id.get(),
            ttl_ms,
            table,
        })
        .map_err(|error| Error::internal(format!("a handle cannot be written: {error}")))?;
        Ok((Write::PutLeased { key: key(id), value: value.into(), lease: lease.id }, lease.ttl))
    }

    /// Lets the lease begin anew; gives how long it lasts.
    ///
    /// # Errors
    /// As [`Handles::leased`]: a lease that has ended does not come back.
    pub async fn renew(&self, caller: &Caller, id: &str) -> Result<Duration, Error> {
        let stored = self.found(|owner| caller.may_touch(owner), id).await?;
        match self.0.keep_alive(LeaseId::new(stored.lease)).await {
            Ok(()) => Ok(Duration::from_millis(stored.ttl_ms)),
            Err(MetaStoreError::LeaseNotFound { .. }) => Err(not_found(id)),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the lease. One that has ended is no failure.
    ///
    /// # Errors
    /// Those of the metadata store.
    pub async fn close(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        let stored = match self.found(|owner| caller.may_touch(owner), id).await {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
            stored => stored?,
        };
        match self.0.revoke(LeaseId::new(stored.lease)).await {
            Ok(()) | Err(MetaStoreError::LeaseNotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn found(&self, may: impl Fn(&str) -> bool, id: &str) -> Result<Stored, Error> {
        let found = self.0.get(&key(id)).await?.ok_or_else(|| not_found(id))?;
        let stored: Stored = serde_json::from_slice(&found.value)
            .map_err(|error| Error::internal(format!("the handle `{id}` cannot be read: {error}")))?;
        // That somebody else has it is nobody's business.
        if may(&stored.owner) { Ok(stored) } else { Err(not_found(id)) }
    }
}

fn key(id: &str) -> String {
    Key::Handle { id: id.to_owned() }.encode()
}

fn not_found(id: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no handle `{id}`, or its lease has ended"))
        .with_hint("make it again; a handle lasts as long as its client renews it")
}

#[cfg(test)]
mod tests {
    use polarway_metastore::EmbeddedMetaStore;

    use polarway_common::{Namespace, Role};

    use super::*;

    #[tokio::test]
    async fn row_42_a_handle_lasts_until_it_is_closed_and_is_not_revived() {
        let handles = Handles::new(Arc::new(EmbeddedMetaStore::in_memory().unwrap()));
        let anyone = Caller::anyone();
        let (id, ttl) = handles.create("", "select 1".into(), Duration::from_secs(60)).await.unwrap();
        assert_eq!(ttl, Duration::from_secs(60));
        assert_eq!(handles.leased("", &id).await.unwrap(), Leased::Query("select 1".into()));
        assert_eq!(handles.renew(&anyone, &id).await.unwrap(), ttl);
        handles.close(&anyone, &id).await.unwrap();
        handles.close(&anyone, &id).await.unwrap();
        assert_eq!(handles.leased("", &id).await.unwrap_err().kind, ErrorKind::NotFound);
        assert_eq!(handles.renew(&anyone, &id).await.unwrap_err().kind, ErrorKind::NotFound);
        assert_eq!(handles.renew(&anyone, "../x").await.unwrap_err().kind, ErrorKind::NotFound);
        let (_, shortest) = handles.create("", "select 1".into(), Duration::ZERO).await.unwrap();
        assert_eq!(shortest, SHORTEST);
        let long = handles.create("", "x".repeat(LONGEST_TEXT + 1), Duration::from_secs(1)).await;
        assert_eq!(long.unwrap_err().kind, ErrorKind::Unsupported);
    }

    #[tokio::test]
    async fn row_47_another_ones_handle_is_not_there() {
        let handles = Handles::new(Arc::new(EmbeddedMetaStore::in_memory().unwrap()));
        let (ana, bob) = (Caller::new("ana", Role::Write), Caller::new("bob", Role::Write));
        let (id, ttl) = handles.create("ana", "select 1".into(), Duration::from_secs(60)).await.unwrap();
        assert_eq!(handles.leased("bob", &id).await.unwrap_err().kind, ErrorKind::NotFound);
        assert_eq!(handles.renew(&bob, &id).await.unwrap_err().kind, ErrorKind::NotFound);
        handles.close(&bob, &id).await.unwrap();
        assert_eq!(handles.leased("ana", &id).await.unwrap(), Leased::Query("select 1".into()));
        assert_eq!(handles.renew(&ana, &id).await.unwrap(), ttl);
        // Administrators of other namespaces are others, too, and so is whoever has the name there.
        let acme = |name: &'static str, role| Caller::new(name, role).of(Namespace::parse("acme").unwrap());
        for other in [acme("root", Role::Admin), acme("ana", Role::Write)] {
            assert_eq!(handles.leased(other.owner(), &id).await.unwrap_err().kind, ErrorKind::NotFound);
            assert_eq!(handles.renew(&other, &id).await.unwrap_err().kind, ErrorKind::NotFound);
            handles.close(&other, &id).await.unwrap();
        }
        assert_eq!(handles.renew(&ana, &id).await.unwrap(), ttl);
        handles.close(&Caller::new("root", Role::Admin), &id).await.unwrap();
        assert_eq!(handles.leased("ana", &id).await.unwrap_err().kind, ErrorKind::NotFound);
    }
}
