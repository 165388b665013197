//! What a session may set, and the session configurations made from it.

use std::any::Any;
use std::collections::BTreeMap;
use std::time::Duration;

use ballista_core::extension::SessionConfigExt;
use datafusion::common::DataFusionError;
use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::prelude::SessionConfig;
use polarway_common::config::{QueryConfig, Route};
use polarway_common::{ByteSize, Error, ErrorKind, HumanDuration};
use polarway_proto::ticket::Setting;

/// Name of the one catalog and of its first schema.
pub const CATALOG: &str = "polarway";
pub const SCHEMA: &str = "public";

/// Settings of Polarway's own, `SET polarway.<name> = …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolarwayOptions {
    /// `auto`, `direct` or `staged`.
    pub route: String,
    /// How long a query may run, for example `5m`; empty means no limit.
    pub timeout: String,
    /// How much memory one query may hold, for example `2GiB`; empty means the pool's limit alone.
    pub memory_limit: String,
    /// Up to how many bytes of files one process scans, for example `1GiB`.
    pub direct_max_bytes: String,
}

impl Default for PolarwayOptions {
    fn default() -> Self {
        Self {
            route: "auto".to_owned(),
            timeout: String::new(),
            memory_limit: String::new(),
            direct_max_bytes: "1GiB".to_owned(),
        }
    }
}

impl PolarwayOptions {
    fn field(&mut self, name: &str) -> Option<&mut String> {
        match name {
            "route" => Some(&mut self.route),
            "timeout" => Some(&mut self.timeout),
            "memory_limit" => Some(&mut self.memory_limit),
            "direct_max_bytes" => Some(&mut self.direct_max_bytes),
            _ => None,
        }
    }
}

impl ConfigExtension for PolarwayOptions {
    const PREFIX: &'static str = "polarway";
}

impl ExtensionOptions for PolarwayOptions {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, value: &str) -> datafusion::common::Result<()> {
        match self.field(key) {
            Some(field) => {
                value.clone_into(field);
                Ok(())
            }
            None => Err(DataFusionError::Configuration(format!("there is no setting `polarway.{key}`"))),
        }
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        [
            ("route", &self.route, "auto, direct or staged"),
            ("timeout", &self.timeout, "How long a query may run, such as 5m; empty for no limit"),
            (
                "memory_limit",
                &self.memory_limit,
                "Memory one query may hold, such as 2GiB; empty for no own limit",
            ),
            ("direct_max_bytes", &self.direct_max_bytes, "Up to how many bytes of files one process scans"),
        ]
        .into_iter()
        .map(|(name, value, description)| ConfigEntry {
            key: format!("{}.{name}", Self::PREFIX),
            value: Some(value.clone()),
            description,
        })
        .collect()
    }
}

/// A session's settings that differ from the server's, by name.
pub type Settings = BTreeMap<String, String>;

/// The typed values of Polarway's own settings for one query.
#[derive(Debug, Clone, PartialEq)]
pub struct QuerySettings {
    pub route: Route,
    pub timeout: Option<Duration>,
    pub memory_limit: Option<usize>,
    pub direct_max_bytes: u64,
}

impl QuerySettings {
    pub fn of(config: &SessionConfig) -> Result<Self, Error> {
        let options = config.options().extensions.get::<PolarwayOptions>().cloned().unwrap_or_default();
        Ok(Self {
            route: parse_route(&options.route)?,
            timeout: parse_optional::<HumanDuration>("polarway.timeout", &options.timeout)?
                .map(|limit| limit.0),
            memory_limit: parse_optional::<ByteSize>("polarway.memory_limit", &options.memory_limit)?
                .map(ByteSize::as_usize),
            direct_max_bytes: parse_optional::<ByteSize>(
                "polarway.direct_max_bytes",
                &options.direct_max_bytes,
            )?
            .map_or(0, |size| size.0),
        })
    }
}

fn parse_route(text: &str) -> Result<Route, Error> {
    text.parse().map_err(|_| {
        Error::new(ErrorKind::InvalidSetting, format!("`polarway.route` cannot be `{text}`"))
            .with_hint("use 'auto', 'direct' or 'staged'")
    })
}

fn parse_optional<T: std::str::FromStr>(name: &str, text: &str) -> Result<Option<T>, Error>
where
    T::Err: std::fmt::Display,
{
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| {
        Error::new(ErrorKind::InvalidSetting, format!("`{name}` cannot be `{text}`: {error}"))
            .with_hint("write a duration as '30s' or '5m', a size as '512MiB'; '' means no limit")
    })
}

