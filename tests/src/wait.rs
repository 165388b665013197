//! Waiting for conditions, never for time.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);

/// Polls `look` until it finds something; panics after `ceiling`, which is far longer than it should take.
pub async fn until<T, F: Future<Output = Option<T>>>(
    what: impl Display,
    ceiling: Duration,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + ceiling;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {ceiling:?}");
        tokio::time::sleep(POLL).await;
    }
}

/// Awaits `work`; panics after `ceiling`: then it hangs.
pub async fn within<T>(what: impl Display, ceiling: Duration, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(ceiling, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: no end within {ceiling:?}"),
    }
}
