//! Statements that are carried out whatever becomes of their client, and of the scheduler that took them.
//!
//! A job is a record of the metadata store, written before its client is answered. A scheduler owns it as long as it is a
//! member of the cluster; when it is gone another one takes the record over and begins again, as the next attempt. Whoever
//! writes the outcome has the record's revision as a precondition, so that there is one outcome. The rows of a query are a
//! table under a handle's lease; statements that change something carry an idempotency key of the job's, so that they are
//! carried out once however many attempts there are.

mod drive;
mod parameters;
mod record;

use futures::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use polarway_common::clock::unix_millis;
use polarway_common::{Caller, Error, ErrorKind, Supervisor};
use polarway_metastore::membership::{Members, Role};
use polarway_metastore::{Expect, Key, MetaStore, Precondition, Write};
use polarway_proto::job::{JobInfo, SubmitJob};
use polarway_proto::progress::QueryState;
use polarway_storage::catalog::{Once, OnceOutcome, commit_once};
use tokio::sync::Semaphore;

use self::record::{Found, JobRecord};
use crate::handles::LONGEST;
use crate::service::{QueryService, Request};

pub use drive::take_over;

/// Outcomes are kept at least so long, and at most as long as the handles that their rows are under.
const SHORTEST: Duration = Duration::from_secs(10);
/// Jobs that one scheduler has at a time, of which those that wait for their turn take little.
const MOST: usize = 1000;
/// A longer text is no job: the store takes small values only.
const LONGEST_TEXT: usize = 256 << 10;

/// The jobs of this process, and how it reaches those of others.
#[derive(Debug, Clone)]
pub struct Submissions {
    meta: Arc<dyn MetaStore>,
    /// This process, by its incarnation.
    owner: String,
    members: Members,
    places: Arc<Semaphore>,
    tasks: Supervisor,
    /// Jobs of schedulers that are gone, which this one has begun anew. Clones count together.
    pub taken_over: Arc<AtomicU64>,
}

impl Submissions {
    pub fn new(meta: Arc<dyn MetaStore>, owner: &str, members: Members, tasks: Supervisor) -> Self {
        Self {
            meta,
            owner: owner.to_owned(),
            members,
            places: Arc::new(Semaphore::new(MOST)),
            tasks,
            taken_over: Arc::default(),
        }
    }

    fn key(id: &str) -> String {
        Key::Submission { id: id.to_owned() }.encode()
    }

    /// The job of this id, unless it is somebody else's.
    async fn find(&self, caller: &Caller, id: &str) -> Result<Found, Error> {
        let found = self.meta.get(&Self::key(id)).await?.ok_or_else(|| not_found(id))?;
        let found = Found::read(id, &found)?;
        if caller.may_touch(found.record.caller().owner()) { Ok(found) } else { Err(not_found(id)) }
    }

    /// Whether somebody carries the job out.
    fn is_at_work(&self, record: &JobRecord) -> bool {
        record.owner == self.owner
            || self.members.current().of(Role::Scheduler).any(|member| member.incarnation == record.owner)
    }
}

