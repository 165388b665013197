//! Peak memory of one process under a limit while the data grows.

use super::cases::{self, Plan};
use super::{Bench, PARTS, announce, table};
use crate::compare::{Aim, Comparison, Unit};
use crate::data;
use crate::engines::OURS;
use crate::failure::Result;
use crate::record::{EngineRecord, Measurement, SuiteRecord, keep_larger};

/// Scale of TPC-H at which the Parquet files of `lineitem` and `orders` take a gigabyte; in memory they are larger.
const SCALE_PER_GIGABYTE: f64 = 5.0;
const PEAK: f64 = 768e6;
/// The largest data may take so much of the smallest's peak: allocators round, queries do not.
const FLAT: f64 = 1.25;

const TABLES: [&str; 2] = ["lineitem", "orders"];

/// Names and texts. The sort and the join end in an aggregate that needs every row of them, so that the measured
/// memory is theirs and not the result's.
const QUERIES: [(&str, &str); 3] = [
    (
        "scan-aggregate",
        "SELECT l_returnflag, l_linestatus, count(*), sum(l_quantity), sum(l_extendedprice * (1 - l_discount)), \
         avg(l_discount) FROM lineitem GROUP BY l_returnflag, l_linestatus",
    ),
    (
        "sort",
        "SELECT count(*), max(place), sum(place % 7) FROM (SELECT row_number() OVER (ORDER BY l_extendedprice, \
         l_orderkey, l_linenumber) AS place FROM lineitem) AS ordered",
    ),
    (
        "join",
        "SELECT count(*), sum(l_extendedprice), sum(o_totalprice) FROM lineitem JOIN orders \
         ON l_orderkey = o_orderkey",
    ),
];

/// Runs it.
///
/// # Errors
/// The data cannot be made or a process cannot be stopped.
pub async fn run(bench: &Bench) -> Result<SuiteRecord> {
    let (sizes, limit) = (&bench.args.sizes, &bench.args.memory_limit);
    let mut record = SuiteRecord {
        title: format!("Memory under a limit of {limit}"),
        method: format!(
            "Tables lineitem and orders of TPC-H at scale {SCALE_PER_GIGABYTE} a gigabyte. Each query runs once in a \
             fresh `polarway up --set query.memory_limit={limit}`; the figure is the largest resident set (VmHWM) of \
             that process until it ends. The sort numbers all rows of lineitem in the order of three columns. Flat \
             means that the largest data takes at most {FLAT} times the smallest's peak.",
        ),
        ..SuiteRecord::default()
    };
    for &size in sizes {
        let scale = size * SCALE_PER_GIGABYTE;
        let place = bench.store.tpch(&bench.launcher.polarway, scale, PARTS, &TABLES).await?;
        let bytes = data::size_of(&place)?;
        record.method += &format!(" {size} GB: {} on disk.", Unit::Bytes.show(bytes as f64));
        for (name, sql) in QUERIES {
            let setting = format!("query.memory_limit={limit}");
            let mut engines = vec![bench.launcher.up(&["--set", &setting]).await];
            announce(&engines);
            for name in TABLES {
                table(&mut engines, name, &place.join(name)).await;
            }
            let plan = Plan { warmup: 0, repeats: 1, patience: bench.args.patience() };
            let measured = cases::measure_sql(&mut engines, &case(name, size), sql, plan).await;
            record.measurements.extend(measured);
            for engine in engines {
                join(&mut record.engines, engine.stop().await?);
            }
        }
    }
    record.comparisons = lines(&record, sizes);
    Ok(record)
}

/// Keeps one entry for all processes of ours, with the largest peak and the first reason not to have started.
fn join(engines: &mut Vec<EngineRecord>, ended: EngineRecord) {
    let Some(known) = engines.first_mut() else {
        engines.push(ended);
        return;
    };
    known.version = known.version.take().or(ended.version);
    known.error = known.error.take().or(ended.error);
    keep_larger(&mut known.processes, ended.processes);
}

fn lines(record: &SuiteRecord, sizes: &[f64]) -> Vec<Comparison> {
    let measured = |name, size| record.measurement(OURS, &case(name, size));
    let peak = |name, size| measured(name, size).and_then(peak);
    let failed = |name, size| measured(name, size).map_or(0, Measurement::failed);
    let mut lines = Vec::new();
    for (name, _) in QUERIES {
        for &size in sizes {
            let line = format!("Peak memory, {name} over {size} GB");
            let figures = (peak(name, size), None);
            let notes = cases::remarks_on(record, "", &case(name, size));
            let aim = Some(Aim::Below(PEAK));
            lines.push(
                Comparison::new(line, Unit::Bytes, figures, "", aim, failed(name, size))
                    .with_rss(cases::peaks_at(record, OURS, &case(name, size)), Vec::new())
                    .with_notes(notes),
            );
        }
        let smallest = sizes.iter().copied().min_by(f64::total_cmp);
        let largest = sizes.iter().copied().max_by(f64::total_cmp);
        if let (Some(smallest), Some(largest)) = (smallest, largest)
            && smallest < largest
        {
            let line = format!("Peak memory, {name}, {largest} GB against {smallest} GB");
            let figures = (peak(name, largest), peak(name, smallest));
            let failed = failed(name, largest) + failed(name, smallest);
            let against = format!("itself at {smallest} GB");
            lines.push(Comparison::new(
                line,
                Unit::Bytes,
                figures,
                against,
                Some(Aim::RatioAtMost(FLAT)),
                failed,
            ));
        }
    }
    lines
}

fn peak(measured: &Measurement) -> Option<f64> {
    measured.processes.iter().map(|process| process.peak_rss_bytes as f64).max_by(f64::total_cmp)
}

fn case(name: &str, size: f64) -> String {
    format!("{name}, {size} GB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ProcessPeak;

    #[test]
    fn each_size_is_judged_and_then_the_growth() {
        let measured = |name, size, megabytes: u64| {
            let mut measurement = Measurement::new(OURS, case(name, size));
            measurement.processes =
                vec![ProcessPeak { role: "up".into(), peak_rss_bytes: megabytes * 1_000_000 }];
            measurement
        };
        let mut failed = measured("join", 5.0, 500);
        failed.fail("out of memory", 1);
        let record = SuiteRecord {
            measurements: vec![
                measured("scan-aggregate", 1.0, 200),
                measured("scan-aggregate", 5.0, 240),
                measured("sort", 1.0, 500),
                measured("sort", 5.0, 800),
                measured("join", 1.0, 500),
                failed,
            ],
            ..SuiteRecord::default()
        };
        let lines = lines(&record, &[1.0, 5.0]);
        let met: Vec<_> = lines.iter().filter_map(|line| line.met).collect();
        assert_eq!(met, [true, true, true, true, false, false, true, false, false]);
        assert_eq!(lines[2].ratio, Some(1.2));
        assert!(lines[7].notes[0].contains("out of memory"));
    }
}
