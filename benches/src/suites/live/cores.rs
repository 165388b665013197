//! Which core runs what: server and sender each on one of their own.

use std::fs;
use std::process::Command;
use std::thread;

use tokio::sync::oneshot;

use crate::failure::{Context, Failure, Result};

/// The cores of a measurement on one core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cores {
    pub server: usize,
    pub sender: usize,
}

impl Cores {
    /// The first and the last core that this process may use; on a machine of one core they are the same.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn choose() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        among(&status).context(|| "the kernel does not say which cores there are")
    }
}

fn among(status: &str) -> Option<Cores> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?.trim();
    let server = list.split([',', '-']).next()?.parse().ok()?;
    let sender = list.rsplit([',', '-']).next()?.parse().ok()?;
    Some(Cores { server, sender })
}

/// Runs blocking `work` on a thread of its own, on `core` alone if there is one, together with the threads it starts.
///
/// # Errors
/// The work's own, or the thread cannot be started or pinned.
pub async fn apart<T: Send + 'static>(
    core: Option<usize>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    start(core, work)?.await.unwrap_or_else(|_| Err(Failure::new("a thread of the harness died")))
}

/// As [`apart`], without waiting: what comes of it is received later.
///
/// # Errors
/// The thread cannot be started.
pub fn start<T: Send + 'static>(
    core: Option<usize>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<oneshot::Receiver<Result<T>>> {
    let (tell, told) = oneshot::channel();
    thread::Builder::new().name("sender".into()).spawn(move || {
        let outcome = core.map_or(Ok(()), pin).and_then(|()| work());
        // A receiver that is gone does not want it.
        let _ = tell.send(outcome);
    })?;
    Ok(told)
}

/// Keeps the thread that calls, and those it will start, on `core`.
fn pin(core: usize) -> Result<()> {
    let own = fs::read_link("/proc/thread-self")?;
    let thread = own.file_name().context(|| "a thread without a number")?;
    let output = Command::new("taskset").args(["-cp", &core.to_string()]).arg(thread).output();
    let output = output.context(|| "starting taskset")?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("taskset: {}", words.trim())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_core_are_taken() {
        let of = |list: &str| among(&format!("Name:\tx\nCpus_allowed_list:\t{list}\n"));
        assert_eq!(of("0-1"), Some(Cores { server: 0, sender: 1 }));
        assert_eq!(of("2,4-7"), Some(Cores { server: 2, sender: 7 }));
        assert_eq!(of("3"), Some(Cores { server: 3, sender: 3 }));
        assert_eq!(among("Name:\tx\n"), None);
    }

    #[tokio::test]
    async fn work_runs_where_it_is_told() {
        let core = Cores::choose().unwrap().sender;
        let allowed =
            apart(Some(core), || Ok(fs::read_to_string("/proc/thread-self/status")?)).await.unwrap();
        assert_eq!(among(&allowed), Some(Cores { server: core, sender: core }));
    }
}
