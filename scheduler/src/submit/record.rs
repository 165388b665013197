//! What the metadata store has of a job.

use std::time::Duration;

use bytes::Bytes;
use polarway_common::{Caller, Error, Namespace, Role};
use polarway_engine::settings::Settings;
use polarway_metastore::{Expect, Txn, Versioned};
use polarway_proto::job::{JobError, JobInfo, JobOutcome};
use polarway_proto::progress::QueryState;
use serde::{Deserialize, Serialize};

use super::Submissions;

/// A statement and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// The scheduler that carries it out, by its incarnation.
    pub owner: String,
    /// Counts the schedulers that have had it.
    pub attempt: u32,
    /// Who submitted it, and as what: the job outlives the token. Empty where callers are not told apart.
    #[serde(default)]
    pub user: String,
    #[serde(default = "any_role")]
    pub role: Role,
    #[serde(default)]
    pub namespace: Namespace,
    pub sql: String,
    pub settings: Settings,
    /// What `now()` is, microseconds since 1970.
    pub now_micros: i64,
    pub keep_ms: u64,
    pub submitted_at: u64,
    pub state: QueryState,
    pub ended_at: Option<u64>,
    pub error: Option<JobError>,
    pub outcome: Option<JobOutcome>,
}

/// A record as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub id: String,
    pub revision: u64,
    pub record: JobRecord,
}

/// That of records from before there were roles.
fn any_role() -> Role {
    Role::Admin
}

impl JobRecord {
    pub fn caller(&self) -> Caller {
        Caller::new(self.user.as_str(), self.role).of(self.namespace.clone())
    }

    pub fn is_over(&self) -> bool {
        !matches!(self.state, QueryState::Queued | QueryState::Running)
    }

    pub fn keep(&self) -> Duration {
        Duration::from_millis(self.keep_ms)
    }

    pub fn encode(&self) -> Result<Bytes, Error> {
        let value = serde_json::to_vec(self);
        value.map(Bytes::from).map_err(|error| Error::internal(format!("a job cannot be written: {error}")))
    }

    pub fn into_info(self, id: &str) -> JobInfo {
        JobInfo {
            id: id.to_owned(),
            sql: self.sql,
            state: self.state,
            attempt: self.attempt,
            submitted_at: self.submitted_at,
            ended_at: self.ended_at,
            error: self.error,
            outcome: self.outcome,
            progress: None,
        }
    }
}

impl Found {
    pub fn read(id: &str, found: &Versioned) -> Result<Self, Error> {
        let record = serde_json::from_slice(&found.value)
            .map_err(|error| Error::internal(format!("the job `{id}` cannot be read: {error}")))?;
        Ok(Self { id: id.to_owned(), revision: found.revision, record })
    }
}

impl Submissions {
    /// Writes a record in place of `found`; the revision, or none if somebody else has changed it.
    pub(super) async fn change(&self, found: &Found, record: &JobRecord) -> Result<Option<u64>, Error> {
        let key = Self::key(&found.id);
        let txn = Txn::new().expect(&key, Expect::Revision(found.revision)).put(&key, record.encode()?);
        Ok(self.meta.txn(txn).await?.committed())
    }

    /// The same of a record that is over: it goes when it has been kept for its time.
    pub(super) async fn end(&self, found: &Found, record: JobRecord) -> Result<bool, Error> {
        let key = Self::key(&found.id);
        let lease = self.meta.grant(record.keep()).await?.id;
        let txn = Txn::new().expect(&key, Expect::Revision(found.revision)).put_leased(
            &key,
            record.encode()?,
            lease,
        );
        Ok(self.meta.txn(txn).await?.committed().is_some())
    }
}
