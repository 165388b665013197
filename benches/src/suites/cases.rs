//! Cases that run alone: ours, the other, ours, the other, until each has its samples; and the sums over them.

use std::fmt;
use std::time::Duration;

use crate::cli::RunArgs;
use crate::compare::{Aim, Comparison, Unit, digits};
use crate::engines::{Engine, OURS};
use crate::failure::Result;
use crate::load::Sample;
use crate::record::{Measurement, ProcessPeak, SuiteRecord, Summary};
use crate::suites::{note, peaks};

/// How often and how long.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub warmup: usize,
    pub repeats: usize,
    pub patience: Duration,
}

impl Plan {
    /// What the user's options ask for.
    pub fn of(args: &RunArgs) -> Self {
        Self { warmup: args.warmup, repeats: args.repeats, patience: args.patience() }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { warmup, repeats, patience } = self;
        let limit = patience.as_secs_f64();
        write!(
            f,
            "Each case runs {warmup} times unmeasured, then {repeats} times, on each engine in turn; "
        )?;
        write!(f, "a request that fails or takes longer than {limit} s ends the case for its engine.")
    }
}

/// What one engine does for a case.
#[derive(Debug, Clone)]
pub enum Work {
    Sql(String),
    /// The same by a client that connects first.
    Anew(String),
    /// One query each, all at the same time.
    AtOnce(Vec<String>),
    /// The peer's own reader; see [`crate::peers::Ask::Read`].
    Read {
        paths: Vec<String>,
        how: &'static str,
    },
}

/// Measures `case`, where each engine has its own work, in turn. After a failure an engine is not asked again in
/// this case, since a query that fails late would cost its whole patience each time.
pub async fn measure(engines: &mut [Engine], case: &str, works: &[Work], plan: Plan) -> Vec<Measurement> {
    let mut measured: Vec<Measurement> = engines.iter().map(|engine| engine.measurement(case)).collect();
    for round in 0..plan.warmup + plan.repeats {
        for ((engine, work), measurement) in engines.iter_mut().zip(works).zip(&mut measured) {
            if engine.absent().is_some() || measurement.failed() > 0 {
                continue;
            }
            match perform(engine, work, plan.patience).await {
                Ok(sample) if round >= plan.warmup => {
                    measurement.samples_ms.push(sample.millis);
                    measurement.rows = Some(sample.rows);
                }
                Ok(_) => {}
                Err(failure) => measurement.fail(&failure.to_string(), 1),
            }
        }
    }
    for (engine, measurement) in engines.iter_mut().zip(&mut measured) {
        measurement.summarise();
        measurement.processes = engine.peaks();
    }
    note(format_args!("{case}: {}", measured.iter().map(outcome).collect::<Vec<_>>().join(", ")));
    // An engine that is absent is named once, among the engines.
    let there = engines.iter().map(|engine| engine.absent().is_none());
    measured.into_iter().zip(there).filter_map(|(measurement, there)| there.then_some(measurement)).collect()
}

/// As [`measure`], with the same SQL for every engine.
pub async fn measure_sql(engines: &mut [Engine], case: &str, sql: &str, plan: Plan) -> Vec<Measurement> {
    let works = vec![Work::Sql(sql.to_owned()); engines.len()];
    measure(engines, case, &works, plan).await
}

async fn perform(engine: &mut Engine, work: &Work, patience: Duration) -> Result<Sample> {
    match work {
        Work::Sql(sql) => engine.query(sql, patience).await,
        Work::Anew(sql) => engine.query_anew(sql, patience).await,
        Work::AtOnce(statements) => engine.at_once(statements, patience).await,
        Work::Read { paths, how } => engine.read(paths, how, patience).await,
    }
}

fn outcome(measurement: &Measurement) -> String {
    let name = &measurement.engine;
    match (measurement.failures.first(), measurement.summary.p50_ms) {
        (Some(failure), _) => format!("{name} failed ({})", failure.message),
        (None, Some(p50)) => format!("{name} {} ms", digits(p50)),
        (None, None) => format!("{name} –"),
    }
}

/// Two lines, of the sum of best and the sum of median times over the cases that both engines answered. If the other
/// one is absent, ours stands alone.
pub fn totals(record: &SuiteRecord, what: &str, other: &str, aim: Option<Aim>) -> Vec<Comparison> {
    let ours: Vec<&Measurement> = record.measurements.iter().filter(|one| one.engine == OURS).collect();
    let theirs: Vec<&Measurement> =
        ours.iter().filter_map(|ours| record.measurement(other, &ours.case)).collect();
    let answered =
        |sides: &[&Measurement], case: &str| sides.iter().any(|side| side.case == case && side.failed() == 0);
    let counts =
        |one: &Measurement| answered(&ours, &one.case) && (theirs.is_empty() || answered(&theirs, &one.case));
    let failed: u64 = ours.iter().map(|one| one.failed()).sum();
    let summed = ours.iter().filter(|one| counts(one)).count();
    let mut notes = remarks(record, other);
    if summed < ours.len() && !theirs.is_empty() {
        notes.push(format!("Sums are over the {summed} of {} cases that both answered.", ours.len()));
    }
    let sum = |pick: fn(&Summary) -> Option<f64>| {
        let sum_of = |sides: &[&Measurement]| {
            let picked: Vec<f64> =
                sides.iter().filter(|one| counts(one)).filter_map(|one| pick(&one.summary)).collect();
            (!picked.is_empty()).then(|| picked.iter().sum::<f64>() / 1_000.0)
        };
        (sum_of(&ours), sum_of(&theirs))
    };
    [("best", sum(|summary| summary.best_ms)), ("median", sum(|summary| summary.p50_ms))]
        .into_iter()
        .map(|(kind, figures)| {
            let line = format!("{what}, sum of {kind} times");
            Comparison::new(line, Unit::Seconds, figures, other, aim, failed)
                .with_rss(peaks(record, OURS), peaks(record, other))
                .with_notes(notes.clone())
        })
        .collect()
}

