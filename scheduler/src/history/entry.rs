//! How ended queries are written down: text with a line for each query, which is an object in JSON. Fields that this version
//! does not know are passed over, those that an earlier one did not have take a default, and a line that cannot be read
//! costs no other.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use polarway_proto::progress::{ExecutorShare, QueryProgress, QueryState};
use serde::{Deserialize, Serialize};

use super::record::{QueryRecord, beginning, plans_within};
use crate::queries::Plans;

/// Bytes of a statement, of the reason for its route, of its plan, of the plans of all stages.
const LONGEST_SQL: usize = 8 << 10;
const LONGEST_REASON: usize = 1 << 10;
const LONGEST_PLAN: usize = 8 << 10;
const LONGEST_PLANS: usize = 16 << 10;
/// Bytes of a line. Where it would be longer it goes without plans, and then without stages.
const LONGEST_LINE: usize = 48 << 10;
/// Bytes after which texts that are written together take no more lines. With one more line they are below what etcd takes in
/// a request (1.5 MiB).
pub const FULL: usize = 512 << 10;
/// Nobody asks how a query was done that ended well within this time. There can be hundreds of them a second.
const QUICK_MS: u64 = 100;

/// A query that has ended, with its stages, and with its plans where these may explain something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub query: QueryRecord,
    /// For one process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stage_plans: Vec<(u64, String)>,
}

impl Entry {
    pub fn of(mut query: QueryRecord, plans: &Plans) -> Self {
        cut(&mut query.sql, LONGEST_SQL);
        cut(&mut query.reason, LONGEST_REASON);
        if query.state == QueryState::Finished && query.elapsed_ms < QUICK_MS {
            return Self { query, plan: None, stage_plans: vec![] };
        }
        let plan = plans.whole.as_deref().map(|plan| beginning(plan, LONGEST_PLAN));
        Self { query, plan, stage_plans: plans_within(LONGEST_PLANS, &plans.stages) }
    }

    pub fn plans(&self) -> Plans {
        Plans { whole: self.plan.as_deref().map(Arc::from), stages: Arc::new(self.stage_plans.clone()) }
    }

    /// The query without its stages.
    pub fn summary(&self) -> QueryRecord {
        let query = &self.query;
        QueryRecord {
            id: query.id.clone(),
            user: query.user.clone(),
            scheduler: query.scheduler.clone(),
            sql: query.sql.clone(),
            route: query.route.clone(),
            reason: query.reason.clone(),
            state: query.state.clone(),
            error: query.error.clone(),
            stages: vec![],
            ..*query
        }
    }

    pub fn progress(&self) -> QueryProgress {
        let mut executors: BTreeMap<String, ExecutorShare> = BTreeMap::new();
        for (executor, tasks) in self.query.stages.iter().flat_map(|stage| &stage.executors) {
            executors.entry(executor.clone()).or_default().tasks += tasks;
        }
        QueryProgress {
            query_id: self.query.id.clone(),
            state: self.query.state.clone(),
            route: self.query.route.clone(),
            attempt: self.query.attempt,
            stages: self.query.stages.clone(),
            executors,
        }
    }

    fn line(mut self) -> serde_json::Result<Vec<u8>> {
        let line = serde_json::to_vec(&self)?;
        if line.len() <= LONGEST_LINE {
            return Ok(line);
        }
        (self.plan, self.stage_plans) = (None, vec![]);
        let line = serde_json::to_vec(&self)?;
        if line.len() <= LONGEST_LINE {
            return Ok(line);
        }
        self.query.stages.clear();
        serde_json::to_vec(&self)
    }
}

fn cut(text: &mut String, bytes: usize) {
    let end = text.floor_char_boundary(bytes);
    text.truncate(end);
}

/// A text that is being written.
#[derive(Debug, Default)]
pub struct Lines {
    text: Vec<u8>,
    count: usize,
}

impl Lines {
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// # Errors
    /// That of writing the entry, which is left out.
    pub fn add(&mut self, entry: Entry) -> serde_json::Result<()> {
        let line = entry.line()?;
        self.text.extend_from_slice(&line);
        self.text.push(b'\n');
        self.count += 1;
        Ok(())
    }

    pub fn count(&self) -> usize {
        self.count
    }

