//! Tasks that are named, watched and joined.
//!
//! A [`Supervisor`] owns the tasks of one process (or of one component) and the token that asks them to stop. Each
//! task declares by its [`TaskKind`] what its end means, so nothing dies unnoticed, and
//! [`Supervisor::shutdown`] leaves nothing running.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinError};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::Error;

/// How long an aborted task may take to notice; one that computes without a pause never does.
const ABORT_GRACE: Duration = Duration::from_secs(1);

/// What the end of a task means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// The process cannot do its work without it: any end before shutdown stops all the others.
    Critical,
    /// The process goes on without it; a failure is logged.
    Background,
}

/// Spawns named tasks and stops them together. Clones share the same tasks.
#[derive(Debug, Clone, Default)]
pub struct Supervisor {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    token: CancellationToken,
    tracker: TaskTracker,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    running: BTreeMap<u64, (String, AbortHandle)>,
    failure: Option<Error>,
    /// Set when the last task has been joined: from then on nothing may start.
    closed: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task's entry among those that run. It goes with the watch over the task, also when the runtime of both ends first.
struct Running {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.state().running.remove(&self.id);
    }
}

impl Supervisor {
    pub fn new() -> Self {
        Self::default()
    }

    /// The token that asks every task to stop; tasks clone it and watch it.
    pub fn token(&self) -> CancellationToken {
        self.shared.token.clone()
    }

    /// Starts a task on the current tokio runtime. It runs until its future ends, and should end soon after
    /// [`Supervisor::token`] is cancelled. After a completed [`Supervisor::shutdown`] nothing is started.
    pub fn spawn<F>(&self, name: impl Into<String>, kind: TaskKind, future: F)
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let name = name.into();
        let mut state = self.shared.state();
        if state.closed {
            tracing::debug!(task = name, "not started: shutdown is complete");
            return;
        }
        let task = tokio::spawn(future);
        let id = state.next_id;
        state.next_id += 1;
        state.running.insert(id, (name.clone(), task.abort_handle()));
        let running = Running { shared: Arc::clone(&self.shared), id };
        self.shared.tracker.spawn(async move {
            let outcome = task.await;
            let shared = Arc::clone(&running.shared);
            drop(running);
            shared.ended(&name, kind, outcome);
        });
    }

    /// Completes when shutdown has begun: because it was asked for or because a critical task ended.
    pub async fn stopping(&self) {
        self.shared.token.cancelled().await;
    }

    /// The failure of the first critical task that failed.
    pub fn failure(&self) -> Option<Error> {
        self.shared.state().failure.clone()
    }

    /// Names of the tasks that have not ended, in the order in which they were started.
    pub fn running(&self) -> Vec<String> {
        self.shared.state().running.values().map(|(name, _)| name.clone()).collect()
    }

    /// Asks all tasks to stop, waits for them as long as `grace`, and aborts those that remain.
    ///
    /// # Errors
    /// The failure of the first critical task that failed; otherwise, if tasks had to be aborted, an error that
    /// names them.
    pub async fn shutdown(&self, grace: Duration) -> Result<(), Error> {
        self.shared.token.cancel();
        self.shared.tracker.close();
        let overdue = match timeout(grace, self.joined()).await {
            Ok(()) => None,
            Err(_) => self.abort_remaining(grace).await,
        };
        self.shared.state().closed = true;
        match (self.failure(), overdue) {
            (Some(failure), _) => Err(failure),
            (None, Some(overdue)) => Err(Error::internal(overdue)),
            (None, None) => Ok(()),
        }
    }

    /// Waits until no task runs, then lets none start: a task may start others up to its end.
    async fn joined(&self) {
        loop {
            self.shared.tracker.wait().await;
            let mut state = self.shared.state();
            if state.running.is_empty() {
                state.closed = true;
                return;
            }
        }
    }

    async fn abort_remaining(&self, grace: Duration) -> Option<String> {
        let names = {
            let mut state = self.shared.state();
            state.closed = true;
            state.running.values().for_each(|(_, task)| task.abort());
            state.running.values().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>()
        };
        if names.is_empty() {
            return None;
        }
        let message = format!("did not stop within {grace:?} and were aborted: {}", names.join(", "));
        tracing::warn!("tasks {message}");
        if timeout(ABORT_GRACE, self.shared.tracker.wait()).await.is_err() {
            tracing::error!(tasks = ?self.running(), "tasks do not react to being aborted");
        }
        Some(format!("tasks {message}"))
    }
}

impl Shared {
    fn ended(&self, name: &str, kind: TaskKind, outcome: Result<Result<(), Error>, JoinError>) {
        let stopping = self.token.is_cancelled();
        let failure = match outcome {
            Ok(Ok(())) if kind == TaskKind::Critical && !stopping => {
                Error::internal(format!("task `{name}` ended although it is meant to run until shutdown"))
            }
            Ok(Ok(())) => {
                tracing::debug!(task = name, "task ended");
                return;
            }
            Ok(Err(error)) => error,
            // Only `abort_remaining` aborts, and it reports the names itself.
            Err(error) if error.is_cancelled() => return,
            Err(error) => Error::internal(format!("task `{name}` panicked: {}", panic_text(error))),
        };
        match kind {
            TaskKind::Background => tracing::warn!(task = name, error = %failure, "background task failed"),
            TaskKind::Critical => {
                tracing::error!(task = name, error = %failure, "critical task failed");
                self.state().failure.get_or_insert(failure);
                self.token.cancel();
            }
        }
    }
}

