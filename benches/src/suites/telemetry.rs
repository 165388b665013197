//! What traces and metrics cost: ours with them against ours without.

use std::sync::Arc;

use super::cases::{self, Plan};
use super::small::SUPPLIER;
use super::{Bench, PARTS, concurrency, stop, tpch};
use crate::collector::Collector;
use crate::compare::Aim;
use crate::data::TPCH_TABLES;
use crate::engines::{OURS, Terms};
use crate::failure::{Failure, Result};
use crate::record::SuiteRecord;
use crate::scrape::{Counted, Scrapes};

/// Name in records of ours without.
const OFF: &str = "polarway-off";

/// What is kept of the traces, as `docs/telemetry.md` suggests.
const SAMPLE: f64 = 0.01;
const CLIENTS: usize = 50;

const TIMES: Aim = Aim::RatioAtMost(1.02);
const RATES: Aim = Aim::RatioAtLeast(0.98);

/// Runs it at `scale`.
///
/// # Errors
/// The data cannot be made, a query text is missing, a process does not start or cannot be stopped, or no telemetry came:
/// then there is no figure of what it costs.
pub async fn run(bench: &Bench, scale: f64) -> Result<SuiteRecord> {
    let launcher = &bench.launcher;
    let data = bench.store.tpch(&launcher.polarway, scale, PARTS, &TPCH_TABLES).await?;
    let (collector, scrapes) = (Collector::start()?, Arc::new(Scrapes::default()));
    let settings =
        [format!("telemetry.otlp_endpoint={}", collector.url()), format!("telemetry.sample={SAMPLE}")];
    let off = Terms { route: Some("direct"), ..Terms::default() };
    let on = Terms { scrapes: Some(Arc::clone(&scrapes)), ..off.clone() };
    let mut engines = vec![launcher.up_as(OURS, &settings, &on).await, launcher.up_as(OFF, &[], &off).await];
    if let Some(failure) = engines.iter().find_map(|engine| engine.absent()) {
        return Err(failure.clone());
    }
    let times = tpch::queries(bench, &mut engines, &data).await?;
    let rates = concurrency::measure(bench, &mut engines, CLIENTS).await;
    // Spans that still wait are sent when the process ends.
    let engines = stop(engines).await?;
    let notes = came(collector.spans(), &scrapes.counted())?;
    let mut record = SuiteRecord {
        title: "What traces and metrics cost".into(),
        method: format!(
            "Two processes `polarway up` over the same Parquet in {PARTS} files a table, TPC-H at scale {scale}. Ours: \
             `telemetry.sample = {SAMPLE}`, with spans sent every five seconds by OTLP over gRPC to a collector in the \
             harness, which counts and drops them, and with `/metrics` read once in each second in which this process \
             is measured. Other ({OFF}): neither. Both keep their history of queries. First all {} queries by the \
             direct route, as in the suite `tpch`. {} Then `{SUPPLIER}` by {CLIENTS} clients, as in the suite of \
             concurrent clients, for {} s, {} times on each in turn.",
            tpch::QUERIES,
            Plan::of(&bench.args),
            bench.args.seconds,
            bench.args.repeats,
        ),
        engines,
        measurements: times,
        ..SuiteRecord::default()
    };
    // Sums are over the queries alone, so that the rates come later.
    let what = format!("TPC-H SF {scale}, {} queries, direct, with telemetry", tpch::QUERIES);
    record.comparisons = cases::totals(&record, &what, OFF, Some(TIMES));
    record.measurements.extend(rates);
    let rate = concurrency::line(&record, CLIENTS, ", with telemetry", OFF, Some(RATES));
    record.comparisons.push(rate);
    for line in &mut record.comparisons {
        line.notes.extend(notes.iter().cloned());
    }
    Ok(record)
}

/// What telemetry was there, for the notes.
fn came(spans: u64, scrapes: &Counted) -> Result<Vec<String>> {
    if spans == 0 {
        return Err(Failure::new(format!("no span came from {OURS}, so that nothing was measured")));
    }
    let failed = scrapes.failure.as_ref().map(|failure| (scrapes.failed, failure));
    if scrapes.read == 0 {
        let why = failed.map_or(String::new(), |(_, failure)| format!(": {failure}"));
        return Err(Failure::new(format!("no metrics were read from {OURS}{why}")));
    }
    let came = format!("{spans} spans came from {OURS}, and its metrics were read {} times.", scrapes.read);
    let failed = failed.map(|(times, failure)| format!("They could not be read {times} times: {failure}"));
    Ok([came].into_iter().chain(failed).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_no_measurement() {
        let read = Counted { read: 40, ..Counted::default() };
        let failure = Some(Failure::new("no answer"));
        let none = Counted { failed: 2, failure: failure.clone(), ..Counted::default() };
        let error = came(0, &read).unwrap_err().to_string();
        assert_eq!(error, "no span came from polarway, so that nothing was measured");
        let error = came(7, &none).unwrap_err().to_string();
        assert_eq!(error, "no metrics were read from polarway: no answer");
        let all = "7 spans came from polarway, and its metrics were read 40 times.";
        assert_eq!(came(7, &read).unwrap(), [all]);
        let some = Counted { failed: 2, failure, ..read };
        assert_eq!(came(7, &some).unwrap(), [all, "They could not be read 2 times: no answer"]);
    }
}
