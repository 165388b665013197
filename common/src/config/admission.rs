use serde::{Deserialize, Serialize};

use crate::machine;
use crate::units::HumanDuration;

/// `[admission]`: how much work is taken on at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdmissionConfig {
    /// Queries that run at the same time. Default: four a core.
    pub max_running: Option<usize>,
    /// Queries that wait for their turn; one more is refused. Default: 1024.
    pub max_queued: usize,
    /// How long a query waits for its turn before it is refused. Default: `30s`.
    pub queue_timeout: HumanDuration,
    /// The delay after which a refused client is told to try again. Default: `1s`.
    pub retry_after: HumanDuration,
}

impl AdmissionConfig {
    /// `max_running`, or four a core.
    pub fn resolved_max_running(&self) -> usize {
        self.max_running.unwrap_or_else(|| machine::cores().saturating_mul(4))
    }
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self {
            max_running: None,
            max_queued: 1024,
            queue_timeout: HumanDuration::from_secs(30),
            retry_after: HumanDuration::from_secs(1),
        }
    }
}