fn panic_text(error: JoinError) -> String {
    let Ok(payload) = error.try_into_panic() else { return "unknown".to_owned() };
    let payload: &(dyn Any + Send) = payload.as_ref();
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::error::ErrorKind;

    const LONG: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(20);

    fn until_stopped(supervisor: &Supervisor) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let token = supervisor.token();
        async move {
            token.cancelled().await;
            Ok(())
        }
    }

    #[test]
    fn tasks_that_ended_with_their_runtime_hold_nothing_up() {
        let (theirs, ours) =
            (tokio::runtime::Runtime::new().unwrap(), tokio::runtime::Runtime::new().unwrap());
        let supervisor = Supervisor::new();
        let spawned = supervisor.clone();
        theirs.block_on(async move {
            spawned.spawn("endless", TaskKind::Background, std::future::pending());
        });
        drop(theirs);
        let ended = ours.block_on(async {
            timeout(Duration::from_secs(60), supervisor.shutdown(Duration::from_secs(30))).await
        });
        assert_eq!(ended.expect("it waits for ever"), Ok(()));
    }

    #[tokio::test]
    async fn shutdown_stops_and_joins_all() {
        let supervisor = Supervisor::new();
        supervisor.spawn("a", TaskKind::Critical, until_stopped(&supervisor));
        supervisor.spawn("b", TaskKind::Background, until_stopped(&supervisor));
        assert_eq!(supervisor.running(), ["a", "b"]);
        assert_eq!(supervisor.shutdown(LONG).await, Ok(()));
        assert!(supervisor.running().is_empty());
    }

    #[tokio::test]
    async fn shutdown_of_nothing_is_at_once() {
        assert_eq!(Supervisor::new().shutdown(Duration::ZERO).await, Ok(()));
    }

    #[tokio::test]
    async fn a_failed_critical_task_stops_the_others_with_its_error() {
        let supervisor = Supervisor::new();
        let failure = Error::new(ErrorKind::StoreUnavailable, "gone");
        supervisor.spawn("server", TaskKind::Critical, until_stopped(&supervisor));
        supervisor.spawn("store", TaskKind::Critical, {
            let failure = failure.clone();
            async move { Err(failure) }
        });
        supervisor.stopping().await;
        assert_eq!(supervisor.failure(), Some(failure.clone()));
        assert_eq!(supervisor.shutdown(LONG).await, Err(failure));
    }

    #[tokio::test]
    async fn a_critical_task_that_ends_early_is_a_failure() {
        let supervisor = Supervisor::new();
        supervisor.spawn("server", TaskKind::Critical, async { Ok(()) });
        supervisor.stopping().await;
        let error = supervisor.shutdown(LONG).await.unwrap_err();
        assert!(error.message.contains("`server`"), "{error}");
    }

    #[tokio::test]
    async fn a_critical_panic_is_reported_with_its_text() {
        let supervisor = Supervisor::new();
        supervisor.spawn("server", TaskKind::Critical, async { panic!("boom {}", 1) });
        supervisor.stopping().await;
        let error = supervisor.shutdown(LONG).await.unwrap_err();
        assert_eq!(error.message, "task `server` panicked: boom 1");
    }

    #[tokio::test]
    async fn a_failed_background_task_disturbs_nobody() {
        let supervisor = Supervisor::new();
        supervisor.spawn("server", TaskKind::Critical, until_stopped(&supervisor));
        supervisor.spawn("janitor", TaskKind::Background, async { Err(Error::internal("broken broom")) });
        supervisor.spawn("panics", TaskKind::Background, async { panic!("boom") });
        tokio::time::sleep(SHORT).await;
        assert_eq!(supervisor.running(), ["server"]);
        assert!(!supervisor.token().is_cancelled());
        assert_eq!(supervisor.shutdown(LONG).await, Ok(()));
    }

    #[tokio::test]
    async fn a_task_that_ignores_shutdown_is_aborted_and_named() {
        struct Dropped(Arc<AtomicBool>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let supervisor = Supervisor::new();
        let dropped = Arc::new(AtomicBool::new(false));
        let guard = Dropped(Arc::clone(&dropped));
        supervisor.spawn("good", TaskKind::Critical, until_stopped(&supervisor));
        supervisor.spawn("stubborn", TaskKind::Background, async move {
            let _guard = guard;
            std::future::pending().await
        });
        let error = supervisor.shutdown(SHORT).await.unwrap_err();
        assert!(error.message.contains("`stubborn`") && !error.message.contains("good"), "{error}");
        assert!(dropped.load(Ordering::SeqCst), "the task is gone when shutdown returns");
        assert!(supervisor.running().is_empty());
    }

    #[tokio::test]
    async fn a_task_started_during_shutdown_is_joined_too() {
        let supervisor = Supervisor::new();
        let finished = Arc::new(AtomicBool::new(false));
        supervisor.spawn("parent", TaskKind::Background, {
            let (supervisor, finished) = (supervisor.clone(), Arc::clone(&finished));
            async move {
                supervisor.stopping().await;
                supervisor.spawn("child", TaskKind::Background, async move {
                    tokio::time::sleep(SHORT).await;
                    finished.store(true, Ordering::SeqCst);
                    Ok(())
                });
                Ok(())
            }
        });
        assert_eq!(supervisor.shutdown(LONG).await, Ok(()));
        assert!(finished.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn nothing_starts_after_shutdown() {
        let supervisor = Supervisor::new();
        supervisor.shutdown(LONG).await.unwrap();
        supervisor.spawn("late", TaskKind::Critical, async { panic!("must not run") });
        assert!(supervisor.running().is_empty());
    }
}
