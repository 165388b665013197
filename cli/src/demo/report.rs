//! The demo's texts.

use std::fmt::Write;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use polarway_client::QueryProgress;
use polarway_common::Error;

use crate::sql::session::human;
use crate::sql::table::TablePrinter;

/// What came of one query.
pub struct Outcome {
    pub name: &'static str,
    pub title: &'static str,
    pub route: String,
    pub elapsed: Duration,
    pub rows: usize,
    /// The first rows.
    pub head: RecordBatch,
    /// How the work was done, when the server could still tell.
    pub progress: Option<QueryProgress>,
}

/// One query with its first rows and, for a staged one, who ran how many tasks.
pub fn query(outcome: &Outcome, executors: &[String]) -> Result<String, ArrowError> {
    let head = table_of(&outcome.head)?;
    let mut text = format!("\n{}: {}\n{head}", outcome.name, outcome.title);
    let shown = outcome.head.num_rows();
    let more = if shown < outcome.rows { format!(", the first {shown} are shown") } else { String::new() };
    let _ = writeln!(
        text,
        "{} rows{more}; {} by the {} route",
        outcome.rows,
        human(outcome.elapsed),
        outcome.route
    );
    if let Some(progress) = &outcome.progress {
        text.push_str(&stages(progress, executors));
    }
    Ok(text)
}

fn table_of(rows: &RecordBatch) -> Result<String, ArrowError> {
    let mut table = vec![];
    let mut printer = TablePrinter::new(&rows.schema());
    printer.rows(rows, &mut table)?;
    printer.finish(&mut table);
    Ok(String::from_utf8_lossy(&table).into_owned())
}

/// Rows as a table.
pub fn table(rows: &RecordBatch) -> Result<String, Error> {
    table_of(rows).map_err(|error| Error::internal(error.to_string()))
}

/// One line a stage: its tasks in all and by executor, and its rows.
fn stages(progress: &QueryProgress, executors: &[String]) -> String {
    let mut text = String::new();
    for stage in &progress.stages {
        let _ = write!(text, "  stage {:<3} {:>4} tasks  {:>10} rows", stage.id, stage.tasks, stage.rows);
        for (id, tasks) in &stage.executors {
            let _ = write!(text, "  {}: {tasks}", name_of(id, executors));
        }
        text.push('\n');
    }
    let shares: Vec<_> = progress
        .executors
        .iter()
        .map(|(id, share)| format!("{} {}", name_of(id, executors), share.tasks))
        .collect();
    if !shares.is_empty() {
        let _ = writeln!(text, "  tasks in all: {}", shares.join(", "));
    }
    text
}

/// An executor's id is its name and an incarnation; the name says enough here.
fn name_of<'a>(id: &'a str, executors: &'a [String]) -> &'a str {
    let is_of =
        |name: &&String| id.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with(['-', '@']));
    executors.iter().find(is_of).map_or(id, String::as_str)
}

/// All queries with their times.
pub fn summary(outcomes: &[Outcome]) -> String {
    let mut text = String::from("\nquery   route          time        rows\n");
    for outcome in outcomes {
        let _ = writeln!(
            text,
            "{:<7} {:<8} {:>10}  {:>10}",
            outcome.name,
            outcome.route,
            human(outcome.elapsed),
            outcome.rows
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use polarway_client::{ExecutorShare, QueryState, StageProgress};

    use super::*;

    fn outcome() -> Outcome {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        let stage = StageProgress {
            id: 1,
            tasks: 5,
            done: 5,
            running: 0,
            rows: 42,
            executors: BTreeMap::from([("executor-1-0af3".into(), 2), ("executor-10-77".into(), 3)]),
            ..StageProgress::default()
        };
        let progress = QueryProgress {
            query_id: "q-1".into(),
            state: QueryState::Finished,
            route: "staged".into(),
            attempt: 1,
            stages: vec![stage],
            executors: BTreeMap::from([("executor-1-0af3".into(), ExecutorShare { tasks: 2 })]),
        };
        Outcome {
            name: "Q1",
            title: "a title",
            route: "staged".into(),
            elapsed: Duration::from_millis(1500),
            rows: 3,
            head: RecordBatch::try_from_iter([("n", column)]).unwrap(),
            progress: Some(progress),
        }
    }

    #[test]
    fn a_query_shows_rows_time_and_who_worked() {
        let executors = ["executor-1".to_owned(), "executor-10".to_owned()];
        let text = query(&outcome(), &executors).unwrap();
        assert!(text.contains("Q1: a title"), "{text}");
        assert!(text.contains("| 7 |"), "{text}");
        assert!(text.contains("3 rows, the first 1 are shown; 1.50 s by the staged route"), "{text}");
        assert!(text.contains("5 tasks          42 rows  executor-1: 2  executor-10: 3"), "{text}");
        assert!(text.contains("tasks in all: executor-1 2"), "{text}");
    }

    #[test]
    fn an_unknown_executor_keeps_its_id() {
        assert_eq!(name_of("other-1", &["executor-1".to_owned()]), "other-1");
    }

    #[test]
    fn the_summary_has_a_line_a_query() {
        let text = summary(&[outcome(), outcome()]);
        assert_eq!(text.trim().lines().count(), 3);
        assert!(text.contains("Q1      staged       1.50 s           3"), "{text}");
    }
}
