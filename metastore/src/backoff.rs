//! Pauses between attempts that fail.

use std::time::Duration;

use tokio::time::sleep;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

/// Each pause is twice as long as the one before, up to a second: an answer is noticed soon, and a store that comes
/// back is not overrun.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST }
    }

    pub(crate) async fn pause(&mut self) {
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        sleep(pause).await;
    }

    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }
}
