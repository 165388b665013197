//! One scheduler and some executors on this machine.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use polarway_client::Endpoint;
use polarway_common::{ByteSize, Error, Listening, machine};

use super::child::Child;

/// Short, because the demo ends only when nothing runs.
const DRAIN_TIMEOUT: &str = "5s";
/// How long executors may take to join their scheduler.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
const JOIN_POLL: Duration = Duration::from_millis(50);

/// Processes that were started so far.
#[derive(Debug, Default)]
pub struct Cluster {
    scheduler: Option<Child>,
    executors: Vec<Child>,
    /// Takes the rows of streams.
    ingest: Option<Child>,
}

/// What the processes may read.
pub struct Allowed<'a> {
    pub data: &'a Path,
    /// Beginning of the URL of the feed that may be fetched.
    pub feed: String,
}

impl Cluster {
    /// Starts everything and waits until all of it listens.
    pub async fn start(
        &mut self,
        count: usize,
        base: &Path,
        allowed: Allowed<'_>,
    ) -> Result<Listening, Error> {
        let (logs, sealed) = (base.join("logs"), base.join("streams"));
        for directory in [&logs, &sealed] {
            std::fs::create_dir_all(directory).map_err(|error| {
                Error::internal(format!("cannot create {}: {error}", directory.display()))
            })?;
        }
        let memory = ByteSize(machine::default_memory_limit().as_u64() / (count as u64 + 2));
        let common = |name: &str| -> Vec<OsString> {
            let mut args: Vec<OsString> = vec!["--listen".into(), "127.0.0.1:0".into()];
            args.extend(["--data-dir".into(), base.join(name).into_os_string()]);
            for root in [allowed.data, &sealed] {
                args.extend(["--allow".into(), root.as_os_str().to_owned()]);
            }
            args
        };
        let set =
            |key: &str, value: &str| -> [OsString; 2] { ["--set".into(), format!("{key}={value}").into()] };

        let mut args: Vec<OsString> = vec!["scheduler".into(), "--http-listen".into(), "127.0.0.1:0".into()];
        args.extend(common("scheduler"));
        args.extend(set("scheduler.drain_timeout", DRAIN_TIMEOUT));
        args.extend(set("query.memory_limit", &memory.to_string()));
        let scheduler = self.scheduler.insert(Child::start("scheduler", args, &logs)?).ready().await?;

        let slots = (machine::cores() / count).max(1).to_string();
        for number in 1..=count {
            let name = format!("executor-{number}");
            let mut args: Vec<OsString> = vec!["executor".into(), "--scheduler".into()];
            args.push(scheduler.grpc.to_string().into());
            args.extend(["--name".into(), OsString::from(&name)]);
            args.extend(["--slots".into(), OsString::from(&slots)]);
            args.extend(["--memory-limit".into(), memory.to_string().into()]);
            args.extend(["--work-dir".into(), base.join(&name).join("work").into_os_string()]);
            args.extend(common(&name));
            args.extend(set("executor.drain_timeout", DRAIN_TIMEOUT));
            self.executors.push(Child::start(&name, args, &logs)?);
        }
        let mut args: Vec<OsString> =
            ["executor", "--role", "ingest", "--ws-listen", "127.0.0.1:0", "--name", "ingest"]
                .map(OsString::from)
                .into();
        args.extend(["--scheduler".into(), scheduler.grpc.to_string().into()]);
        args.extend(common("ingest"));
        args.extend(set("ingest.directory", &sealed.display().to_string()));
        args.extend(set("ingest.feeds", &allowed.feed));
        self.ingest = Some(Child::start("ingest", args, &logs)?);
        for executor in self.executors.iter_mut().chain(&mut self.ingest) {
            executor.ready().await?;
        }
        if let Some(http) = scheduler.http {
            joined(http, count).await?;
        }
        Ok(scheduler)
    }

    /// Every process, by name and id.
    pub fn processes(&self) -> impl Iterator<Item = (&str, u32)> {
        let children = self.scheduler.iter().chain(&self.executors).chain(&self.ingest);
        children.map(|child| (child.name(), child.id()))
    }

    /// Names of the executors.
    pub fn executors(&self) -> Vec<String> {
        self.executors.iter().map(|child| child.name().to_owned()).collect()
    }

    /// Ends who takes rows, the scheduler, then the executors, and waits for all of them.
    ///
    /// # Errors
    /// The first process that did not end well; the others are ended all the same.
    pub async fn stop(&mut self) -> Result<(), Error> {
        let mut outcome = Ok(());
        for child in self.ingest.iter_mut().chain(&mut self.scheduler).chain(&mut self.executors) {
            outcome = outcome.and(child.stop().await);
        }
        outcome
    }

    /// Kills what runs.
    pub fn kill(&mut self) {
        self.ingest.iter_mut().chain(&mut self.scheduler).chain(&mut self.executors).for_each(Child::kill);
    }
}

/// Waits until `count` executors take tasks.
async fn joined(http: SocketAddr, count: usize) -> Result<(), Error> {
    let url = format!("http://{http}/metrics");
    let deadline = Instant::now() + JOIN_TIMEOUT;
    loop {
        let metrics = async { reqwest::get(&url).await?.text().await }.await;
        let metrics = metrics.map_err(|error| Error::internal(format!("cannot read {url}: {error}")))?;
        if executor_count(&metrics) == Some(count) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::internal(format!(
                "not all executors joined the scheduler within {JOIN_TIMEOUT:?}"
            )));
        }
        tokio::time::sleep(JOIN_POLL).await;
    }
}

fn executor_count(metrics: &str) -> Option<usize> {
    metrics.lines().find_map(|line| line.strip_prefix("polarway_executors ")?.trim().parse().ok())
}

/// The address as the client wants it.
pub fn endpoint(listening: Listening) -> Result<Endpoint, Error> {
    listening.grpc.to_string().parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_executors_is_read_from_the_metrics() {
        let text = "# TYPE polarway_executors gauge\npolarway_executors 2\npolarway_executor_slots 8\n";
        assert_eq!(executor_count(text), Some(2));
        assert_eq!(executor_count("polarway_executor_slots 8\n"), None);
    }
}