impl QueryService {
    /// Takes a statement; gives the job's id.
    ///
    /// # Errors
    /// Those of parsing it and of binding its parameters; `InvalidSetting` for a key that is none or another statement's;
    /// `Overloaded`; `Unsupported` for a text that is too long; those of the metadata store.
    pub fn submit<'a>(
        self: &'a Arc<Self>,
        request: &'a Request,
        submitted: SubmitJob,
    ) -> BoxFuture<'a, Result<String, Error>> {
        Box::pin(async move {
            self.refuse_while_draining()?;
            let SubmitJob { sql, parameters, key, keep_ms } = submitted;
            let sql = parameters::bound(sql, parameters.as_deref(), &request.settings)?;
            let request = &Request { sql, ..request.clone() };
            if request.sql.len() > LONGEST_TEXT {
                let told = format!(
                    "a statement that is submitted has at most {LONGEST_TEXT} bytes; this one has {}",
                    request.sql.len()
                );
                return Err(Error::new(ErrorKind::Unsupported, told));
            }
            // What cannot be parsed is refused at once.
            self.parse(request)?;
            let jobs = &self.submissions;
            let place = Arc::clone(&jobs.places).try_acquire_owned().map_err(|_| {
                Error::new(ErrorKind::Overloaded, format!("this scheduler has {MOST} jobs already"))
                    .with_retry_after(Duration::from_secs(1))
            })?;
            let id = format!("j_{}", uuid::Uuid::new_v4().simple());
            let keep = Duration::from_millis(keep_ms).clamp(SHORTEST, LONGEST);
            let record = JobRecord {
                owner: jobs.owner.clone(),
                attempt: 1,
                user: request.caller.name().to_owned(),
                role: request.caller.role(),
                namespace: request.caller.namespace().clone(),
                sql: request.sql.clone(),
                settings: request.settings.clone(),
                now_micros: request.now.timestamp_micros(),
                keep_ms: u64::try_from(keep.as_millis()).unwrap_or(u64::MAX),
                submitted_at: unix_millis(SystemTime::now()),
                state: QueryState::Queued,
                ended_at: None,
                error: None,
                outcome: None,
            };
            let once =
                Once::new(&key, &request.sql)?.of_caller(request.caller.owner()).with_outcome(id.clone());
            let key = Submissions::key(&id);
            let absent = Precondition { key: key.clone(), expect: Expect::Absent };
            let put = Write::Put { key, value: record.encode()? };
            let revision = match commit_once(jobs.meta.as_ref(), vec![absent], vec![put], Some(&once)).await?
            {
                OnceOutcome::Made { revision } => revision,
                OnceOutcome::MadeBefore(id) => return Ok(id),
                OnceOutcome::Conflict { .. } => return Err(Error::internal("two jobs have one name")),
                OnceOutcome::Unknown(error) => return Err(error),
            };
            self.begin(Found { id: id.clone(), revision, record }, place);
            Ok(id)
        })
    }

    /// What is known of a job.
    ///
    /// # Errors
    /// `NotFound` once it is not kept any more; those of the metadata store.
    pub fn job<'a>(&'a self, caller: &'a Caller, id: &'a str) -> BoxFuture<'a, Result<JobInfo, Error>> {
        Box::pin(async move {
            let Found { record, .. } = self.submissions.find(caller, id).await?;
            let progress = match record.is_over() {
                true => None,
                false => self.progress(caller, &query_of(id, record.attempt)).await,
            };
            let mut info = record.into_info(id);
            if info.state == QueryState::Running
                && progress.as_ref().is_some_and(|now| now.state == QueryState::Queued)
            {
                info.state = QueryState::Queued;
            }
            info.progress = progress;
            Ok(info)
        })
    }

    /// Ends a job; false if it had ended before.
    ///
    /// # Errors
    /// As [`QueryService::job`].
    pub fn cancel_job<'a>(&'a self, caller: &'a Caller, id: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let jobs = &self.submissions;
            loop {
                let found = jobs.find(caller, id).await?;
                if found.record.is_over() {
                    return Ok(false);
                }
                let mut record = found.record.clone();
                record.state = QueryState::Cancelled;
                record.ended_at = Some(unix_millis(SystemTime::now()));
                // Whoever carries it out sees that, and stops.
                if jobs.end(&found, record).await? {
                    self.queries.cancel(caller, &query_of(id, found.record.attempt));
                    return Ok(true);
                }
            }
        })
    }
}

/// The query that an attempt of a job is.
fn query_of(id: &str, attempt: u32) -> String {
    format!("{id}-{attempt}")
}

fn not_found(id: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no job `{id}`, or it is not kept any more"))
        .with_hint("outcomes are kept for as long as was asked for when the job was submitted")
}
