//! How a job graph tells its job's driver that the attempt is over.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// An attempt that cannot end well any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    pub job_id: String,
    pub cause: String,
}

type Waiting = HashMap<String, watch::Sender<Option<String>>>;

/// Graphs tell, drivers wait; both know the attempt's job id.
#[derive(Debug, Clone, Default)]
pub struct Losses {
    waiting: Arc<Mutex<Waiting>>,
}

/// A driver's ear; forgotten when dropped.
#[derive(Debug)]
pub struct LossListener {
    losses: Losses,
    job_id: String,
    receiver: watch::Receiver<Option<String>>,
}

impl Losses {
    /// To be called before the job is submitted.
    pub fn listen(&self, job_id: &str) -> LossListener {
        let (sender, receiver) = watch::channel(None);
        self.waiting.lock().insert(job_id.to_owned(), sender);
        LossListener { losses: self.clone(), job_id: job_id.to_owned(), receiver }
    }

    /// Whether a driver waits for the job's end.
    pub fn listened(&self, job_id: &str) -> bool {
        self.waiting.lock().contains_key(job_id)
    }

    pub fn tell(&self, loss: Loss) {
        tracing::warn!(job = loss.job_id, cause = loss.cause, "an attempt is over");
        if let Some(sender) = self.waiting.lock().get(&loss.job_id) {
            sender.send_replace(Some(loss.cause));
        }
    }
}

impl LossListener {
    /// Waits until the attempt is lost; gives the cause.
    pub async fn lost(&mut self) -> String {
        let told =
            self.receiver.wait_for(Option::is_some).await.map(|cause| cause.clone().unwrap_or_default());
        match told {
            Ok(cause) => cause,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for LossListener {
    fn drop(&mut self) {
        self.losses.waiting.lock().remove(&self.job_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loss_reaches_its_driver_even_before_it_waits() {
        let losses = Losses::default();
        let mut listener = losses.listen("j-a1");
        losses.tell(Loss { job_id: "j-a1".into(), cause: "gone".into() });
        losses.tell(Loss { job_id: "other".into(), cause: "not mine".into() });
        assert_eq!(listener.lost().await, "gone");
        drop(listener);
        assert!(losses.waiting.lock().is_empty());
    }
}
