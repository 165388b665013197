//! What ends a query before it is done: a cancel, or its time limit, which counts from its admission.

use std::time::{Duration, Instant};

use polarway_common::{Error, ErrorKind};
use polarway_engine::cpu::deadline_exceeded;
use tokio_util::sync::CancellationToken;

use crate::queries::Query;

/// When a query must have ended, and the limit that says so; `None` for no limit.
pub type Deadline = Option<(Instant, Duration)>;

/// Completes at the deadline, if there is one.
pub async fn passed(deadline: Deadline) {
    match deadline {
        Some((at, _)) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

pub fn too_late(deadline: Deadline) -> Error {
    deadline_exceeded(deadline.map_or_else(Default::default, |(_, limit)| limit))
}

pub fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the query was cancelled")
}

/// Ends `work` when the query is cancelled.
pub async fn or_cancelled<T>(
    token: &CancellationToken,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        biased;
        () = token.cancelled() => Err(cancelled()),
        outcome = work => outcome,
    }
}

/// Ends `work` when the query is cancelled or has run for `limit`.
pub async fn bounded<T>(
    query: &Query,
    limit: Option<Duration>,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let deadline = query.deadline(limit);
    tokio::select! {
        biased;
        outcome = or_cancelled(&query.cancel, work) => outcome,
        () = passed(deadline) => Err(too_late(deadline)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use polarway_common::Caller;

    use super::*;
    use crate::queries::Queries;

    #[tokio::test]
    async fn row_07_work_ends_at_its_limit_or_when_it_is_cancelled() {
        let running = Arc::new(Queries::default()).begin(&Caller::anyone(), "q-1", "select 1", "direct");
        running.admitted();
        let endless = std::future::pending::<Result<(), Error>>;
        let limit = Some(Duration::from_millis(20));
        let late = bounded(&running.query, limit, endless()).await.unwrap_err();
        assert_eq!(late.kind, ErrorKind::DeadlineExceeded);
        assert_eq!(bounded(&running.query, limit, async { Ok(1) }).await, Ok(1));
        assert_eq!(bounded(&running.query, Some(Duration::MAX), async { Ok(2) }).await, Ok(2));
        running.query.cancel.cancel();
        let cancelled = bounded(&running.query, None, endless()).await.unwrap_err();
        assert_eq!(cancelled.kind, ErrorKind::Cancelled);
    }
}
