//! Throughput and latency of a small aggregate over Parquet under many clients.

use std::time::Duration;

use super::cases::{peaks_at, remarks_on};
use super::small::SUPPLIER;
use super::{Bench, PARTS, announce, note, stop, table};
use crate::compare::{Aim, Comparison, Unit, digits};
use crate::engines::{Engine, OURS, Python};
use crate::failure::Result;
use crate::load::Load;
use crate::machine;
use crate::record::{LoadRepeat, Measurement, SuiteRecord};

/// From so many clients on the aim holds.
const AIM_FROM: usize = 10;
const WARMUP: Duration = Duration::from_secs(1);

/// Runs it.
///
/// # Errors
/// The data cannot be made or a process cannot be stopped.
pub async fn run(bench: &Bench) -> Result<SuiteRecord> {
    let cores = machine::cores();
    let launcher = &bench.launcher;
    let data = bench.store.tpch(&launcher.polarway, bench.args.small_scale, PARTS, &["supplier"]).await?;
    let mut engines = vec![
        launcher.up(&[]).await,
        launcher.datafusion(cores).await,
        launcher.python(Python::Polars, "polars").await,
        launcher.python(Python::DuckDb, "duckdb").await,
        launcher.ballista(2, 1, 2).await,
    ];
    announce(&engines);
    table(&mut engines, "supplier", &data.join("supplier")).await;
    let mut measurements = Vec::new();
    for &clients in &bench.args.clients {
        measurements.extend(measure(bench, &mut engines, clients).await);
    }
    let mut record = SuiteRecord {
        title: "Small aggregate under concurrent clients".into(),
        method: format!(
            "`{SUPPLIER}` over the supplier table of TPC-H scale {}. Each client sends the next request when the last \
             is answered, for {} s, {} times on each engine in turn; requests under way at the end are waited for. \
             Ours: Arrow Flight SQL clients on up to 8 connections to `polarway up`, sending the text each time. \
             DataFusion: as many tasks over one session in a process. Polars and DuckDB: as many Python threads. \
             Ballista: scheduler, two executors of one slot, as many tasks over one client session. Rates are medians \
             over the repeats, percentiles are over all requests.",
            bench.args.small_scale, bench.args.seconds, bench.args.repeats,
        ),
        engines: stop(engines).await?,
        measurements,
        ..SuiteRecord::default()
    };
    record.comparisons = lines(&record, &bench.args.clients);
    Ok(record)
}

/// Measures the small aggregate under so many `clients` on all `engines`, in turn.
pub(super) async fn measure(bench: &Bench, engines: &mut [Engine], clients: usize) -> Vec<Measurement> {
    let case = case(clients);
    let window = Duration::from_secs_f64(bench.args.seconds);
    let patience = Duration::from_secs_f64(bench.args.load_timeout);
    let mut measured: Vec<Measurement> = Vec::new();
    for engine in engines.iter_mut().filter(|engine| engine.absent().is_none()) {
        let mut measurement = engine.measurement(&case);
        if let Err(failure) = engine.load(SUPPLIER, clients, WARMUP, patience).await {
            measurement.fail(&failure.to_string(), 1);
        }
        measured.push(measurement);
    }
    for _ in 0..bench.args.repeats {
        let there = engines.iter_mut().filter(|engine| engine.absent().is_none());
        for (engine, measurement) in there.zip(&mut measured) {
            match engine.load(SUPPLIER, clients, window, patience).await {
                Ok(load) => add(measurement, load),
                Err(failure) => measurement.fail(&failure.to_string(), 1),
            }
        }
    }
    let there = engines.iter_mut().filter(|engine| engine.absent().is_none());
    for (engine, measurement) in there.zip(&mut measured) {
        measurement.summarise();
        measurement.processes = engine.peaks();
        let rate = measurement.summary.per_second.map_or("–".into(), digits);
        note(format_args!("{case}: {} {rate} /s, {} failed", measurement.engine, measurement.failed()));
    }
    measured
}

/// Adds one window under load.
pub(super) fn add(measurement: &mut Measurement, load: Load) {
    let failed = load.failures.iter().map(|failure| failure.count).sum();
    let completed = load.samples_ms.len() as u64;
    measurement.repeats.push(LoadRepeat { seconds: load.seconds, completed, failed });
    measurement.samples_ms.extend(load.samples_ms);
    measurement.rows = load.rows.or(measurement.rows);
    for failure in load.failures {
        measurement.fail(&failure.message, failure.count);
    }
}

fn lines(record: &SuiteRecord, clients: &[usize]) -> Vec<Comparison> {
    let mut lines = Vec::new();
    for &clients in clients {
        for other in ["datafusion", "polars", "duckdb", "ballista"] {
            let aim = (other == "datafusion" && clients >= AIM_FROM).then_some(Aim::RatioAtLeast(1.3));
            lines.push(line(record, clients, "", other, aim));
        }
    }
    lines
}

/// One line of rates under so many `clients`; `what` is said of ours beside that.
pub(super) fn line(
    record: &SuiteRecord,
    clients: usize,
    what: &str,
    other: &str,
    aim: Option<Aim>,
) -> Comparison {
    let case = case(clients);
    let rate = |engine| record.measurement(engine, &case).and_then(|measured| measured.summary.per_second);
    let failed = record.measurement(OURS, &case).map_or(0, Measurement::failed);
    let line = format!("Small aggregate, {case}, requests{what}");
    let figures = (rate(OURS), rate(other));
    Comparison::new(line, Unit::RequestsPerSecond, figures, other, aim, failed)
        .with_rss(peaks_at(record, OURS, &case), peaks_at(record, other, &case))
        .with_notes(remarks_on(record, other, &case))
}

fn case(clients: usize) -> String {
    if clients == 1 { "1 client".into() } else { format!("{clients} clients") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_aim_holds_from_ten_clients_on_and_errors_miss_it() {
        let measured = |engine: &str, clients, completed, failures: u64| {
            let mut measurement = Measurement::new(engine, case(clients));
            let mut load = Load { seconds: 1.0, samples_ms: vec![1.0; completed], ..Load::default() };
            if failures > 0 {
                load.failures.push(crate::record::FailureCount { message: "x".into(), count: failures });
            }
            add(&mut measurement, load);
            measurement.summarise();
            measurement
        };
        let record = SuiteRecord {
            measurements: vec![
                measured(OURS, 1, 100, 0),
                measured("datafusion", 1, 200, 0),
                measured(OURS, 10, 300, 0),
                measured("datafusion", 10, 200, 0),
                measured(OURS, 50, 300, 1),
                measured("datafusion", 50, 200, 0),
            ],
            ..SuiteRecord::default()
        };
        let lines = lines(&record, &[1, 10, 50]);
        let met: Vec<_> =
            lines.iter().filter(|line| line.against == "datafusion").map(|line| line.met).collect();
        assert_eq!(met, [None, Some(true), Some(false)]);
    }
}
