//! What is known of a query. A record holds no handle to anything that runs, so that it can be written down and read by
//! another process.

use polarway_common::Error;
use polarway_proto::progress::{QueryState, StageProgress};
use serde::{Deserialize, Serialize};

/// Bytes of a statement, of an error's message, that are kept.
const LONGEST_SQL: usize = 16 << 10;
const LONGEST_MESSAGE: usize = 4 << 10;
/// Bytes of the plans of all stages.
const LONGEST_PLANS: usize = 64 << 10;

/// One query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryRecord {
    pub id: String,
    /// Who sent it, in other namespaces than `default` behind that and a slash; empty where callers are not told apart.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// The name of the scheduler that has or had it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scheduler: String,
    /// The statement as it was sent; its beginning, where it is long.
    pub sql: String,
    /// How long the statement is.
    #[serde(default)]
    pub sql_bytes: u64,
    pub route: String,
    /// Why it took this route.
    #[serde(default)]
    pub reason: String,
    pub state: QueryState,
    pub attempt: u32,
    /// Milliseconds since 1970.
    #[serde(default)]
    pub started_ms: u64,
    /// Until its turn came.
    #[serde(default)]
    pub waited_ms: u64,
    /// With the time that it waited.
    pub elapsed_ms: u64,
    /// Of the result, as far as it has been sent, or can be fetched from executors.
    #[serde(default)]
    pub rows: u64,
    #[serde(default)]
    pub bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RecordedError>,
    /// Of the last attempt that came to an end by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageProgress>,
}

impl QueryRecord {
    /// Whether not all of the statement is kept.
    pub fn is_shortened(&self) -> bool {
        (self.sql.len() as u64) < self.sql_bytes
    }

    /// When it ended, if it has; milliseconds since 1970.
    pub fn ended_ms(&self) -> u64 {
        self.started_ms.saturating_add(self.elapsed_ms)
    }
}

/// Why a query failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedError {
    /// As clients get it: `OUT_OF_MEMORY`.
    pub code: String,
    pub message: String,
}

impl RecordedError {
    pub fn of(error: &Error) -> Self {
        Self { code: error.kind.reason().to_owned(), message: beginning(&error.message, LONGEST_MESSAGE) }
    }
}

/// A statement as it is kept.
pub fn shortened(sql: &str) -> String {
    beginning(sql, LONGEST_SQL)
}

/// The plans of a query's stages as they are kept.
pub fn shortened_plans(plans: &[(u64, String)]) -> Vec<(u64, String)> {
    plans_within(LONGEST_PLANS, plans)
}

/// The plans of stages, with equal parts of the room that there is.
pub(super) fn plans_within(bytes: usize, plans: &[(u64, String)]) -> Vec<(u64, String)> {
    let room = bytes / plans.len().max(1);
    plans.iter().map(|(stage, plan)| (*stage, beginning(plan, room))).collect()
}

pub(super) fn beginning(text: &str, bytes: usize) -> String {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_49_a_long_text_is_cut_between_characters() {
        let text = "é".repeat(LONGEST_SQL);
        let kept = shortened(&text);
        assert!(kept.len() <= LONGEST_SQL && kept.len() > LONGEST_SQL - 2 && text.starts_with(&kept));
        assert_eq!(shortened("select 1"), "select 1");
    }

    #[test]
    fn row_49_plans_of_stages_share_the_room() {
        let plans: Vec<_> = (1..=4).map(|stage| (stage, "x".repeat(LONGEST_PLANS))).collect();
        let kept = shortened_plans(&plans);
        assert_eq!(kept.iter().map(|(_, plan)| plan.len()).sum::<usize>(), LONGEST_PLANS);
        assert_eq!(shortened_plans(&[(1, "scan".to_owned())]), [(1, "scan".to_owned())]);
    }
}
