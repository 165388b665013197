//! What this executor is doing: its running tasks, each with what stops it.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

/// A task's identity, unique for as long as job ids are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TaskId {
    pub job: String,
    pub stage: usize,
    pub task: usize,
}

/// Counts that `/metrics` shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub started: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub cancelled: u64,
}

/// What stops a task: its plan where it computes without yielding, the task itself where it waits.
#[derive(Debug)]
pub struct Stop {
    pub plan: CancellationToken,
    pub task: AbortHandle,
}

impl Stop {
    fn now(&self) {
        self.plan.cancel();
        self.task.abort();
    }
}

#[derive(Debug, Default)]
struct State {
    running: HashMap<TaskId, Option<Stop>>,
    totals: Totals,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Succeeded,
    Failed,
}

/// See the module's page.
#[derive(Debug, Default)]
pub struct Ledger {
    state: Mutex<State>,
}

impl Ledger {
    /// Notes a task; false when it is here already, so that a launch sent twice runs once.
    pub fn begin(&self, id: &TaskId) -> bool {
        let mut state = self.state.lock();
        if state.running.contains_key(id) {
            return false;
        }
        state.running.insert(id.clone(), None);
        state.totals.started += 1;
        true
    }

    /// Gives a begun task what stops it; a task that was cancelled in between is stopped now.
    pub fn attach(&self, id: &TaskId, stop: Stop) {
        match self.state.lock().running.get_mut(id) {
            Some(slot) => *slot = Some(stop),
            None => stop.now(),
        }
    }

    /// Whether the task was still wanted: false after a cancel.
    pub fn end(&self, id: &TaskId, outcome: Outcome) -> bool {
        let mut state = self.state.lock();
        if state.running.remove(id).is_none() {
            return false;
        }
        match outcome {
            Outcome::Succeeded => state.totals.succeeded += 1,
            Outcome::Failed => state.totals.failed += 1,
        }
        true
    }

    pub fn cancel(&self, id: &TaskId) -> bool {
        let mut state = self.state.lock();
        let Some(stop) = state.running.remove(id) else { return false };
        state.totals.cancelled += 1;
        if let Some(stop) = stop {
            stop.now();
        }
        true
    }

    /// Stops every task of a job.
    pub fn cancel_job(&self, job: &str) {
        let ids: Vec<TaskId> = self.state.lock().running.keys().filter(|id| id.job == job).cloned().collect();
        for id in ids {
            self.cancel(&id);
        }
    }

    /// Stage and task of each running task of a job.
    pub fn tasks_of(&self, job: &str) -> Vec<(usize, usize)> {
        self.state.lock().running.keys().filter(|id| id.job == job).map(|id| (id.stage, id.task)).collect()
    }

    /// Jobs that have tasks running here.
    pub fn jobs(&self) -> Vec<String> {
        self.state.lock().running.keys().map(|id| id.job.clone()).collect()
    }

    pub fn running(&self) -> usize {
        self.state.lock().running.len()
    }

    pub fn totals(&self) -> Totals {
        self.state.lock().totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(task: usize) -> TaskId {
        TaskId { job: "j".into(), stage: 1, task }
    }

    #[test]
    fn a_task_begins_once() {
        let ledger = Ledger::default();
        assert!(ledger.begin(&id(1)));
        assert!(!ledger.begin(&id(1)));
        assert!(ledger.end(&id(1), Outcome::Succeeded));
        assert!(!ledger.end(&id(1), Outcome::Succeeded));
        assert_eq!(ledger.totals(), Totals { started: 1, succeeded: 1, failed: 0, cancelled: 0 });
    }

    #[tokio::test]
    async fn row_07_a_cancel_stops_the_task_even_before_it_has_a_handle() {
        let ledger = Ledger::default();
        assert!(ledger.begin(&id(1)));
        ledger.cancel_job("j");
        let task = tokio::spawn(std::future::pending::<()>());
        let plan = CancellationToken::new();
        ledger.attach(&id(1), Stop { plan: plan.clone(), task: task.abort_handle() });
        assert!(plan.is_cancelled());
        assert!(task.await.unwrap_err().is_cancelled());
        assert!(!ledger.end(&id(1), Outcome::Failed));
        assert_eq!(ledger.running(), 0);
    }
}
