//! Signals that ask a client command to stop.

use futures::future::select_all;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals from the moment of creation on; none is lost between two waits.
pub struct Interrupts(Vec<Signal>);

impl Interrupts {
    /// Ctrl-C.
    pub fn ctrl_c() -> Self {
        Self::watch(&[SignalKind::interrupt()])
    }

    /// Ctrl-C, a request to terminate, or a terminal that was closed.
    pub fn any() -> Self {
        Self::watch(&[SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()])
    }

    fn watch(kinds: &[SignalKind]) -> Self {
        // A signal without a handler keeps its usual effect, which is to end the process.
        Self(kinds.iter().filter_map(|kind| signal(*kind).ok()).collect())
    }

    /// Completes with the next signal.
    pub async fn next(&mut self) {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let ((), ..) = select_all(self.0.iter_mut().map(|signal| {
            Box::pin(async {
                if signal.recv().await.is_none() {
                    std::future::pending().await
                }
            })
        }))
        .await;
    }
}
