//! What executors did, from their logs: whether a task ran again whose output was stored.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

/// What `log.level` has to be for it.
pub const LEVEL: &str = "info,polarway_executor=debug,polarway_storage::shuffle=debug";

/// A task of an attempt: the attempt's job, stage and task.
type Task = (String, u64, u64);

#[derive(Debug, Default, PartialEq)]
pub struct Ledger {
    pub computed: usize,
    pub stored: usize,
    /// Tasks whose output was taken over from an earlier attempt.
    pub taken_over: usize,
    /// Tasks that began although their output, or one of the same plan by an earlier attempt, had been stored before.
    pub again: Vec<String>,
}

/// One line of a log that is about a task.
enum Line {
    Computed { at: String, task: Task, memo: Option<String> },
    Stored { at: String, task: Task, memo: Option<String> },
    TakenOver { at: String, job: String },
}

impl Ledger {
    /// Reads the logs of all executors in `directory`.
    pub fn read(directory: &Path) -> Self {
        let mut text = String::new();
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with("executor-") && name.ends_with(".log") {
                text.push_str(&String::from_utf8_lossy(&std::fs::read(path).unwrap()));
                text.push('\n');
            }
        }
        Self::of(text.lines())
    }

    fn of<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let lines: Vec<Line> = lines.filter_map(parse).collect();
        let mut ledger = Self::default();
        // When an output was first stored: by its task, and by its run and what it computes.
        let mut by_task: BTreeMap<&Task, &str> = BTreeMap::new();
        let mut by_memo: BTreeMap<(&str, &str), Vec<(u32, &str)>> = BTreeMap::new();
        // When an attempt looked up what there was.
        let mut looked: BTreeMap<&str, &str> = BTreeMap::new();
        for line in &lines {
            match line {
                Line::Stored { at, task, memo } => {
                    ledger.stored += 1;
                    let first = by_task.entry(task).or_insert(at);
                    *first = (*first).min(at);
                    let (run, number) = attempt(&task.0);
                    if let Some(memo) = memo {
                        by_memo.entry((run, memo)).or_default().push((number, at));
                    }
                }
                Line::Computed { at, task: (job, ..), .. } => {
                    ledger.computed += 1;
                    let first = looked.entry(job).or_insert(at);
                    *first = (*first).min(at);
                }
                Line::TakenOver { at, job } => {
                    ledger.taken_over += 1;
                    let first = looked.entry(job).or_insert(at);
                    *first = (*first).min(at);
                }
            }
        }
        for line in &lines {
            let Line::Computed { at, task, memo } = line else { continue };
            let (run, number) = attempt(&task.0);
            let itself = by_task.get(task).is_some_and(|stored| *stored < at.as_str());
            let earlier = memo.as_ref().and_then(|memo| by_memo.get(&(run, memo.as_str())));
            let taken = earlier
                .into_iter()
                .flatten()
                .any(|(by, stored)| *by < number && *stored < looked[task.0.as_str()]);
            if itself || taken {
                ledger.again.push(format!("{at}: {task:?}"));
            }
        }
        ledger
    }
}

fn parse(line: &str) -> Option<Line> {
    let line: Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| line[name].as_str().map(str::to_owned);
    let memo = || match &line["memo"] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let at = text("timestamp")?;
    match line["message"].as_str()? {
        "a task is computed" => {
            let task = (text("job")?, line["stage"].as_u64()?, line["task"].as_u64()?);
            Some(Line::Computed { at, task, memo: memo() })
        }
        "an output is stored" => {
            let output = text("output")?;
            let mut parts = output.split('/');
            let job = parts.next()?.to_owned();
            let task = (job, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            Some(Line::Stored { at, task, memo: memo() })
        }
        "a task was done in an earlier attempt" => Some(Line::TakenOver { at, job: text("job")? }),
        _ => None,
    }
}

/// The run and the number in a job's name.
fn attempt(job: &str) -> (&str, u32) {
    let (run, number) = job.rsplit_once("-a").unwrap_or((job, "0"));
    (run, number.parse().unwrap_or(0))
}

#[test]
fn a_stored_task_that_runs_again_is_seen() {
    let computed = |at: u32, job: &str, memo: u32| {
        format!(
            r#"{{"timestamp":"t{at}","message":"a task is computed","job":"{job}","stage":1,"task":0,"memo":{memo}}}"#
        )
    };
    let stored = |at: u32, job: &str, memo: u32| {
        format!(
            r#"{{"timestamp":"t{at}","message":"an output is stored","output":"{job}/1/0","memo":{memo}}}"#
        )
    };
    let again = |lines: &[String]| Ledger::of(lines.iter().map(String::as_str)).again.len();
    assert_eq!(again(&[computed(1, "q-a1", 7), stored(2, "q-a1", 7)]), 0);
    assert_eq!(
        again(&[computed(1, "q-a1", 7), stored(2, "q-a1", 7), computed(3, "q-a1", 7)]),
        1,
        "in one attempt"
    );
    assert_eq!(
        again(&[computed(1, "q-a1", 7), stored(2, "q-a1", 7), computed(3, "q-a2", 7)]),
        1,
        "in the next"
    );
    assert_eq!(
        again(&[computed(1, "q-a1", 7), stored(4, "q-a1", 7), computed(3, "q-a2", 7)]),
        0,
        "stored too late"
    );
    assert_eq!(
        again(&[computed(1, "q-a1", 7), stored(2, "q-a1", 7), computed(3, "q-a2", 8)]),
        0,
        "another task"
    );
    assert_eq!(
        again(&[computed(1, "q-a1", 7), stored(2, "q-a1", 7), computed(3, "r-a2", 7)]),
        0,
        "another query"
    );
    assert_eq!(Ledger::of([].into_iter()), Ledger::default());
}
