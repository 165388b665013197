//! How far a query has come, as the Flight action `polarway.QueryProgress` tells it (JSON in the result's body).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Flight action type: its body is a query id, its one result a [`QueryProgress`].
pub const QUERY_PROGRESS_ACTION: &str = "polarway.QueryProgress";

/// Flight action type served by schedulers: no body, one result whose body is the public key (32 bytes, Ed25519)
/// that executors verify plan tickets with.
pub const TICKET_KEY_ACTION: &str = "polarway.TicketKey";

/// Flight action type served by executors: the body is a job id, the one result a JSON list of the job's running
/// tasks as `[stage, task]` pairs.
pub const RUNNING_TASKS_ACTION: &str = "polarway.RunningTasks";

/// Flight action type served by executors: the body is a job id. What tasks of the job have finished is copied to the
/// object store; the one result's body is the number of outputs that are not copied yet when the answer is given.
pub const FLUSH_SHUFFLE_ACTION: &str = "polarway.FlushShuffle";

/// Flight action type served by executors: the body is a job id, the one result a JSON object with what the executor has
/// asked of the object store for the job's query: `puts`, `put_bytes`, `gets`, `get_bytes`, `retries` and more.
pub const SHUFFLE_REQUESTS_ACTION: &str = "polarway.ShuffleRequests";

/// Flight action type served by executors: no body, one result whose body is a [`NodeStatus`] (JSON).
pub const NODE_STATUS_ACTION: &str = "polarway.NodeStatus";

/// Header of a scheduler's answer to a heartbeat: a value that a restarted scheduler does not repeat.
pub const SCHEDULER_HEADER: &str = "polarway-scheduler";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryState {
    Queued,
    Running,
    Finished,
    Failed,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryProgress {
    pub query_id: String,
    pub state: QueryState,
    /// `direct`, `staged` or `metadata`.
    pub route: String,
    /// Counts from one; a job that lost an executor runs again as the next attempt.
    pub attempt: u32,
    #[serde(default)]
    pub stages: Vec<StageProgress>,
    /// Tasks finished by executor id.
    #[serde(default)]
    pub executors: BTreeMap<String, ExecutorShare>,
}

/// A stage of a job. What it did counts the tasks that have ended well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageProgress {
    pub id: u64,
    pub tasks: u64,
    pub done: u64,
    pub running: u64,
    /// Rows the stage has put out so far.
    pub rows: u64,
    /// Finished tasks of this stage by executor id.
    #[serde(default)]
    pub executors: BTreeMap<String, u64>,
    /// Running tasks of this stage by executor id.
    #[serde(default)]
    pub running_on: BTreeMap<String, u64>,
    /// Bytes the stage has put out so far.
    #[serde(default)]
    pub bytes: u64,
    /// Bytes that its operators wrote to disk for want of memory.
    #[serde(default)]
    pub spilled_bytes: u64,
    /// Computing time of its operators, over all tasks.
    #[serde(default)]
    pub compute_ms: u64,
    /// When its first task was launched and, once all are done, when the last ended; in milliseconds since 1970.
    #[serde(default)]
    pub started_ms: Option<u64>,
    #[serde(default)]
    pub ended_ms: Option<u64>,
    /// Stages that read its output.
    #[serde(default)]
    pub feeds: Vec<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorShare {
    pub tasks: u64,
}

/// How an executor is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub slots: u32,
    pub slots_used: u32,
    /// Tasks that run or wait for a slot.
    pub tasks_running: u64,
    /// Bytes that queries hold in the memory pool, and how many they may.
    pub memory_reserved: u64,
    pub memory_limit: u64,
    /// Bytes of spill files.
    pub spill_used: u64,
}
