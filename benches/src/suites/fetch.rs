//! A large result through the door, against pyarrow and the guests reading the same Parquet file.

use super::cases::{self, Plan, Work};
use super::guests::{GUESTS, Visit};
use super::{Bench, announce, peaks, stop, table};
use crate::compare::{Aim, Comparison, Unit};
use crate::engines::{OURS, Python};
use crate::failure::{Context, Result};
use crate::machine;
use crate::record::{Measurement, SuiteRecord};

pub(super) const CASE: &str = "all rows";

/// Runs it.
///
/// # Errors
/// The data cannot be made or a process cannot be stopped.
pub async fn run(bench: &Bench) -> Result<SuiteRecord> {
    let rows = bench.args.fetch_rows;
    let paths = bench.store.wide(1, rows)?;
    let path = paths.first().context(|| "no file was made")?;
    let mut engines =
        vec![bench.launcher.up(&[]).await, bench.launcher.python(Python::PyArrow, "pyarrow").await];
    announce(&engines);
    // pyarrow makes no table: it reads the file itself.
    table(&mut engines[..1], "wide", path).await;
    let works = [
        Work::Sql("SELECT * FROM wide".into()),
        Work::Read { paths: vec![path.display().to_string()], how: "each" },
    ];
    let plan = Plan::of(&bench.args);
    let measurements = cases::measure(&mut engines, CASE, &works, plan).await;
    let mut record = SuiteRecord {
        title: "Fetch of a large result".into(),
        method: format!(
            "One Parquet file of {rows} rows in four columns (integer, float, timestamp, short string). Ours: \
             `SELECT *` through the door of `polarway up`, decoded to Arrow batches by an Arrow Flight SQL client in \
             another process. Other: `pyarrow.parquet.read_table` on the file. Rates are rows over the median time. {plan}",
        ),
        engines: stop(engines).await?,
        measurements,
        ..SuiteRecord::default()
    };
    let visit = Visit {
        partitions: machine::cores(),
        workers: 0,
        tables: Vec::new(),
        cases: vec![(CASE.into(), Work::Read { paths: vec![path.display().to_string()], how: "scan" })],
        plan,
    };
    visit.run(bench, &mut record).await?;
    let what = format!("Fetch of {rows} rows x 4 columns");
    let mut lines = vec![line(&record, &what, "pyarrow", Some(Aim::RatioAtLeast(0.5)))];
    lines.extend(GUESTS.iter().map(|guest| line(&record, &what, guest.name(), None)));
    record.comparisons = lines;
    Ok(record)
}

/// One line of rates.
pub(super) fn line(record: &SuiteRecord, what: &str, other: &str, aim: Option<Aim>) -> Comparison {
    let rate = |engine| record.measurement(engine, CASE).and_then(rows_per_second);
    let failed = record.measurement(OURS, CASE).map_or(0, Measurement::failed);
    Comparison::new(what, Unit::RowsPerSecond, (rate(OURS), rate(other)), other, aim, failed)
        .with_rss(peaks(record, OURS), peaks(record, other))
        .with_notes(cases::remarks_on(record, other, CASE))
}

fn rows_per_second(measured: &Measurement) -> Option<f64> {
    Some(measured.rows? as f64 / (measured.summary.p50_ms? / 1_000.0))
}
