//! Many Parquet files at once through the door, against Polars in a loop, Polars as one scan, and the guests.

use super::cases::{self, Plan, Work};
use super::guests::{self, Visit};
use super::{Bench, announce, stop, table};
use crate::engines::Python;
use crate::failure::Result;
use crate::machine;
use crate::record::SuiteRecord;

const LOOP: &str = "polars (loop)";
const SCAN: &str = "polars (one scan)";

/// Runs it.
///
/// # Errors
/// The data cannot be made or a process cannot be stopped.
pub async fn run(bench: &Bench) -> Result<SuiteRecord> {
    let launcher = &bench.launcher;
    let (counts, rows) = (&bench.args.file_counts, bench.args.file_rows);
    let paths = bench.store.wide(counts.iter().copied().max().unwrap_or(0), rows)?;
    let mut engines = vec![
        launcher.up(&[]).await,
        launcher.python(Python::Polars, LOOP).await,
        launcher.python(Python::Polars, SCAN).await,
    ];
    announce(&engines);
    for (index, path) in paths.iter().enumerate() {
        // Polars makes no table: it reads the files themselves.
        table(&mut engines[..1], &format!("file_{index}"), path).await;
    }
    let plan = Plan::of(&bench.args);
    let mut measurements = Vec::new();
    let mut scans = Vec::new();
    for &count in counts {
        let statements = (0..count).map(|index| format!("SELECT * FROM file_{index}")).collect();
        let paths: Vec<String> = paths.iter().take(count).map(|path| path.display().to_string()).collect();
        let scan = Work::Read { paths: paths.clone(), how: "scan" };
        scans.push((case(count), scan.clone()));
        let works = [Work::AtOnce(statements), Work::Read { paths, how: "each" }, scan];
        measurements.extend(cases::measure(&mut engines, &case(count), &works, plan).await);
    }
    let mut record = SuiteRecord {
        title: "Many files at once".into(),
        method: format!(
            "Parquet files of {rows} rows in four columns each, all rows read. Ours: one `SELECT *` a file, all sent \
             at the same time over one connection to `polarway up`, decoded to Arrow batches in another process. \
             Polars: `read_parquet` in a loop, and `scan_parquet` over all files with one `collect`. {plan}",
        ),
        engines: stop(engines).await?,
        measurements,
        ..SuiteRecord::default()
    };
    let visit = Visit { partitions: machine::cores(), workers: 0, tables: Vec::new(), cases: scans, plan };
    visit.run(bench, &mut record).await?;
    for &count in counts {
        let (line, case) = (format!("{count} files, median time"), case(count));
        let polars = [LOOP, SCAN].map(|other| cases::medians(&record, &line, &case, other, None));
        record.comparisons.extend(polars);
        record.comparisons.extend(guests::medians(&record, &line, &case));
    }
    Ok(record)
}

fn case(count: usize) -> String {
    format!("{count} files")
}
