//! Carries jobs out.

use futures::future::BoxFuture;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use chrono::DateTime;
use futures::StreamExt;
use polarway_common::clock::unix_millis;
use polarway_common::{Error, ErrorKind, TaskKind};
use polarway_metastore::{EventKind, Key, KeyPrefix};
use polarway_proto::handle::{HANDLE_SCHEMA, HandleColumn};
use polarway_proto::job::{JobError, JobOutcome};
use polarway_proto::progress::QueryState;
use polarway_storage::catalog::{ManagedDefinition, Once};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::record::{Found, JobRecord};
use super::{Submissions, query_of};
use crate::catalog::no_tables;
use crate::explain;
use crate::plan::Statement;
use crate::service::{QueryService, Request};
use crate::write::{How, Outcome, TableTarget, nullable};

const ROUND: Duration = Duration::from_secs(2);
/// How long a job's scheduler must have been away before another one takes the job: a member may be away for a moment.
const DESERTED: Duration = Duration::from_secs(4);
/// Between two tries to write an outcome down.
const PAUSE: Duration = Duration::from_millis(500);
/// A job that its schedulers do not survive is given up.
const MOST_ATTEMPTS: u32 = 5;

/// Takes jobs over whose scheduler is gone, until `stop`.
///
/// # Errors
/// None: what fails is tried again in the next round.
pub async fn take_over(service: Arc<QueryService>, stop: CancellationToken) -> Result<(), Error> {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut deserted = HashMap::new();
    loop {
        tokio::select! {
            _ = rounds.tick() => {}
            () = stop.cancelled() => return Ok(()),
        }
        if let Some(Err(error)) = stop.run_until_cancelled(round(&service, &mut deserted)).await {
            tracing::warn!(%error, "jobs of schedulers that are gone were not looked for");
        }
    }
}

async fn round(service: &Arc<QueryService>, deserted: &mut HashMap<String, Instant>) -> Result<(), Error> {
    let jobs = &service.submissions;
    let listed = jobs.meta.list(&KeyPrefix::Submissions.encode()).await?;
    let mut gone = HashMap::new();
    for (key, found) in listed.entries {
        let Ok(Key::Submission { id }) = Key::decode(&key) else { continue };
        let Ok(found) = Found::read(&id, &found) else { continue };
        if found.record.is_over() || jobs.is_at_work(&found.record) {
            continue;
        }
        let since = deserted.get(&id).copied().unwrap_or_else(Instant::now);
        gone.insert(id.clone(), since);
        if since.elapsed() < DESERTED || service.refuse_while_draining().is_err() {
            continue;
        }
        let Ok(place) = Arc::clone(&jobs.places).try_acquire_owned() else { return Ok(()) };
        let mut record = found.record.clone();
        record.owner.clone_from(&jobs.owner);
        record.attempt += 1;
        if record.attempt > MOST_ATTEMPTS {
            let told = format!("{} schedulers did not survive the job, or were stopped", MOST_ATTEMPTS);
            let failed = over(record, Err(Error::new(ErrorKind::ExecutorLost, told)));
            jobs.end(&found, failed).await?;
        } else if let Some(revision) = jobs.change(&found, &record).await? {
            tracing::info!(job = id, attempt = record.attempt, "a job is taken over");
            jobs.taken_over.fetch_add(1, Ordering::Relaxed);
            service.begin(Found { id, revision, record }, place);
        }
    }
    *deserted = gone;
    Ok(())
}

/// The record of a job that has ended.
fn over(mut record: JobRecord, outcome: Result<JobOutcome, Error>) -> JobRecord {
    record.ended_at = Some(unix_millis(SystemTime::now()));
    match outcome {
        Ok(outcome) => {
            record.state = QueryState::Finished;
            record.outcome = Some(outcome);
        }
        Err(error) => {
            record.state =
                if error.kind == ErrorKind::Cancelled { QueryState::Cancelled } else { QueryState::Failed };
            record.error = Some(JobError::from(&error));
        }
    }
    record
}

impl QueryService {
    /// Carries a job out in the background.
    pub(super) fn begin(self: &Arc<Self>, found: Found, place: OwnedSemaphorePermit) {
        let service = Arc::clone(self);
        self.submissions.tasks.spawn(
            "job",
            TaskKind::Background,
            Box::pin(async move {
                service.carry_out(found).await;
                drop(place);
                Ok(())
            }),
        );
    }

