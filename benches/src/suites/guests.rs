//! Peers that no aim names: Sail, Spark and Daft. They are measured after the others, each alone, so that neither the
//! memory they hold nor the threads they keep busy are in a figure that has an aim.

use std::path::PathBuf;
use std::slice;

use super::cases::{self, Plan, Work};
use super::{Bench, announce, stop, table};
use crate::compare::Comparison;
use crate::engines::{Engine, Python};
use crate::failure::Result;
use crate::record::SuiteRecord;

/// In the order of the published table.
pub const GUESTS: [Python; 3] = [Python::Sail, Python::Spark, Python::Daft];

/// What each guest of a suite is asked.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Partitions, threads or local cores.
    pub partitions: usize,
    /// Workers of Sail's cluster in one process; with none it is in its local mode.
    pub workers: usize,
    pub tables: Vec<(String, PathBuf)>,
    pub cases: Vec<(String, Work)>,
    pub plan: Plan,
}

impl Visit {
    /// Measures one guest after another and adds what came of it to `record`.
    ///
    /// # Errors
    /// A process cannot be stopped. A guest that is not installed or fails is no such error: it is recorded.
    pub async fn run(&self, bench: &Bench, record: &mut SuiteRecord) -> Result<()> {
        record.method += &self.method();
        for which in GUESTS {
            let mut engines = vec![self.start(bench, which).await];
            announce(&engines);
            for (name, path) in &self.tables {
                table(&mut engines, name, path).await;
            }
            if engines.iter().any(|engine| engine.absent().is_none()) {
                for (case, work) in &self.cases {
                    let measured = cases::measure(&mut engines, case, slice::from_ref(work), self.plan).await;
                    record.measurements.extend(measured);
                }
            }
            record.engines.extend(stop(engines).await?);
        }
        Ok(())
    }

    async fn start(&self, bench: &Bench, which: Python) -> Engine {
        match which {
            Python::Sail if self.workers > 0 => {
                bench.launcher.sail_cluster(self.workers, self.partitions).await
            }
            _ => bench.launcher.guest(which, self.partitions).await,
        }
    }

    fn method(&self) -> String {
        let sail = match self.workers {
            0 => "in its local mode".to_owned(),
            workers => format!("with {workers} workers in that process"),
        };
        format!(
            " Sail, Spark and Daft come after that as often, one after another and each alone: Sail's server in a \
             process of its own {sail}, asked by Spark Connect; Spark in local mode with a heap of at most 70 % of \
             the machine's memory, which is what queries of ours may have; Daft's runner in its Python process. Each \
             has {} partitions, and its answers are read as Arrow. The resident sets of Sail's server and of Spark's \
             JVM stand beside those of their Python processes.",
            self.partitions,
        )
    }
}

/// For each guest the lines of [`cases::totals`], without an aim.
pub fn totals(record: &SuiteRecord, what: &str) -> Vec<Comparison> {
    GUESTS.iter().flat_map(|guest| cases::totals(record, what, guest.name(), None)).collect()
}

/// For each guest the line of [`cases::medians`], without an aim.
pub fn medians(record: &SuiteRecord, what: &str, case: &str) -> Vec<Comparison> {
    GUESTS.iter().map(|guest| cases::medians(record, what, case, guest.name(), None)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engines::OURS;
    use crate::record::{EngineRecord, Measurement};

    fn visit(workers: usize) -> Visit {
        let plan = Plan { warmup: 0, repeats: 1, patience: Duration::from_secs(1) };
        Visit { partitions: 4, workers, tables: Vec::new(), cases: Vec::new(), plan }
    }

    #[test]
    fn the_method_tells_how_sail_runs() {
        assert!(
            visit(0).method().contains("in its local mode") && visit(0).method().contains("4 partitions")
        );
        assert!(visit(2).method().contains("with 2 workers in that process"));
    }

    #[test]
    fn each_guest_has_its_lines_and_an_absent_one_says_why() {
        let measured = |engine: &str, millis: f64| {
            let mut measurement = Measurement::new(engine, "q01");
            measurement.samples_ms = vec![millis];
            measurement.summarise();
            measurement
        };
        let record = SuiteRecord {
            engines: vec![EngineRecord {
                name: "spark".into(),
                error: Some("no Java runtime".into()),
                ..EngineRecord::default()
            }],
            measurements: vec![measured(OURS, 1_000.0), measured("sail", 2_000.0), measured("daft", 500.0)],
            ..SuiteRecord::default()
        };
        let lines = totals(&record, "TPC-H");
        let against: Vec<_> = lines.iter().map(|line| line.against.as_str()).collect();
        assert_eq!(against, ["sail", "sail", "spark", "spark", "daft", "daft"]);
        assert!(lines.iter().all(|line| line.aim.is_none() && line.met.is_none()));
        assert_eq!((lines[0].ratio, lines[4].ratio), (Some(0.5), Some(2.0)));
        assert_eq!((lines[2].ours, lines[2].other), (Some(1.0), None));
        assert_eq!(lines[2].notes, ["spark is not measured: no Java runtime"]);
        let lines = medians(&record, "q01 alone", "q01");
        assert_eq!((lines[1].ours, lines[1].other), (Some(1_000.0), None));
        assert_eq!(lines[1].notes, ["spark is not measured: no Java runtime"]);
    }
}
