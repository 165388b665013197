//! Notices a job that waits for a report which will never come. A pure decision over observations.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::report::{JobReport, RunningTask};

/// What was seen of a job at one moment.
#[derive(Debug, Clone, Default)]
pub struct Observation {
    pub report: JobReport,
    /// Tasks that the graph believes to be running.
    pub believed: Vec<RunningTask>,
    /// Those of them that their executors say they do not run.
    pub denied: BTreeSet<RunningTask>,
    /// Whether some executor has a free slot.
    pub slots_free: bool,
}

/// Decides when a job has stalled.
#[derive(Debug)]
pub struct Watchdog {
    limit: Duration,
    last: JobReport,
    since: Instant,
    denied_before: BTreeSet<RunningTask>,
}

impl Watchdog {
    pub fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, last: JobReport::default(), since: now, denied_before: BTreeSet::new() }
    }

    /// Whether it is time to ask the executors what they run.
    pub fn wants_denials(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= self.limit / 4
    }

    /// The cause, if the attempt should be given up.
    ///
    /// A task that its executor denies twice in a row is lost: once may be a report that is on its way. A job with
    /// work to give out, free slots and nothing running for the whole limit is stuck. A job whose tasks run is never
    /// given up, however long they take.
    pub fn observe(&mut self, seen: Observation, now: Instant) -> Option<String> {
        if seen.report != self.last {
            self.last = seen.report;
            self.since = now;
            self.denied_before.clear();
            return None;
        }
        if let Some(task) = seen.denied.intersection(&self.denied_before).next() {
            return Some(format!(
                "executor {} no longer knows task {} of stage {}, whose report was lost",
                task.executor, task.task, task.stage
            ));
        }
        self.denied_before = seen.denied;
        let idle = seen.believed.is_empty() && seen.slots_free;
        if idle && now.duration_since(self.since) >= self.limit {
            return Some(format!(
                "nothing has happened for {} s though slots are free",
                self.limit.as_secs()
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> RunningTask {
        RunningTask { executor: "e".into(), stage: 1, task: 2 }
    }

    fn seen(denied: bool, running: bool) -> Observation {
        Observation {
            believed: if running { vec![task()] } else { vec![] },
            denied: if denied { BTreeSet::from([task()]) } else { BTreeSet::new() },
            slots_free: true,
            ..Observation::default()
        }
    }

    #[test]
    fn a_task_denied_twice_is_lost() {
        let start = Instant::now();
        let mut dog = Watchdog::new(Duration::from_secs(60), start);
        assert!(dog.observe(seen(true, true), start + Duration::from_secs(20)).is_none());
        assert!(
            dog.observe(seen(true, true), start + Duration::from_secs(21))
                .unwrap()
                .contains("task 2 of stage 1")
        );
    }

    #[test]
    fn a_late_report_clears_the_suspicion() {
        let start = Instant::now();
        let mut dog = Watchdog::new(Duration::from_secs(60), start);
        assert!(dog.observe(seen(true, true), start).is_none());
        let mut progressed = seen(true, true);
        progressed.report.executors.entry("e".into()).or_default().tasks = 1;
        assert!(dog.observe(progressed, start).is_none());
    }

    #[test]
    fn a_long_task_is_left_alone_and_a_stuck_job_is_not() {
        let start = Instant::now();
        let hour = start + Duration::from_secs(3600);
        let mut dog = Watchdog::new(Duration::from_secs(60), start);
        assert!(dog.observe(seen(false, true), hour).is_none());
        assert!(dog.observe(seen(false, false), start + Duration::from_secs(59)).is_none());
        assert!(dog.observe(seen(false, false), start + Duration::from_secs(60)).is_some());
    }
}