    pub fn into_text(self) -> Bytes {
        self.text.into()
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// How many queries a text has, with those that cannot be read.
pub fn count(text: &[u8]) -> usize {
    lines(text).count()
}

/// The queries of a text that can be read, and why the first of the others cannot.
pub fn read(text: &[u8]) -> (Vec<Entry>, Option<serde_json::Error>) {
    let (mut entries, mut first) = (vec![], None);
    for line in lines(text) {
        match serde_json::from_slice(line) {
            Ok(entry) => entries.push(entry),
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    (entries, first)
}

#[cfg(test)]
pub mod tests {
    use polarway_proto::progress::StageProgress;

    use super::*;
    use crate::history::RecordedError;

    pub fn record(id: &str, user: &str, ended_ms: u64) -> QueryRecord {
        QueryRecord {
            id: id.to_owned(),
            user: user.to_owned(),
            scheduler: "scheduler-1".to_owned(),
            sql: "select\n1".to_owned(),
            sql_bytes: 8,
            route: "direct".to_owned(),
            reason: "small".to_owned(),
            state: QueryState::Finished,
            attempt: 1,
            started_ms: ended_ms.saturating_sub(20),
            waited_ms: 1,
            elapsed_ms: 20,
            rows: 1,
            bytes: 8,
            error: None,
            stages: vec![],
        }
    }

    fn plans() -> Plans {
        Plans {
            whole: Some("x".repeat(LONGEST_PLAN + 1).into()),
            stages: Arc::new(vec![(1, "y".repeat(LONGEST_PLANS)), (2, "z".repeat(LONGEST_PLANS))]),
        }
    }

    fn text(entries: impl IntoIterator<Item = Entry>) -> Bytes {
        let mut lines = Lines::default();
        entries.into_iter().for_each(|entry| lines.add(entry).unwrap());
        lines.into_text()
    }

    #[test]
    fn row_48_what_is_written_of_a_query_is_cut_and_reads_back() {
        let stage = StageProgress {
            id: 1,
            executors: BTreeMap::from([("executor-1".to_owned(), 3)]),
            ..StageProgress::default()
        };
        let long = QueryRecord {
            sql: "é".repeat(LONGEST_SQL),
            sql_bytes: 2 * LONGEST_SQL as u64,
            state: QueryState::Failed,
            error: Some(RecordedError { code: "EXECUTION".to_owned(), message: "zero".to_owned() }),
            stages: vec![stage],
            ..record("q-1", "ana", 20)
        };
        let entry = Entry::of(long.clone(), &plans());
        assert!(entry.query.sql.len() <= LONGEST_SQL && entry.query.is_shortened());
        assert_eq!(entry.plans().whole.unwrap().len(), LONGEST_PLAN);
        assert_eq!(entry.stage_plans.iter().map(|(_, plan)| plan.len()).sum::<usize>(), LONGEST_PLANS);
        assert_eq!(entry.progress().executors["executor-1"].tasks, 3);
        assert_eq!(entry.summary(), QueryRecord { stages: vec![], ..entry.query.clone() });
        let quick = Entry::of(record("q-2", "", 30), &plans());
        assert_eq!((quick.plan.as_ref(), quick.stage_plans.len()), (None, 0));
        let written = text([entry.clone(), quick.clone()]);
        assert_eq!(count(&written), 2);
        let (entries, fault) = read(&written);
        assert_eq!((entries, fault.is_none()), (vec![entry, quick], true));
    }

    #[test]
    fn row_48_plans_and_stages_give_way_where_a_query_is_long() {
        let stages = (0..1000).map(|id| StageProgress { id, ..StageProgress::default() }).collect();
        let long = QueryRecord {
            // Takes six bytes each in JSON.
            sql: "\u{1}".repeat(LONGEST_SQL),
            state: QueryState::Failed,
            stages,
            ..record("q-1", "", 20)
        };
        let written = text([Entry::of(long, &plans())]);
        assert!(written.len() < 2 * LONGEST_LINE, "{}", written.len());
        let (entries, _) = read(&written);
        assert!(entries[0].query.stages.is_empty() && entries[0].plans().whole.is_none());
        assert_eq!(entries[0].query.sql.len(), LONGEST_SQL);
    }

    #[test]
    fn row_48_a_text_is_full_before_a_store_refuses_it() {
        let long =
            QueryRecord { state: QueryState::Failed, sql: "s".repeat(LONGEST_SQL), ..record("q", "", 20) };
        let (entry, mut lines) = (Entry::of(long, &plans()), Lines::default());
        while lines.bytes() < FULL {
            lines.add(entry.clone()).unwrap();
        }
        assert!(lines.count() > 1 && lines.into_text().len() < 1 << 20);
    }

    #[test]
    fn row_48_other_versions_are_read_and_what_cannot_be_is_passed_over() {
        let later = r#"{"query":{"id":"q-1","sql":"select 1","route":"direct","state":"finished","attempt":1,"elapsed_ms":5,"mood":"good"},"plan":"p","colour":{"a":[1]}}"#;
        let written = format!("{later}\n{{\"query\":{{\"id\":\"q-2\"}}}}\nno JSON\n\n{later}\n");
        assert_eq!(count(written.as_bytes()), 4);
        let (entries, fault) = read(written.as_bytes());
        assert_eq!(entries.len(), 2);
        assert_eq!((entries[0].query.id.as_str(), entries[0].query.scheduler.as_str()), ("q-1", ""));
        assert_eq!(entries[0].plans().whole.as_deref(), Some("p"));
        assert!(fault.unwrap().to_string().contains("missing field"));
    }
}