    fn carry_out<'a>(self: &'a Arc<Self>, mut found: Found) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let (jobs, stop) = (&self.submissions, self.submissions.tasks.token());
            let mut running = found.record.clone();
            running.state = QueryState::Running;
            match jobs.change(&found, &running).await {
                Ok(Some(revision)) => found = Found { revision, record: running, ..found },
                Ok(None) => return,
                // It is this process's all the same; the end is written with the revision that is known.
                Err(error) => tracing::warn!(job = found.id, %error, "the beginning of a job was not noted"),
            }
            let outcome = tokio::select! {
                outcome = self.outcome_of(&found) => outcome,
                () = jobs.changed_by_others(&found) => return,
                // Another scheduler goes on with it.
                () = stop.cancelled() => return,
            };
            // Stopping is no end of the job.
            if let Err(error) = &outcome
                && error.kind == ErrorKind::Cancelled
                && (stop.is_cancelled() || self.refuse_while_draining().is_err())
            {
                return;
            }
            let record = over(found.record.clone(), outcome);
            loop {
                match jobs.end(&found, record.clone()).await {
                    Ok(_) => return,
                    Err(error) => {
                        tracing::warn!(job = found.id, %error, "the end of a job was not noted; tried again")
                    }
                }
                if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                    return;
                }
            }
        })
    }

    fn outcome_of<'a>(self: &'a Arc<Self>, found: &'a Found) -> BoxFuture<'a, Result<JobOutcome, Error>> {
        Box::pin(async move {
            let Found { id, record, .. } = found;
            let now = DateTime::from_timestamp_micros(record.now_micros)
                .ok_or_else(|| Error::internal("the time of a job is none"))?;
            let request = Request {
                query_id: query_of(id, record.attempt),
                sql: record.sql.clone(),
                session: format!("job:{id}"),
                caller: record.caller(),
                settings: record.settings.clone(),
                trace: None,
                now,
                once: Some(Once::new(&format!("{id}/outcome"), &record.sql)?),
            };
            match self.parse(&request)? {
                Statement::Command(command) => Ok(match self.command(&request, &command).await? {
                    Outcome::Told(status) => JobOutcome::Told { status },
                    Outcome::Written(written) => JobOutcome::Written {
                        count: written.count,
                        files: written.files,
                        bytes: written.bytes,
                    },
                }),
                Statement::Explain(explain) => {
                    let batch = explain::run(self, &request, &explain).await?;
                    let lines = arrow::util::pretty::pretty_format_batches(&[batch]);
                    let lines = lines.map_err(|error| Error::internal(error.to_string()))?;
                    Ok(JobOutcome::Told { status: lines.to_string() })
                }
                Statement::Query(statement) => {
                    self.planner.own_tables().ok_or_else(no_tables)?;
                    let described = self.describe(&request).await?;
                    let columns =
                        described.result.ok_or_else(|| Error::internal("a query without columns"))?;
                    // Names twice, or none, are well for a result, and not for a file.
                    let columns = numbered(&nullable(&columns));
                    let name = format!("h_{}", id.trim_start_matches("j_"));
                    let target = TableTarget {
                        namespace: request.caller.namespace().clone(),
                        schema: HANDLE_SCHEMA.to_owned(),
                        name: name.clone(),
                        definition: ManagedDefinition::new(String::new(), &columns),
                        how: How::Lease { ttl: record.keep(), owner: request.caller.owner().to_owned() },
                        has_rows: true,
                    };
                    let written = Box::pin(self.write_table(&request, &statement, &target)).await?;
                    let column = |field: &Arc<arrow::datatypes::Field>| HandleColumn {
                        name: field.name().clone(),
                        data_type: field.data_type().to_string(),
                    };
                    Ok(JobOutcome::Rows {
                        table: format!("{HANDLE_SCHEMA}.{name}"),
                        rows: written.count,
                        columns: columns.fields().iter().map(column).collect(),
                    })
                }
            }
        })
    }
}

/// The columns with names of which no two are alike.
fn numbered(columns: &arrow::datatypes::Schema) -> arrow::datatypes::SchemaRef {
    let mut seen = std::collections::HashSet::new();
    let fields: Vec<_> = columns
        .fields()
        .iter()
        .map(|field| {
            let mut name = field.name().clone();
            let mut number = 1;
            while !seen.insert(name.to_lowercase()) {
                name = format!("{}:{number}", field.name());
                number += 1;
            }
            field.as_ref().clone().with_name(name)
        })
        .collect();
    Arc::new(arrow::datatypes::Schema::new(fields))
}

impl Submissions {
    /// Completes when a record is not what it was: the job was cancelled, or is another's.
    async fn changed_by_others(&self, found: &Found) {
        loop {
            if let Ok(mut events) = self.meta.watch(&Self::key(&found.id), found.revision).await {
                while let Some(Ok(event)) = events.next().await {
                    if event.revision > found.revision
                        && matches!(event.kind, EventKind::Put(_) | EventKind::Delete)
                    {
                        return;
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
            if let Ok(now) = self.find(&found.record.caller(), &found.id).await
                && now.revision != found.revision
            {
                return;
            }
        }
    }
}
