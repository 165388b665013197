//! The one subscriber of a process.

use std::io::IsTerminal as _;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use polarway_common::config::{LogConfig, LogFormat, TelemetryConfig};
use polarway_common::log_filter::filter;
use polarway_common::{Error, ErrorKind};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt, registry};
use uuid::Uuid;

use crate::TARGET;

/// What the collector may take to answer.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// What may go on to the collector when the process ends.
const LAST_WORDS: Duration = Duration::from_secs(5);
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";

/// Traces that are on their way to a collector.
#[must_use = "traces that are on their way are lost with it"]
#[derive(Debug, Default)]
pub struct Telemetry(Option<SdkTracerProvider>);

/// Starts the log and the traces of a process that is a `role` of the cluster. A second call, or one in a process that logs
/// already, changes nothing. Traces need a tokio runtime around the call.
///
/// # Errors
/// `Configuration` if `log.level` or the collector's address is not valid.
pub fn init(log: &LogConfig, telemetry: &TelemetryConfig, role: &str) -> Result<Telemetry, Error> {
    let shown = filter(&log.level)?;
    let provider = match &telemetry.otlp_endpoint {
        Some(endpoint) => Some(provider(endpoint, telemetry.sample, role)?),
        None => None,
    };
    let traces = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("polarway"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            // What is logged stays in the log. Single requests have spans of this level.
            .with_filter(Targets::new().with_target(TARGET, Level::DEBUG))
    });
    let lines = fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_filter(shown).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).with_filter(shown).boxed(),
    };
    let installed = registry().with(lines).with(traces).try_init();
    if installed.is_err() {
        tracing::debug!("logging has been started before");
        return Ok(Telemetry::default());
    }
    Ok(Telemetry(provider))
}

fn provider(endpoint: &str, sample: f64, role: &str) -> Result<SdkTracerProvider, Error> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|error| {
            let told = format!("`telemetry.otlp_endpoint` ({endpoint}) cannot be used: {error}");
            Error::new(ErrorKind::Configuration, told)
        })?;
    let name = std::env::var(SERVICE_NAME).unwrap_or_else(|_| format!("polarway-{role}"));
    let resource = Resource::builder_empty()
        .with_service_name(name)
        .with_attributes([
            KeyValue::new("service.instance.id", Uuid::new_v4().to_string()),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("polarway.role", role.to_owned()),
        ])
        .with_detector(Box::new(TelemetryResourceDetector))
        // What an operator says in OTEL_RESOURCE_ATTRIBUTES is known better there.
        .with_detector(Box::new(EnvResourceDetector::new()));
    Ok(SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample))))
        .with_resource(resource.build())
        .with_batch_exporter(exporter)
        .build())
}

impl Telemetry {
    /// Sends what has not been sent, for a few seconds at most.
    pub async fn end(self) {
        let Some(provider) = self.0 else { return };
        // It waits for its thread.
        let ending = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_WORDS));
        if let Ok(Err(error)) = ending.await {
            tracing::debug!(%error, "the last traces were not sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn starting_twice_is_harmless() {
        let telemetry = TelemetryConfig::default();
        init(&LogConfig::default(), &telemetry, "up").unwrap().end().await;
        let json = LogConfig { format: LogFormat::Json, ..LogConfig::default() };
        init(&json, &telemetry, "up").unwrap().end().await;
    }

    #[tokio::test]
    async fn row_48_an_address_that_is_none_is_refused() {
        let telemetry = TelemetryConfig {
            otlp_endpoint: Some("not an address".to_owned()),
            ..TelemetryConfig::default()
        };
        let error = init(&LogConfig::default(), &telemetry, "up").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Configuration);
        assert!(error.message.contains("`telemetry.otlp_endpoint` (not an address)"), "{error}");
    }
}
