//! The signals that ask the process to stop.

use std::fmt;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// A request to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// `SIGINT`, as Ctrl-C sends it.
    Interrupt,
    /// `SIGTERM`, as service managers send it.
    Terminate,
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StopSignal::Interrupt => "SIGINT",
            StopSignal::Terminate => "SIGTERM",
        })
    }
}

/// Waits for `SIGTERM` or `SIGINT` and says which came. Call it again to learn of a second request.
///
/// Where a handler cannot be installed the signal keeps its default effect, which is to end the process at once;
/// that is logged and the other signal is still awaited.
pub async fn shutdown_signal() -> StopSignal {
    let interrupt = signal(SignalKind::interrupt());
    let terminate = signal(SignalKind::terminate());
    tokio::select! {
        () = received(interrupt, StopSignal::Interrupt) => StopSignal::Interrupt,
        () = received(terminate, StopSignal::Terminate) => StopSignal::Terminate,
    }
}

async fn received(handler: io::Result<Signal>, which: StopSignal) {
    match handler {
        Ok(mut signal) => {
            // `None` means that no further signal can arrive.
            if signal.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
        }
        Err(error) => {
            tracing::error!(signal = %which, %error, "cannot handle the signal; it will end the process at once");
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::process::{Command, id};

    use super::*;

    #[tokio::test]
    async fn each_signal_is_told_by_name() {
        for (flag, expected) in [("-TERM", StopSignal::Terminate), ("-INT", StopSignal::Interrupt)] {
            let mut waiting = pin!(shutdown_signal());
            // The first poll installs the handlers.
            tokio::select! {
                biased;
                early = &mut waiting => panic!("{early} without a cause"),
                () = std::future::ready(()) => {}
            }
            let sent = Command::new("sh").args(["-c", &format!("kill {flag} {}", id())]).status().unwrap();
            assert!(sent.success());
            assert_eq!(waiting.await, expected);
        }
    }
}
