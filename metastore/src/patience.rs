//! How long a client of another process waits, and how it rides out that process's restart.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::error::{MetaStoreError, Result, unavailable};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long the client of a store in another process waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the answer to a call, with all its retries.
    pub deadline: Duration,
    /// What finds the other process gone, and may be repeated, is sent again within this time, which rides out a
    /// restart.
    pub retry_for: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(10), retry_for: Duration::from_secs(6) }
    }
}

impl Patience {
    /// Attempts something that may be repeated, until it is done or the patience is at its end.
    pub(crate) async fn persist<T, F>(self, place: &str, attempt: impl Fn() -> F + Send) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        match timeout(self.deadline, self.repeat(attempt)).await {
            Ok(result) => result,
            Err(_) => Err(unavailable(place, self.overdue())),
        }
    }

    /// Attempts something that must not take place twice: again only as long as the error says that nothing took
    /// place.
    pub(crate) async fn persist_once<T, F>(self, place: &str, attempt: impl Fn() -> F + Send) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        match timeout(self.deadline, self.repeat(attempt)).await {
            Ok(result) => result,
            Err(_) => Err(MetaStoreError::OutcomeUnknown { place: place.to_owned(), detail: self.overdue() }),
        }
    }

    /// The same, and only once.
    pub(crate) async fn once<T>(
        self,
        place: &str,
        attempt: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        match timeout(self.deadline, attempt).await {
            Ok(result) => result,
            Err(_) => Err(MetaStoreError::OutcomeUnknown { place: place.to_owned(), detail: self.overdue() }),
        }
    }

    async fn repeat<T, F>(self, attempt: impl Fn() -> F + Send) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let may_help = matches!(error, MetaStoreError::Unavailable { .. });
            if !may_help || started.elapsed() + pause > self.retry_for {
                return Err(error);
            }
            tracing::debug!(%error, "the metadata store is asked again");
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn overdue(self) -> String {
        format!("no answer came within {:?}", self.deadline)
    }
}
