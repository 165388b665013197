use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::address::HostPort;
use crate::units::{ByteSize, HumanDuration};

/// `[executor]`: a process that runs tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecutorConfig {
    /// Where gRPC (tasks and Flight) is served. Default: `127.0.0.1:50052`.
    pub listen: HostPort,
    /// Host under which schedulers and other executors reach this one. Default: the host of `listen`.
    pub advertise_host: Option<String>,
    /// The scheduler to register with. Default: `127.0.0.1:50051`.
    pub scheduler: HostPort,
    /// Tasks that run at the same time. Default: the number of cores.
    pub slots: Option<usize>,
    /// Memory of all tasks together, in bytes. Default: 70 % of the machine's or control group's memory.
    pub memory_limit: Option<ByteSize>,
    /// Directory for shuffle and spill. Default: `work` in `data_dir`.
    pub work_dir: Option<PathBuf>,
    /// Time between two signs of life. Default: `1s`.
    pub heartbeat: HumanDuration,
    /// How long shutdown waits for running tasks. Default: `30s`.
    pub drain_timeout: HumanDuration,
    /// Name that stays the same over restarts. Default: one made up at the start.
    pub name: Option<String>,
    /// Where health and metrics are served. Default: nowhere.
    pub http_listen: Option<HostPort>,
}

impl ExecutorConfig {
    /// The host to announce to schedulers and other executors.
    pub fn resolved_advertise_host(&self) -> &str {
        self.advertise_host.as_deref().unwrap_or(&self.listen.host)
    }
}

impl Default for ExecutorConfig {
    fn default() -> Self {
        Self {
            listen: HostPort::new("127.0.0.1", 50052),
            advertise_host: None,
            scheduler: HostPort::new("127.0.0.1", 50051),
            slots: None,
            memory_limit: None,
            work_dir: None,
            heartbeat: HumanDuration::from_secs(1),
            drain_timeout: HumanDuration::from_secs(30),
            name: None,
            http_listen: None,
        }
    }
}
