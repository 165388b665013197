//! What the door adds to the smallest queries: one client, against DataFusion in process and the guests.

use super::cases::{self, Plan, Work};
use super::guests::{self, Visit};
use super::{Bench, announce, stop, table};
use crate::compare::Aim;
use crate::failure::Result;
use crate::machine;
use crate::record::SuiteRecord;

/// The small aggregate of the concurrency and staged suites.
pub const SUPPLIER: &str = "SELECT s_nationkey, count(*), sum(s_acctbal) FROM supplier GROUP BY s_nationkey";

const CASES: [(&str, &str); 2] = [
    ("SELECT 1", "SELECT 1"),
    ("aggregate over one row", "SELECT count(*), sum(value), max(id) FROM one_row"),
];

/// Runs it.
///
/// # Errors
/// The data cannot be made or a process cannot be stopped.
pub async fn run(bench: &Bench) -> Result<SuiteRecord> {
    let cores = machine::cores();
    let file = bench.store.one_row()?;
    let mut engines = vec![bench.launcher.up(&[]).await, bench.launcher.datafusion(cores).await];
    announce(&engines);
    table(&mut engines, "one_row", &file).await;
    let plan = Plan { warmup: 20, repeats: bench.args.requests, patience: bench.args.patience() };
    let mut measurements = Vec::new();
    for (case, sql) in CASES {
        measurements.extend(cases::measure_sql(&mut engines, case, sql, plan).await);
    }
    let mut record = SuiteRecord {
        title: "The smallest queries".into(),
        method: format!(
            "One client, {} requests on each side in turn, after 20 unmeasured ones. Ours: GetFlightInfo with the SQL \
             text and DoGet on one connection to `polarway up`. Other: DataFusion embedded in a process, planning \
             the text each time.",
            bench.args.requests,
        ),
        engines: stop(engines).await?,
        measurements,
        ..SuiteRecord::default()
    };
    let visit = Visit {
        partitions: cores,
        workers: 0,
        tables: vec![("one_row".into(), file)],
        cases: CASES.map(|(case, sql)| (case.to_owned(), Work::Sql(sql.to_owned()))).to_vec(),
        plan,
    };
    visit.run(bench, &mut record).await?;
    for (case, _) in CASES {
        let line = format!("{case}, one client, p50");
        let aim = Some(Aim::DifferenceAtMost(1.0));
        record.comparisons.push(cases::medians(&record, &line, case, "datafusion", aim));
        record.comparisons.extend(guests::medians(&record, &line, case));
    }
    Ok(record)
}
