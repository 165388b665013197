//! The model of `results.json`: facts, every raw sample, and what was derived from them.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::compare::Comparison;
use crate::failure::{Context, Result};
use crate::machine::Machine;
use crate::stats;

/// Raised when the model changes so that an older file cannot be read.
pub const FORMAT: u32 = 1;

/// A whole `results.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub format: u32,
    pub machine: Machine,
    pub suites: Vec<SuiteRecord>,
}

/// What one suite measured at one scale.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SuiteRecord {
    /// Stable name with the scale, such as `tpch-sf1`; a newer record replaces an older one of the same name.
    pub name: String,
    pub title: String,
    /// How the figures came about, in prose, for the documentation.
    pub method: String,
    /// The command line that ran it.
    pub command: String,
    pub commit: String,
    pub started: String,
    pub finished: String,
    pub engines: Vec<EngineRecord>,
    pub measurements: Vec<Measurement>,
    pub comparisons: Vec<Comparison>,
}

/// One system under test in one suite.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineRecord {
    pub name: String,
    pub version: Option<String>,
    /// Why it did not start, if it did not; its measurements are then absent.
    pub error: Option<String>,
    /// Peaks over the whole suite.
    pub processes: Vec<ProcessPeak>,
}

/// The largest resident set of one process since it started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessPeak {
    pub role: String,
    pub peak_rss_bytes: u64,
}

/// Adds `more` to `peaks`, keeping the larger of those that are there under the same role.
pub fn keep_larger(peaks: &mut Vec<ProcessPeak>, more: Vec<ProcessPeak>) {
    for peak in more {
        match peaks.iter_mut().find(|known| known.role == peak.role) {
            Some(known) => known.peak_rss_bytes = known.peak_rss_bytes.max(peak.peak_rss_bytes),
            None => peaks.push(peak),
        }
    }
}

/// One engine at one case.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    pub engine: String,
    pub case: String,
    /// Duration of each request that succeeded, in milliseconds, in the order of completion.
    pub samples_ms: Vec<f64>,
    /// One entry a repeat, for cases with concurrent clients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeats: Vec<LoadRepeat>,
    /// Rows of one answer.
    pub rows: Option<u64>,
    pub failures: Vec<FailureCount>,
    pub summary: Summary,
    /// Peaks of the engine's processes when the case was over.
    pub processes: Vec<ProcessPeak>,
}

/// One window in which a fixed number of clients sent requests back to back.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LoadRepeat {
    /// From the first request's start to the last one's end.
    pub seconds: f64,
    pub completed: u64,
    pub failed: u64,
}

/// An error's text and how often it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureCount {
    pub message: String,
    pub count: u64,
}

/// Figures derived from the samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub best_ms: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    /// Median over the repeats of completed requests a second, for cases with concurrent clients.
    pub per_second: Option<f64>,
}

impl Measurement {
    /// An empty measurement of `case` by `engine`.
    pub fn new(engine: impl Into<String>, case: impl Into<String>) -> Self {
        Self { engine: engine.into(), case: case.into(), ..Self::default() }
    }

    /// Computes the summary; call it once all samples are in.
    pub fn summarise(&mut self) {
        let rates: Vec<f64> = self.repeats.iter().map(LoadRepeat::per_second).collect();
        self.summary = Summary {
            best_ms: stats::best(&self.samples_ms),
            p50_ms: stats::median(&self.samples_ms),
            p99_ms: stats::percentile(&self.samples_ms, 99.0),
            per_second: stats::median(&rates),
        };
    }

    /// Counts a failure, under the message that is there already if it is the same.
    pub fn fail(&mut self, message: &str, count: u64) {
        match self.failures.iter_mut().find(|failure| failure.message == message) {
            Some(failure) => failure.count += count,
            None => self.failures.push(FailureCount { message: message.to_owned(), count }),
        }
    }

    /// Number of requests that failed.
    pub fn failed(&self) -> u64 {
        self.failures.iter().map(|failure| failure.count).sum()
    }
}

