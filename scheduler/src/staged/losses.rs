//! What job graphs and the drivers of jobs tell each other about executors that are gone.
//!
//! A graph that has lost an executor whose output others may still need does not know whether there is a copy of it. It
//! asks the job's driver, and goes on with what it can; the driver looks, and answers.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// One task's output: its stage, and the attempt and the task that wrote it.
pub type OutputOf = (u32, polarway_common::Writer);

/// An executor that is gone and has written what may still be needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    pub executor: String,
    pub outputs: Vec<OutputOf>,
}

/// What a driver is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// The attempt is over, and why.
    Over(String),
    /// The attempt is over unless there are copies of all these outputs.
    Doubt(Doubt),
}

#[derive(Debug, Clone, Default)]
struct State {
    over: Option<String>,
    /// Each executor once, with what it had written when it was lost last.
    doubts: Vec<(Doubt, Answer)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Asked,
    Taken,
    Kept,
}

/// Connects job graphs with the drivers that wait for their jobs; clones share the same connections.
#[derive(Debug, Clone, Default)]
pub struct Losses {
    waiting: Arc<Mutex<HashMap<String, watch::Sender<State>>>>,
}

/// One job's losses.
#[derive(Debug)]
pub struct LossListener {
    losses: Losses,
    job_id: String,
    receiver: watch::Receiver<State>,
}

impl Losses {
    /// Listens to `job_id`'s graph from now on.
    pub fn listen(&self, job_id: &str) -> LossListener {
        let (sender, receiver) = watch::channel(State::default());
        self.waiting.lock().insert(job_id.to_owned(), sender);
        LossListener { losses: self.clone(), job_id: job_id.to_owned(), receiver }
    }

    /// Whether a driver waits for the job's end.
    pub fn listened(&self, job_id: &str) -> bool {
        self.waiting.lock().contains_key(job_id)
    }

    /// The attempt is over.
    pub fn over(&self, job_id: &str, cause: String) {
        tracing::warn!(job = job_id, cause, "an attempt is over");
        self.change(job_id, |state| state.over = Some(cause));
    }

    /// Asks whether there are copies.
    pub fn doubt(&self, job_id: &str, doubt: Doubt) {
        self.change(job_id, |state| {
            if state.doubts.iter().all(|(known, _)| *known != doubt) {
                state.doubts.retain(|(known, _)| known.executor != doubt.executor);
                state.doubts.push((doubt, Answer::Asked));
            }
        });
    }

    /// Whether the driver has found copies of all that this is about.
    pub fn is_kept(&self, job_id: &str, doubt: &Doubt) -> bool {
        let waiting = self.waiting.lock();
        let Some(sender) = waiting.get(job_id) else { return false };
        let state = sender.borrow();
        state.doubts.iter().any(|(known, answer)| {
            known.executor == doubt.executor
                && *answer == Answer::Kept
                && doubt.outputs.iter().all(|output| known.outputs.contains(output))
        })
    }

    fn change(&self, job_id: &str, change: impl FnOnce(&mut State)) {
        if let Some(sender) = self.waiting.lock().get(job_id) {
            sender.send_modify(change);
        }
    }
}

impl LossListener {
    /// Waits for the next thing that is to be known. May be dropped and called again.
    pub async fn next(&mut self) -> Loss {
        let something = |state: &State| {
            state.over.is_some() || state.doubts.iter().any(|(_, answer)| *answer == Answer::Asked)
        };
        if self.receiver.wait_for(something).await.is_err() {
            return std::future::pending().await;
        }
        let mut next = None;
        self.losses.change(&self.job_id, |state| {
            next = state.over.clone().map(Loss::Over).or_else(|| {
                let asked = state.doubts.iter_mut().find(|(_, answer)| *answer == Answer::Asked);
                asked.map(|(doubt, answer)| {
                    *answer = Answer::Taken;
                    Loss::Doubt(doubt.clone())
                })
            });
        });
        match next {
            Some(loss) => loss,
            None => std::future::pending().await,
        }
    }

    /// There are copies. The graph looks at this when it is asked about the executor again.
    pub fn keep(&self, doubt: &Doubt) {
        self.losses.change(&self.job_id, |state| {
            if let Some((_, answer)) = state.doubts.iter_mut().find(|(known, _)| known == doubt) {
                *answer = Answer::Kept;
            }
        });
    }
}

impl Drop for LossListener {
    fn drop(&mut self) {
        self.losses.waiting.lock().remove(&self.job_id);
    }
}

#[cfg(test)]
mod tests {
    use polarway_common::Writer;

    use super::*;

    #[tokio::test]
    async fn a_loss_reaches_its_driver_even_before_it_waits() {
        let losses = Losses::default();
        let mut listener = losses.listen("j-a1");
        losses.over("j-a1", "gone".into());
        losses.over("other", "not mine".into());
        assert_eq!(listener.next().await, Loss::Over("gone".into()));
        drop(listener);
        assert!(losses.waiting.lock().is_empty());
    }

    #[tokio::test]
    async fn a_doubt_is_told_once_and_answered() {
        let losses = Losses::default();
        let mut listener = losses.listen("j-a1");
        let doubt = |executor: &str| Doubt {
            executor: executor.into(),
            outputs: vec![(1, Writer { attempt: None, task: 2 })],
        };
        for executor in ["a", "b", "a"] {
            losses.doubt("j-a1", doubt(executor));
        }
        assert_eq!(listener.next().await, Loss::Doubt(doubt("a")));
        assert_eq!(listener.next().await, Loss::Doubt(doubt("b")));
        assert!(futures::FutureExt::now_or_never(listener.next()).is_none());
        listener.keep(&doubt("b"));
        let kept = |job, executor| losses.is_kept(job, &doubt(executor));
        assert_eq!((kept("j-a1", "a"), kept("j-a1", "b"), kept("j-a2", "b")), (false, true, false));

        // It came back, wrote more, and is gone again.
        let mut more = doubt("b");
        more.outputs.push((2, Writer { attempt: None, task: 0 }));
        assert!(!losses.is_kept("j-a1", &more));
        losses.doubt("j-a1", more.clone());
        assert_eq!(listener.next().await, Loss::Doubt(more));
        losses.over("j-a1", "gone".into());
        assert_eq!(listener.next().await, Loss::Over("gone".into()));
    }
}
