use std::fmt;

use serde::{Deserialize, Serialize};

use super::Secret;
use crate::address::HostPort;
use crate::units::HumanDuration;

/// `[scheduler]`: the SQL front door and the control of executors and jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SchedulerConfig {
    /// Where gRPC is served. Default: `127.0.0.1:50051`.
    pub listen: HostPort,
    /// Where health, metrics and the web page are served. Default: `127.0.0.1:8080`.
    pub http_listen: HostPort,
    /// Host under which executors and clients reach this scheduler. Default: the host of `listen`.
    pub advertise_host: Option<String>,
    /// How the results of staged queries reach the client. Default: `proxy`.
    pub results: ResultDelivery,
    /// Which process runs a plan that one process suffices for.
    pub direct: DirectOn,
    /// An executor that has been silent for this long is lost. Default: `5s`.
    pub executor_timeout: HumanDuration,
    /// How long shutdown waits for running queries. Default: `30s`.
    pub drain_timeout: HumanDuration,
    /// Key that signs result tickets. Default: one that the cluster generates and shares.
    pub ticket_secret: Option<Secret>,
    /// How long a result ticket is good for. Default: `10m`.
    pub ticket_ttl: HumanDuration,
    /// How often a query is tried in all, when executors are lost under it. Default: 4.
    pub max_attempts: u32,
    /// A job without task progress for this long, while it has tasks to run, is cancelled and submitted again.
    /// Default: `60s`.
    pub stall_timeout: HumanDuration,
    /// How long a staged query waits for the first executor. Default: `30s`.
    pub executor_wait: HumanDuration,
    /// Result partitions that are read at the same time for one query. Default: 4.
    pub result_parallelism: usize,
}

/// Who reads the result partitions of a staged query from the executors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResultDelivery {
    /// The scheduler, which passes them on: clients need to reach nothing else.
    #[default]
    Proxy,
    /// The client, which must be able to reach every executor.
    Direct,
}

impl fmt::Display for ResultDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ResultDelivery::Proxy => "proxy",
            ResultDelivery::Direct => "direct",
        })
    }
}

impl std::str::FromStr for ResultDelivery {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [ResultDelivery::Proxy, ResultDelivery::Direct]
            .into_iter()
            .find(|delivery| text.eq_ignore_ascii_case(&delivery.to_string()))
            .ok_or_else(|| format!("`{text}` is no way to deliver results; use \"proxy\" or \"direct\""))
    }
}

/// Where the direct route runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DirectOn {
    /// On the executor with the least work.
    #[default]
    Executor,
    /// In the scheduler's own process, as `polarway up` does.
    Local,
}

impl SchedulerConfig {
    /// The host to announce to executors and clients.
    pub fn resolved_advertise_host(&self) -> &str {
        self.advertise_host.as_deref().unwrap_or(&self.listen.host)
    }
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            listen: HostPort::new("127.0.0.1", 50051),
            http_listen: HostPort::new("127.0.0.1", 8080),
            advertise_host: None,
            results: ResultDelivery::Proxy,
            direct: DirectOn::Executor,
            executor_timeout: HumanDuration::from_secs(5),
            drain_timeout: HumanDuration::from_secs(30),
            ticket_secret: None,
            ticket_ttl: HumanDuration::from_secs(600),
            max_attempts: 4,
            stall_timeout: HumanDuration::from_secs(60),
            executor_wait: HumanDuration::from_secs(30),
            result_parallelism: 4,
        }
    }
}
