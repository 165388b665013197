//! TPC-H by the direct route, against DataFusion in its own process with as many cores, and against the guests.

use std::fs;
use std::path::Path;

use super::cases::{self, Plan, Work};
use super::guests::{self, Visit};
use super::{Bench, PARTS, announce, stop, table};
use crate::compare::Aim;
use crate::data::TPCH_TABLES;
use crate::engines::Engine;
use crate::failure::{Context, Result};
use crate::machine;
use crate::record::{Measurement, SuiteRecord};

/// Number of queries in the benchmark.
pub(super) const QUERIES: usize = 22;

/// Runs it at `scale`.
///
/// # Errors
/// The data cannot be made, a query text is missing, or a process cannot be stopped.
pub async fn run(bench: &Bench, scale: f64) -> Result<SuiteRecord> {
    let cores = machine::cores();
    let data = bench.store.tpch(&bench.launcher.polarway, scale, PARTS, &TPCH_TABLES).await?;
    let mut engines = vec![bench.launcher.up_direct().await, bench.launcher.datafusion(cores).await];
    let measurements = queries(bench, &mut engines, &data).await?;
    let mut record = SuiteRecord {
        title: format!("TPC-H at scale {scale}, direct route"),
        method: format!(
            "All 22 queries over Parquet in {PARTS} files a table. Ours: `polarway up`, `polarway.route = 'direct'`, an \
             Arrow Flight SQL client in another process sends the text and reads the whole answer. Other: DataFusion embedded in a \
             process, {cores} target partitions, same crate versions, compiler flags and allocator, planning the text \
             each time. {}",
            Plan::of(&bench.args),
        ),
        engines: stop(engines).await?,
        measurements,
        ..SuiteRecord::default()
    };
    let what = format!("TPC-H SF {scale}, {QUERIES} queries, direct");
    visit(bench, &data, cores, 0)?.run(bench, &mut record).await?;
    record.comparisons = cases::totals(&record, &what, "datafusion", Some(Aim::RatioAtMost(1.05)));
    record.comparisons.extend(guests::totals(&record, &what));
    Ok(record)
}

/// Measures the 22 queries on all `engines`, in turn query by query.
pub(super) async fn queries(bench: &Bench, engines: &mut [Engine], data: &Path) -> Result<Vec<Measurement>> {
    announce(engines);
    let texts = read(&bench.args.queries)?;
    for name in TPCH_TABLES {
        table(engines, name, &data.join(name)).await;
    }
    let plan = Plan::of(&bench.args);
    let mut measurements = Vec::with_capacity(engines.len() * texts.len());
    for (name, sql) in &texts {
        measurements.extend(cases::measure_sql(engines, name, sql, plan).await);
    }
    Ok(measurements)
}

/// The 22 queries for the guests; see [`Visit`].
pub(super) fn visit(bench: &Bench, data: &Path, partitions: usize, workers: usize) -> Result<Visit> {
    let texts = read(&bench.args.queries)?.into_iter();
    Ok(Visit {
        partitions,
        workers,
        tables: TPCH_TABLES.map(|name| (name.to_owned(), data.join(name))).to_vec(),
        cases: texts.map(|(name, sql)| (name, Work::Sql(sql))).collect(),
        plan: Plan::of(&bench.args),
    })
}

/// Names and texts of `q01.sql` to `q22.sql`.
fn read(directory: &Path) -> Result<Vec<(String, String)>> {
    (1..=QUERIES).map(|number| Ok((name(number), text(directory, number)?))).collect()
}

fn name(number: usize) -> String {
    format!("q{number:02}")
}

/// The text of one query, without the semicolon that ends a statement.
pub(super) fn text(directory: &Path, number: usize) -> Result<String> {
    let path = directory.join(name(number)).with_extension("sql");
    let text = fs::read_to_string(&path).context(|| format!("reading {}", path.display()))?;
    Ok(text.trim().trim_end_matches(';').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_queries_must_be_there() {
        let directory = tempfile::tempdir().unwrap();
        for number in 1..QUERIES {
            fs::write(directory.path().join(format!("q{number:02}.sql")), "SELECT 1;\n").unwrap();
        }
        assert!(read(directory.path()).unwrap_err().to_string().contains("q22.sql"));
        fs::write(directory.path().join("q22.sql"), "SELECT 2;\n").unwrap();
        let texts = read(directory.path()).unwrap();
        assert_eq!(texts[0], ("q01".into(), "SELECT 1".into()));
        assert_eq!(texts.len(), 22);
    }
}
