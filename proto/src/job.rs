//! Submitted statements, as Flight actions tell of them (JSON in bodies and results). A job goes on whatever becomes of its
//! client, and of the scheduler that took it.

use polarway_common::{Error, ErrorKind, Place};
use serde::{Deserialize, Serialize};

use crate::handle::HandleColumn;
use crate::progress::{QueryProgress, QueryState};

/// Flight action type: its body is a [`SubmitJob`], its one result the job's id.
pub const SUBMIT_JOB_ACTION: &str = "polarway.SubmitJob";

/// Flight action type: its body is a job's id, its one result a [`JobInfo`]. `NotFound` once it is not kept any more.
pub const JOB_ACTION: &str = "polarway.Job";

/// Flight action type: its body is a job's id, its one result `true`, or `false` if the job had ended before.
pub const CANCEL_JOB_ACTION: &str = "polarway.CancelJob";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitJob {
    pub sql: String,
    /// Values for the statement's placeholders, if it has some: one row as an Arrow IPC stream, in base64 (RFC 4648, padded).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<String>,
    /// What is submitted again under the same key is the same job.
    pub key: String,
    /// How long the outcome is kept after the end, in milliseconds.
    pub keep_ms: u64,
}

/// What is known of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobInfo {
    pub id: String,
    /// With the values that it was submitted with in place of its placeholders.
    pub sql: String,
    pub state: QueryState,
    /// How many schedulers have had it.
    pub attempt: u32,
    /// Milliseconds since 1970.
    pub submitted_at: u64,
    pub ended_at: Option<u64>,
    pub error: Option<JobError>,
    pub outcome: Option<JobOutcome>,
    /// Where the scheduler that is asked runs it.
    pub progress: Option<QueryProgress>,
}

/// What a job has given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum JobOutcome {
    /// Rows of a query, in a table that is there as long as the outcome is kept.
    Rows { table: String, rows: u64, columns: Vec<HandleColumn> },
    /// Rows that were written.
    Written { count: u64, files: u64, bytes: u64 },
    /// What another statement tells.
    Told { status: String },
}

/// Why a job has failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// For example `TABLE_NOT_FOUND`.
    pub kind: String,
    pub message: String,
    pub hint: String,
    pub place: Option<Place>,
    pub retry_after_ms: Option<u64>,
}

impl From<&Error> for JobError {
    fn from(error: &Error) -> Self {
        Self {
            kind: error.kind.reason().to_owned(),
            message: error.message.clone(),
            hint: error.hint.clone().unwrap_or_else(|| error.kind.hint().to_owned()),
            place: error.place,
            retry_after_ms: error
                .retry_after
                .map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

impl From<JobError> for Error {
    fn from(error: JobError) -> Self {
        Self {
            kind: ErrorKind::from_reason(&error.kind).unwrap_or(ErrorKind::Internal),
            message: error.message,
            hint: Some(error.hint),
            place: error.place,
            retry_after: error.retry_after_ms.map(std::time::Duration::from_millis),
        }
    }
}

impl JobInfo {
    /// Whether nothing more will happen to it.
    pub fn is_over(&self) -> bool {
        !matches!(self.state, QueryState::Queued | QueryState::Running)
    }
}
