use serde::{Deserialize, Serialize};

use crate::units::HumanDuration;

/// `[telemetry]`: what the process tells others about its work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// A collector's address for OTLP over gRPC, for example `http://collector:4317`. Default: none, and nothing is sent.
    pub otlp_endpoint: Option<String>,
    /// How many of the traces that begin here are kept, from 0 to 1. One that a client has begun is kept if the client keeps
    /// it. Default: `0.01`.
    pub sample: f64,
    /// Queries that took so long or longer are told in the log. Default: none are.
    pub slow_query: Option<HumanDuration>,
    /// Ended queries that the metadata store keeps, of all schedulers together. Zero keeps none there. Default: `1000`.
    pub history: usize,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { otlp_endpoint: None, sample: 0.01, slow_query: None, history: 1000 }
    }
}
