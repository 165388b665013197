//! What the door adds to the smallest queries: one client, against DataFusion in process.

use super::cases::{self, Plan};
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
    record.comparisons = CASES
        .map(|(case, _)| {
            let line = format!("{case}, one client, p50");
            cases::medians(&record, &line, case, "datafusion", Some(Aim::DifferenceAtMost(1.0)))
        })
        .to_vec();
    Ok(record)
}
