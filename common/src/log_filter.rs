//! What the process's log shows: events of `tracing` (and of `log`).

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::error::{Error, ErrorKind};

/// The engine's libraries log each task and stage at `info`. A directive in `log.level` overrides each of these.
const QUIET: &str =
    "ballista=warn,datafusion=warn,ballista_scheduler=error,ballista_executor=warn,ballista_core=warn";

const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "off"];

/// Reads `log.level`: a level, or directives such as `info,polarway_scheduler=debug`.
///
/// # Errors
/// [`ErrorKind::Configuration`] with the part that is not valid.
pub fn filter(level: &str) -> Result<EnvFilter, Error> {
    let parts: Vec<&str> = level.split(',').map(str::trim).collect();
    let invalid = |part: &str, cause: &str| {
        let message = format!("`{part}` in `log.level` is not a log level{cause}");
        Error::new(ErrorKind::Configuration, message).with_hint(format!(
            "Use one of {}, or directives such as \"info,polarway_scheduler=debug\".",
            LEVELS.join(", ")
        ))
    };
    if let Some(part) = parts.iter().find(|part| part.is_empty() || is_misspelt_level(part)) {
        return Err(invalid(part, ""));
    }
    EnvFilter::try_new(format!("{QUIET},{}", parts.join(",")))
        .map_err(|cause| invalid(level, &format!(": {cause}")))
}

/// The filter's own parser takes a bare word that is no level for the name of a module, and would then show that
/// module alone.
fn is_misspelt_level(part: &str) -> bool {
    !part.contains(['=', '[', ':', '_']) && part.parse::<LevelFilter>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_read() {
        for level in
            ["info", "DEBUG", "off", "info,polarway_scheduler=debug", "warn, ballista=trace", "tokio::net"]
        {
            assert!(filter(level).is_ok(), "{level}");
        }
    }

    #[test]
    fn a_directive_overrides_the_quiet_libraries() {
        let shown = filter("info,ballista=debug").unwrap().to_string();
        assert!(shown.contains("ballista=debug") && !shown.contains("ballista=warn"), "{shown}");
        assert!(shown.contains("datafusion=warn"), "{shown}");
    }

    #[test]
    fn a_misspelt_level_is_refused() {
        for level in ["inof", "", "info,", "polarway_scheduler=loud"] {
            let error = filter(level).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Configuration);
            assert!(error.to_string().contains("log.level"), "{error}");
        }
    }
}
