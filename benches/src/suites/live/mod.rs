//! Streams: how soon a row is seen, how soon it is safe, how many come through, what they cost in memory, and whether
//! a bad neighbour is felt.

mod acks;
mod cores;
mod disk;
mod fairness;
mod freshness;
mod memory;
mod neighbours;
pub mod rows;
mod server;
mod throughput;
mod usage;
mod visible;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::ARROW_VERSION;
use clap::ValueEnum;

use crate::compare::digits;
use crate::engines::OURS;
use crate::failure::Result;
use crate::record::{EngineRecord, LoadRepeat, Measurement, ProcessPeak, SuiteRecord, keep_larger};
use crate::socket::paced::Paced;
use crate::stats;
use crate::suites::{Bench, note};

/// Frames that are sent before those that are timed.
const WARMUP: Duration = Duration::from_millis(500);

/// One subject; each makes one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    Freshness,
    Acks,
    Throughput,
    Memory,
    Fairness,
}

/// All of them in the order of the published table.
pub const PARTS: [Part; 5] = [Part::Freshness, Part::Acks, Part::Throughput, Part::Memory, Part::Fairness];

impl Part {
    /// Name of its record.
    pub fn name(self) -> &'static str {
        match self {
            Part::Freshness => "live-freshness",
            Part::Acks => "live-acks",
            Part::Throughput => "live-throughput",
            Part::Memory => "live-memory",
            Part::Fairness => "live-fairness",
        }
    }

    /// Measures it.
    ///
    /// # Errors
    /// A server does not start or does not stop as it should, or nothing could be measured.
    pub async fn measure(self, bench: &Bench) -> Result<SuiteRecord> {
        match self {
            Part::Freshness => freshness::run(bench).await,
            Part::Acks => acks::run(bench).await,
            Part::Throughput => throughput::run(bench).await,
            Part::Memory => memory::run(bench).await,
            Part::Fairness => fairness::run(bench).await,
        }
    }
}

/// Ends senders: when asked to, and when what asks is dropped, so that a measurement that fails leaves no thread behind
/// that goes on sending.
#[derive(Debug, Default)]
struct Stop(Arc<AtomicBool>);

impl Stop {
    /// What a sender looks at.
    fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.now();
    }
}

/// Keeps the larger peaks of `name`'s processes over the whole suite.
fn used(engines: &mut Vec<EngineRecord>, name: &str, peak: ProcessPeak) {
    match engines.iter_mut().find(|engine| engine.name == name) {
        Some(engine) => keep_larger(&mut engine.processes, vec![peak]),
        None => {
            let version = if name == OURS {
                env!("CARGO_PKG_VERSION").to_owned()
            } else {
                format!("arrow {ARROW_VERSION}")
            };
            let processes = vec![peak];
            engines.push(EngineRecord {
                name: name.to_owned(),
                version: Some(version),
                error: None,
                processes,
            });
        }
    }
}

/// Adds what one sender saw.
fn add(measured: &mut Measurement, paced: Paced) {
    if paced.bad > 0 {
        measured.fail("rows were refused", paced.bad);
    }
    measured.repeats.push(LoadRepeat { seconds: paced.seconds, completed: paced.rows, failed: paced.bad });
    measured.samples_ms.extend(paced.samples_ms);
}

/// Median, 99th percentile and largest of `samples`, in words.
fn spread(samples: &[f64]) -> String {
    let show = |value: Option<f64>| value.map_or("–".into(), digits);
    let [p99, max] = [99.0, 100.0].map(|percent| show(stats::percentile(samples, percent)));
    format!("p50 {} ms, p99 {p99} ms, max {max} ms of {}", show(stats::median(samples)), samples.len())
}

/// Tells the person at the terminal what came of a case.
fn tell(measured: &Measurement) {
    let failures: Vec<String> = failures(measured);
    let text = if measured.samples_ms.is_empty() { String::new() } else { spread(&measured.samples_ms) };
    let rate = measured.summary.per_second.map_or(String::new(), |rate| format!(" {} rows/s", digits(rate)));
    note(format_args!("{}, {}:{rate} {text} {}", measured.engine, measured.case, failures.join("; ")));
}

/// What failed, a sentence each.
fn failures(measured: &Measurement) -> Vec<String> {
    let (engine, case) = (&measured.engine, &measured.case);
    let failures = measured.failures.iter();
    failures.map(|one| format!("{engine} failed at {case} ({} times): {}", one.count, one.message)).collect()
}