/// The configuration that sessions start from.
pub fn base_config(query: &QueryConfig) -> SessionConfig {
    let options = PolarwayOptions {
        route: query.route.to_string(),
        timeout: query.timeout.map(|timeout| timeout.to_string()).unwrap_or_default(),
        memory_limit: query.per_query_memory.map(|size| size.0.to_string()).unwrap_or_default(),
        direct_max_bytes: query.direct_max_bytes.0.to_string(),
    };
    let mut config = SessionConfig::new()
        .with_option_extension(options)
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true)
        .with_target_partitions(query.resolved_target_partitions())
        .with_batch_size(query.batch_size)
        .with_collect_statistics(true);
    let settings = config.options_mut();
    settings.sql_parser.collect_spans = true;
    if query.resolved_memory_limit() < ByteSize::gib(1) {
        // What each spilling sort keeps back for its merge; the default of 10 MB is much of a small pool.
        settings.execution.sort_spill_reservation_bytes = 2 << 20;
    }
    settings.execution.listing_table_ignore_subdirectory = false;
    config
}

/// `config` with Ballista's options and restrictions, for plans that are split into stages. Ballista would join by
/// sorting, since hash joins do not spill; here that is the second choice, taken after running out of memory.
pub fn staged_config(config: SessionConfig, slots: usize, spilling: bool) -> SessionConfig {
    let partitions = config.target_partitions().max(slots).max(2);
    let config = if spilling {
        config.set_usize("datafusion.execution.sort_spill_reservation_bytes", 2 << 20)
    } else {
        config
    };
    config
        .upgrade_for_ballista()
        .with_target_partitions(partitions)
        .set_bool("datafusion.optimizer.prefer_hash_join", !spilling)
        // A reader must not wait three times three seconds for an executor that is gone: the job is submitted
        // again as soon as the loss is seen.
        .set_u64("ballista.client.io_retries_times", 1)
        .set_u64("ballista.client.io_retry_wait_time_ms", 200)
}

/// Applies a session's settings to `config`.
pub fn apply(mut config: SessionConfig, settings: &Settings) -> Result<SessionConfig, Error> {
    for (name, value) in settings {
        set(config.options_mut(), name, value)?;
    }
    Ok(config)
}

/// Checks one `SET name = value` against the options that exist.
pub fn check(name: &str, value: &str, base: &SessionConfig) -> Result<(), Error> {
    if name.starts_with("datafusion.runtime.") || name.starts_with("datafusion.catalog.") {
        return Err(Error::new(
            ErrorKind::InvalidSetting,
            format!("`{name}` is fixed by the server's configuration"),
        )
        .with_hint("an operator sets it in polarway.toml"));
    }
    let mut config = base.clone();
    set(config.options_mut(), name, value)?;
    QuerySettings::of(&config).map(|_| ())
}

fn set(options: &mut ConfigOptions, name: &str, value: &str) -> Result<(), Error> {
    options.set(name, value).map_err(|error| {
        let known: Vec<String> = options.entries().into_iter().map(|entry| entry.key).collect();
        if known.iter().any(|key| key == name) {
            let cause = error.strip_backtrace();
            return Error::new(ErrorKind::InvalidSetting, format!("`{name}` cannot be `{value}`: {cause}"));
        }
        let mut unknown = Error::new(ErrorKind::InvalidSetting, format!("there is no setting `{name}`"));
        unknown.hint = polarway_common::nearest(name, known.iter().map(String::as_str))
            .map(|near| format!("did you mean `{near}`? SHOW ALL lists every setting"));
        unknown
    })
}

/// Settings in the form that tickets carry.
pub fn to_wire(settings: &Settings) -> Vec<Setting> {
    settings.iter().map(|(name, value)| Setting { name: name.clone(), value: value.clone() }).collect()
}

pub fn from_wire(settings: &[Setting]) -> Settings {
    settings.iter().map(|setting| (setting.name.clone(), setting.value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> SessionConfig {
        base_config(&QueryConfig::default())
    }

    #[test]
    fn settings_apply_and_are_typed() {
        let settings = Settings::from([
            ("polarway.route".to_owned(), "staged".to_owned()),
            ("polarway.timeout".to_owned(), "90s".to_owned()),
            ("polarway.memory_limit".to_owned(), "64MiB".to_owned()),
            ("datafusion.execution.batch_size".to_owned(), "100".to_owned()),
        ]);
        let config = apply(base(), &settings).unwrap();
        assert_eq!(config.batch_size(), 100);
        let typed = QuerySettings::of(&config).unwrap();
        assert_eq!(typed.route, Route::Staged);
        assert_eq!(typed.timeout, Some(Duration::from_secs(90)));
        assert_eq!(typed.memory_limit, Some(64 << 20));
        assert_eq!(from_wire(&to_wire(&settings)), settings);
    }

    #[test]
    fn a_wrong_name_suggests_and_a_wrong_value_says_why() {
        let error = check("polarway.rout", "staged", &base()).unwrap_err();
        assert!(error.hint.unwrap().contains("polarway.route"));
        assert_eq!(check("polarway.route", "sideways", &base()).unwrap_err().kind, ErrorKind::InvalidSetting);
        assert_eq!(check("polarway.timeout", "soon", &base()).unwrap_err().kind, ErrorKind::InvalidSetting);
        assert!(check("datafusion.execution.batch_size", "many", &base()).is_err());
        assert!(check("datafusion.runtime.memory_limit", "1G", &base()).is_err());
        assert!(check("datafusion.execution.batch_size", "10", &base()).is_ok());
    }
}