impl LoadRepeat {
    /// Completed requests a second.
    pub fn per_second(&self) -> f64 {
        self.completed as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }
}

impl SuiteRecord {
    /// The measurement of `case` by `engine`, if it was made.
    pub fn measurement(&self, engine: &str, case: &str) -> Option<&Measurement> {
        self.measurements.iter().find(|measured| measured.engine == engine && measured.case == case)
    }

    /// The engine called `name`.
    pub fn engine(&self, name: &str) -> Option<&EngineRecord> {
        self.engines.iter().find(|engine| engine.name == name)
    }
}

impl Report {
    /// Puts `suite` in the place of the record of the same name, or at the end.
    pub fn put(&mut self, suite: SuiteRecord) {
        match self.suites.iter_mut().find(|known| known.name == suite.name) {
            Some(known) => *known = suite,
            None => self.suites.push(suite),
        }
    }

    /// Reads a report.
    ///
    /// # Errors
    /// The file is missing, is not a report, or was written in another format.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).context(|| format!("reading {}", path.display()))?;
        let report: Self = serde_json::from_str(&text).context(|| format!("reading {}", path.display()))?;
        (report.format == FORMAT).then_some(report).context(|| {
            format!("{} has another format than {FORMAT}; run the benchmark again", path.display())
        })
    }

    /// Writes the report beside its place and renames it, so that an interrupted run leaves the last whole one.
    ///
    /// # Errors
    /// The directory cannot be made or written.
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).context(|| format!("making {}", parent.display()))?;
        }
        let beside = path.with_extension("json.partial");
        fs::write(&beside, serde_json::to_string_pretty(self)? + "\n")
            .context(|| format!("writing {}", beside.display()))?;
        fs::rename(&beside, path).context(|| format!("renaming to {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_holds_percentiles_and_the_median_rate() {
        let mut measured = Measurement::new("polarway", "10 clients");
        measured.samples_ms = vec![3.0, 1.0, 2.0];
        measured.repeats = vec![
            LoadRepeat { seconds: 2.0, completed: 20, failed: 0 },
            LoadRepeat { seconds: 2.0, completed: 60, failed: 0 },
            LoadRepeat { seconds: 1.0, completed: 15, failed: 0 },
        ];
        measured.summarise();
        let expected =
            Summary { best_ms: Some(1.0), p50_ms: Some(2.0), p99_ms: Some(3.0), per_second: Some(15.0) };
        assert_eq!(measured.summary, expected);
    }

    #[test]
    fn the_larger_peak_of_a_role_is_kept() {
        let peak = |role: &str, peak_rss_bytes| ProcessPeak { role: role.into(), peak_rss_bytes };
        let mut peaks = vec![peak("scheduler", 5), peak("executor-1", 9)];
        keep_larger(&mut peaks, vec![peak("scheduler", 7), peak("executor-1", 3), peak("client", 1)]);
        assert_eq!(peaks, [peak("scheduler", 7), peak("executor-1", 9), peak("client", 1)]);
    }

    #[test]
    fn equal_failures_are_counted_together() {
        let mut measured = Measurement::new("polarway", "q01");
        measured.fail("timed out", 1);
        measured.fail("refused", 1);
        measured.fail("timed out", 2);
        assert_eq!((measured.failures.len(), measured.failed()), (2, 4));
    }

    #[test]
    fn a_report_survives_the_disk_and_replaces_suites_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out").join("results.json");
        let suite = |method: &str| SuiteRecord {
            name: "tpch-sf1".into(),
            method: method.into(),
            ..SuiteRecord::default()
        };
        let mut report = Report { format: FORMAT, machine: Machine::default(), suites: vec![suite("old")] };
        report.put(suite("new"));
        report.write(&path).unwrap();
        assert_eq!(Report::read(&path).unwrap(), report);
        assert_eq!(report.suites.len(), 1);
    }

    #[test]
    fn another_format_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("results.json");
        Report { format: FORMAT + 1, machine: Machine::default(), suites: vec![] }.write(&path).unwrap();
        assert!(Report::read(&path).unwrap_err().to_string().contains("another format"));
    }
}
