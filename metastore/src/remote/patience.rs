//! How long a client waits, and how it rides out a restart of the other process.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

use super::fault;
use crate::error::{MetaStoreError, Result};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long a [`super::RemoteMetaStore`] waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the answer to a call, with all its retries.
    pub deadline: Duration,
    /// A read that finds the other process gone is sent again within this time, which rides out a restart.
    pub retry_for: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(10), retry_for: Duration::from_secs(6) }
    }
}

impl Patience {
    /// Attempts something that changes nothing, until it is done or the patience is at its end.
    pub(super) async fn persist<T, F>(self, place: &str, attempt: impl Fn() -> F + Send) -> Result<T>
    where
        F: Future<Output = Result<T, Status>> + Send,
    {
        let started = Instant::now();
        let persisting = async {
            let mut pause = FIRST_PAUSE;
            loop {
                let error = match attempt().await {
                    Ok(done) => return Ok(done),
                    Err(status) => fault::of_read(place, &status),
                };
                let may_help = matches!(error, MetaStoreError::Unavailable { .. });
                if !may_help || started.elapsed() + pause > self.retry_for {
                    return Err(error);
                }
                tracing::debug!(%error, "the metadata store is asked again");
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        };
        match timeout(self.deadline, persisting).await {
            Ok(result) => result,
            Err(_) => Err(fault::unavailable(place, self.overdue())),
        }
    }

    /// The same once, of what changes something.
    pub(super) async fn once<T>(
        self,
        place: &str,
        attempt: impl Future<Output = Result<T, Status>> + Send,
    ) -> Result<T> {
        match timeout(self.deadline, attempt).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(status)) => Err(fault::of_txn(place, &status)),
            Err(_) => Err(MetaStoreError::OutcomeUnknown { place: place.to_owned(), detail: self.overdue() }),
        }
    }

    fn overdue(self) -> String {
        format!("no answer came within {:?}", self.deadline)
    }
}
