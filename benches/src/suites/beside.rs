//! What a long query costs a short one that runs beside it.

use super::cases::{self, Plan, peaks_at, remarks_on};
use super::small::SUPPLIER;
use super::{Bench, PARTS, announce, concurrency, note, stop, table, tpch};
use crate::compare::{Aim, Comparison, Unit, digits};
use crate::data::TPCH_TABLES;
use crate::engines::{Engine, OURS};
use crate::failure::Result;
use crate::record::{Measurement, SuiteRecord};

/// Number of the long one among TPC-H's queries: it reads `lineitem` three times.
const LONG: usize = 21;
const SLOWER_AT_MOST: f64 = 3.0;

const ALONE: &str = "short query alone";
const BESIDE: &str = "short query beside a long one";
const MEANWHILE: &str = "the long query meanwhile";

/// Runs it.
///
/// # Errors
/// The data cannot be made, the query's text is missing, or a process cannot be stopped.
pub async fn run(bench: &Bench) -> Result<SuiteRecord> {
    let (scale, requests) = (bench.args.small_scale, bench.args.requests);
    let long = tpch::text(&bench.args.queries, LONG)?;
    let data = bench.store.tpch(&bench.launcher.polarway, scale, PARTS, &TPCH_TABLES).await?;
    let mut engines = vec![bench.launcher.up(&[]).await];
    announce(&engines);
    for name in TPCH_TABLES {
        table(&mut engines, name, &data.join(name)).await;
    }
    let plan = Plan { warmup: 20, repeats: requests, patience: bench.args.patience() };
    let mut measurements = cases::measure_sql(&mut engines, ALONE, SUPPLIER, plan).await;
    for engine in engines.iter_mut().filter(|engine| engine.absent().is_none()) {
        measurements.extend(measure(engine, &long, plan).await);
    }
    let mut record = SuiteRecord {
        title: "A short query beside a long one".into(),
        method: format!(
            "`{SUPPLIER}` over TPC-H at scale {scale}, one client of `polarway up`, {requests} requests after 20 \
             unmeasured ones: first alone, then while another client runs TPC-H query {LONG} again and again.",
        ),
        engines: stop(engines).await?,
        measurements,
        ..SuiteRecord::default()
    };
    record.comparisons = vec![line(&record)];
    Ok(record)
}

async fn measure(engine: &mut Engine, long: &str, plan: Plan) -> [Measurement; 2] {
    let mut measured = [BESIDE, MEANWHILE].map(|case| engine.measurement(case));
    match engine.beside(SUPPLIER, long, plan.repeats, plan.patience).await {
        Ok((light, heavy)) => {
            for (measurement, load) in measured.iter_mut().zip([light, heavy]) {
                concurrency::add(measurement, load);
            }
        }
        Err(failure) => measured.iter_mut().for_each(|one| one.fail(&failure.to_string(), 1)),
    }
    for measurement in &mut measured {
        measurement.summarise();
        measurement.processes = engine.peaks();
        let p50 = measurement.summary.p50_ms.map_or("–".into(), digits);
        note(format_args!("{}: {p50} ms, {} failed", measurement.case, measurement.failed()));
    }
    measured
}

fn line(record: &SuiteRecord) -> Comparison {
    let p50 = |case| record.measurement(OURS, case).and_then(|measured| measured.summary.p50_ms);
    let cases = [ALONE, BESIDE, MEANWHILE];
    let failed = cases.map(|case| record.measurement(OURS, case).map_or(0, Measurement::failed));
    let mut notes = cases.map(|case| remarks_on(record, "", case)).concat();
    if let Some(long) = record.measurement(OURS, MEANWHILE) {
        let (times, p50) = (long.samples_ms.len(), long.summary.p50_ms.map_or("–".into(), digits));
        notes.push(format!("TPC-H query {LONG} ran {times} times meanwhile, p50 {p50} ms."));
    }
    Comparison::new(
        "Small aggregate beside a long query, p50",
        Unit::Milliseconds,
        (p50(BESIDE), p50(ALONE)),
        "itself alone",
        Some(Aim::RatioAtMost(SLOWER_AT_MOST)),
        failed.iter().sum(),
    )
    .with_rss(peaks_at(record, OURS, BESIDE), Vec::new())
    .with_notes(notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(alone: f64, beside: f64, long_failures: u64) -> SuiteRecord {
        let measured = |case, sample| {
            let mut measurement = Measurement::new(OURS, case);
            measurement.samples_ms = vec![sample; 5];
            measurement.summarise();
            measurement
        };
        let mut long = measured(MEANWHILE, 2_000.0);
        if long_failures > 0 {
            long.fail("out of memory", long_failures);
        }
        let measurements = vec![measured(ALONE, alone), measured(BESIDE, beside), long];
        SuiteRecord { measurements, ..SuiteRecord::default() }
    }

    #[test]
    fn the_aim_is_three_times_the_time_alone() {
        let met = line(&record(4.0, 12.0, 0));
        assert_eq!((met.ratio, met.met), (Some(3.0), Some(true)));
        assert_eq!(met.notes, ["TPC-H query 21 ran 5 times meanwhile, p50 2000 ms."]);
        assert_eq!(line(&record(4.0, 12.5, 0)).met, Some(false));
    }

    #[test]
    fn a_long_query_that_fails_is_no_measure() {
        let line = line(&record(4.0, 5.0, 1));
        assert_eq!(line.met, Some(false));
        assert!(line.notes[0].contains("out of memory"));
    }
}