/// One line of median times of `case`.
pub fn medians(record: &SuiteRecord, what: &str, case: &str, other: &str, aim: Option<Aim>) -> Comparison {
    let p50 = |engine| record.measurement(engine, case).and_then(|measured| measured.summary.p50_ms);
    let failed = record.measurement(OURS, case).map_or(0, Measurement::failed);
    Comparison::new(what, Unit::Milliseconds, (p50(OURS), p50(other)), other, aim, failed)
        .with_rss(peaks_at(record, OURS, case), peaks_at(record, other, case))
        .with_notes(remarks_on(record, other, case))
}

/// Peaks of the engine called `name` when `case` was over.
pub fn peaks_at(record: &SuiteRecord, name: &str, case: &str) -> Vec<ProcessPeak> {
    record.measurement(name, case).map(|measured| measured.processes.clone()).unwrap_or_default()
}

/// Why the other side is absent, failures of either side, and answers of different length.
fn remarks(record: &SuiteRecord, other: &str) -> Vec<String> {
    let cases = record.measurements.iter().filter(|measured| measured.engine == OURS);
    absence(record, other)
        .into_iter()
        .chain(cases.flat_map(|ours| outcomes(record, other, &ours.case)))
        .collect()
}

/// [`remarks`] on one case.
pub fn remarks_on(record: &SuiteRecord, other: &str, case: &str) -> Vec<String> {
    absence(record, other).into_iter().chain(outcomes(record, other, case)).collect()
}

fn absence(record: &SuiteRecord, other: &str) -> Option<String> {
    let error = record.engine(other)?.error.as_ref()?;
    Some(format!("{other} is not measured: {error}"))
}

fn outcomes(record: &SuiteRecord, other: &str, case: &str) -> Vec<String> {
    let sides = [OURS, other].map(|engine| record.measurement(engine, case));
    let mut notes: Vec<String> = sides
        .iter()
        .flatten()
        .flat_map(|side| side.failures.iter().map(move |failure| (side, failure)))
        .map(|(side, failure)| {
            format!("{} failed at {case} ({} times): {}", side.engine, failure.count, failure.message)
        })
        .collect();
    if let [Some(ours), Some(theirs)] = sides
        && let (Some(our_rows), Some(their_rows)) = (ours.rows, theirs.rows)
        && our_rows != their_rows
    {
        notes.push(format!("Answers to {case} differ: ours has {our_rows} rows, {other}'s {their_rows}."));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(engine: &str, case: &str, samples: &[f64], rows: u64) -> Measurement {
        let mut measured = Measurement::new(engine, case);
        measured.samples_ms = samples.to_vec();
        measured.rows = Some(rows);
        measured.summarise();
        measured
    }

    #[test]
    fn sums_are_over_what_both_answered() {
        let mut failed = Measurement::new("datafusion", "q03");
        failed.fail("out of memory", 1);
        let record = SuiteRecord {
            measurements: vec![
                measured(OURS, "q01", &[1_000.0, 2_000.0, 3_000.0], 4),
                measured("datafusion", "q01", &[2_000.0, 2_000.0, 2_000.0], 4),
                measured(OURS, "q02", &[500.0], 7),
                measured("datafusion", "q02", &[500.0], 8),
                measured(OURS, "q03", &[9_000.0], 1),
                failed,
            ],
            ..SuiteRecord::default()
        };
        let [best, median] =
            totals(&record, "TPC-H", "datafusion", Some(Aim::RatioAtMost(1.0))).try_into().unwrap();
        assert_eq!((best.ours, best.other, best.met), (Some(1.5), Some(2.5), Some(true)));
        assert_eq!((median.ours, median.other, median.met), (Some(2.5), Some(2.5), Some(true)));
        assert_eq!(
            best.notes,
            [
                "Answers to q02 differ: ours has 7 rows, datafusion's 8.",
                "datafusion failed at q03 (1 times): out of memory",
                "Sums are over the 2 of 3 cases that both answered.",
            ]
        );
    }

    #[test]
    fn our_own_failure_misses_the_aim() {
        let mut failed = Measurement::new(OURS, "q02");
        failed.fail("no answer", 1);
        let record = SuiteRecord {
            measurements: vec![
                measured(OURS, "q01", &[1.0], 4),
                measured("datafusion", "q01", &[2.0], 4),
                failed,
                measured("datafusion", "q02", &[2.0], 4),
            ],
            ..SuiteRecord::default()
        };
        let lines = totals(&record, "TPC-H", "datafusion", Some(Aim::RatioAtMost(1.0)));
        assert!(lines.iter().all(|line| line.met == Some(false)));
        let alone = medians(&record, "q01 alone", "q01", "datafusion", Some(Aim::RatioAtMost(1.0)));
        assert_eq!((alone.ratio, alone.met), (Some(0.5), Some(true)));
    }
}
