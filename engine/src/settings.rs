//! Polarway's own settings, and the session configurations made from a session's. What a session may set is told in
//! [`settable`](crate::settable).

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;
use std::time::Duration;

use ballista_core::config::BallistaConfig;
use ballista_core::extension::{SessionConfigExt, SessionConfigHelperExt};
use datafusion::common::DataFusionError;
use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use datafusion::prelude::SessionConfig;
use polarway_common::config::{QueryConfig, ResultDelivery, Route, SchedulerConfig, ShuffleMode};
use polarway_common::namespace::PUBLIC;
use polarway_common::{ByteSize, Caller, Error, ErrorKind, HumanDuration, Namespace, Role};
use polarway_proto::ticket::Setting;

use crate::live::ReadTokens;
use crate::memory::SMALL;

/// Name of the one catalog and of its first schema.
pub const CATALOG: &str = "polarway";
pub const SCHEMA: &str = PUBLIC;

/// How many partitions a plan is split into.
pub const TARGET_PARTITIONS: &str = "datafusion.execution.target_partitions";
/// Who asks. The server sets it, and what belongs to somebody is found by it.
pub const USER: &str = "polarway.user";
/// The namespace of who asks. The server sets it, and names are looked up in it.
pub const NAMESPACE: &str = "polarway.namespace";
/// The trace that a query's tasks belong to. The server sets it.
pub const TRACE: &str = "polarway.trace";
/// What a spilling sort keeps back for its merge, bytes.
pub const SORT_RESERVATION: &str = "datafusion.execution.sort_spill_reservation_bytes";
const BATCH_SIZE: &str = "datafusion.execution.batch_size";
/// Whether text of Parquet files is read as views, and whether SQL's text types are views.
pub const VIEW_TYPES: &str = "datafusion.execution.parquet.schema_force_view_types";
const VIEW_TYPES_IN_SQL: &str = "datafusion.sql_parser.map_string_types_to_utf8view";
const SHUFFLE_CODEC: &str = "ballista.shuffle.compression.codec";
const PREFER_HASH_JOIN: &str = "datafusion.optimizer.prefer_hash_join";

/// [`SORT_RESERVATION`] where memory is short; DataFusion's default of 10 MiB is much of a small pool.
pub const SMALL_SORT_RESERVATION: usize = 2 << 20;

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
    /// `proxy` or `direct`; this and the rest: empty means as the server is configured.
    pub results: String,
    /// How often a staged query is tried in all.
    pub max_attempts: String,
    /// How long a query waits while there is no executor.
    pub executor_wait: String,
    /// How long a staged query may stand still before it is tried again.
    pub stall_timeout: String,
    /// Result partitions of one staged query that are read at the same time.
    pub result_parallelism: String,
    /// Tokens of acknowledgements, separated by commas, whose rows a query has to see.
    pub read_after: String,
    /// `local`, `write-behind` or `durable`: when the output of tasks is copied to the object store; empty means as the
    /// server is configured.
    pub shuffle: String,
    /// Who asks; empty where nobody is told apart. No session sets it.
    pub user: String,
    /// The namespace of who asks. No session sets it.
    pub namespace: String,
    /// The trace that the tasks of a query belong to, as W3C writes it; empty if it is not traced. No session sets it.
    pub trace: String,
}

impl Default for PolarwayOptions {
    fn default() -> Self {
        Self {
            route: "auto".to_owned(),
            timeout: String::new(),
            memory_limit: String::new(),
            direct_max_bytes: "1GiB".to_owned(),
            results: String::new(),
            max_attempts: String::new(),
            executor_wait: String::new(),
            stall_timeout: String::new(),
            result_parallelism: String::new(),
            read_after: String::new(),
            shuffle: String::new(),
            user: String::new(),
            namespace: Namespace::default().into(),
            trace: String::new(),
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
            "results" => Some(&mut self.results),
            "max_attempts" => Some(&mut self.max_attempts),
            "executor_wait" => Some(&mut self.executor_wait),
            "stall_timeout" => Some(&mut self.stall_timeout),
            "result_parallelism" => Some(&mut self.result_parallelism),
            "read_after" => Some(&mut self.read_after),
            "shuffle" => Some(&mut self.shuffle),
            "user" => Some(&mut self.user),
            "namespace" => Some(&mut self.namespace),
            "trace" => Some(&mut self.trace),
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
            ("results", &self.results, "proxy or direct: who reads staged results from the executors"),
            ("max_attempts", &self.max_attempts, "How often a staged query is tried in all"),
            ("executor_wait", &self.executor_wait, "How long a query waits while there is no executor"),
            (
                "stall_timeout",
                &self.stall_timeout,
                "How long a staged query may stand still before it is tried again",
            ),
            (
                "result_parallelism",
                &self.result_parallelism,
                "Result partitions of one staged query that are read at the same time",
            ),
            (
                "read_after",
                &self.read_after,
                "Tokens of acknowledgements whose rows a query of their stream sees, or fails",
            ),
            (
                "shuffle",
                &self.shuffle,
                "local, write-behind or durable: when tasks' output is copied to the object store",
            ),
            ("user", &self.user, "Who asks; empty where the server does not tell callers apart"),
            ("namespace", &self.namespace, "The namespace of who asks, in which names are looked up"),
            ("trace", &self.trace, "The trace that tasks belong to"),
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

/// The typed values of Polarway's own settings for one query. `None` in those that a server has a value
/// for means as it is configured.
#[derive(Debug, Clone, PartialEq)]
pub struct QuerySettings {
    pub route: Route,
    pub timeout: Option<Duration>,
    pub memory_limit: Option<usize>,
    pub direct_max_bytes: u64,
    pub results: Option<ResultDelivery>,
    pub max_attempts: Option<u32>,
    pub executor_wait: Option<Duration>,
    pub stall_timeout: Option<Duration>,
    pub result_parallelism: Option<usize>,
    pub read_after: ReadTokens,
    pub shuffle: Option<ShuffleMode>,
}

const UNITS: &str = "write a duration as '30s' or '5m', a size as '512MiB'; '' means no limit";
const SHUFFLE_MODES: &str = "use 'local', 'write-behind' or 'durable'; RESET returns to the server's own";
const DELIVERIES: &str = "use 'proxy' or 'direct'";
const A_NUMBER: &str = "write a whole number; RESET returns to the server's own";
const TOKENS: &str =
    "write the `token` of an acknowledgement, or several separated by commas; '' asks for none";
const A_DURATION: &str = "write a duration as '30s' or '5m'; RESET returns to the server's own";

impl QuerySettings {
    pub fn of(config: &SessionConfig) -> Result<Self, Error> {
        let options = config.options().extensions.get::<PolarwayOptions>().cloned().unwrap_or_default();
        let duration = |name: &str, text: &str, hint: &str| {
            Ok::<_, Error>(parse::<HumanDuration>(name, text, hint)?.map(|duration| duration.0))
        };
        Ok(Self {
            route: parse_route(&options.route)?,
            timeout: duration("timeout", &options.timeout, UNITS)?,
            memory_limit: parse::<ByteSize>("memory_limit", &options.memory_limit, UNITS)?
                .map(ByteSize::as_usize),
            direct_max_bytes: parse::<ByteSize>("direct_max_bytes", &options.direct_max_bytes, UNITS)?
                .map_or(0, |size| size.0),
            results: parse("results", &options.results, DELIVERIES)?,
            max_attempts: parse("max_attempts", &options.max_attempts, A_NUMBER)?,
            executor_wait: duration("executor_wait", &options.executor_wait, A_DURATION)?,
            stall_timeout: duration("stall_timeout", &options.stall_timeout, A_DURATION)?,
            result_parallelism: parse("result_parallelism", &options.result_parallelism, A_NUMBER)?,
            read_after: parse("read_after", &options.read_after, TOKENS)?.unwrap_or_default(),
            shuffle: parse("shuffle", &options.shuffle, SHUFFLE_MODES)?,
        })
    }
}

fn parse_route(text: &str) -> Result<Route, Error> {
    text.parse().map_err(|_| {
        Error::new(ErrorKind::InvalidSetting, format!("`polarway.route` cannot be `{text}`"))
            .with_hint("use 'auto', 'direct' or 'staged'")
    })
}

fn parse<T: std::str::FromStr>(name: &str, text: &str, hint: &str) -> Result<Option<T>, Error>
where
    T::Err: std::fmt::Display,
{
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| {
        Error::new(ErrorKind::InvalidSetting, format!("`polarway.{name}` cannot be `{text}`: {error}"))
            .with_hint(hint)
    })
}

/// The configuration that sessions start from.
pub fn base_config(query: &QueryConfig) -> SessionConfig {
    let options = PolarwayOptions {
        route: query.route.to_string(),
        timeout: query.timeout.map(|timeout| timeout.to_string()).unwrap_or_default(),
        memory_limit: query.per_query_memory.map(|size| size.0.to_string()).unwrap_or_default(),
        direct_max_bytes: query.direct_max_bytes.0.to_string(),
        ..PolarwayOptions::default()
    };
    let mut config = SessionConfig::new()
        .with_option_extension(options)
        // So that SHOW tells them and SET takes those that have an effect.
        .with_option_extension(BallistaConfig::default())
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true)
        .with_target_partitions(query.resolved_target_partitions())
        .with_batch_size(query.batch_size)
        .with_collect_statistics(true);
    let settings = config.options_mut();
    settings.sql_parser.collect_spans = true;
    if query.resolved_memory_limit() < SMALL {
        settings.execution.sort_spill_reservation_bytes = SMALL_SORT_RESERVATION;
    }
    settings.execution.listing_table_ignore_subdirectory = false;
    config
}

/// `config` with the scheduler's own values for what a session may set differently, so that SHOW tells them.
pub fn with_scheduler_defaults(
    mut config: SessionConfig,
    scheduler: &SchedulerConfig,
    shuffle: ShuffleMode,
) -> SessionConfig {
    if let Some(options) = config.options_mut().extensions.get_mut::<PolarwayOptions>() {
        options.results = scheduler.results.to_string();
        options.max_attempts = scheduler.max_attempts.to_string();
        options.executor_wait = scheduler.executor_wait.to_string();
        options.stall_timeout = scheduler.stall_timeout.to_string();
        options.result_parallelism = scheduler.result_parallelism.to_string();
        options.shuffle = shuffle.to_string();
    }
    config
}

/// What tells who asks, wherever settings go. Of callers that are not told apart, and of the namespace `default`, it tells
/// nothing.
pub fn of_caller(caller: &Caller) -> Settings {
    let mut settings = Settings::new();
    if !caller.name().is_empty() {
        settings.insert(USER.to_owned(), caller.name().to_owned());
    }
    if !caller.namespace().is_default() {
        settings.insert(NAMESPACE.to_owned(), caller.namespace().as_str().to_owned());
    }
    settings
}

/// Whether settings are those of a statement of `caller`.
pub fn are_of(settings: &Settings, caller: &Caller) -> bool {
    let own = of_caller(caller);
    [USER, NAMESPACE].into_iter().all(|name| settings.get(name) == own.get(name))
}

/// The namespace that names are looked up in.
///
/// # Errors
/// `Configuration` if it is none, which no server writes.
pub fn namespace(settings: &Settings) -> Result<Namespace, Error> {
    settings.get(NAMESPACE).map_or_else(|| Ok(Namespace::default()), |name| Namespace::parse(name))
}

/// By what it is noted what is of whoever asks, as [`Caller::owner`].
///
/// # Errors
/// As [`namespace`].
pub fn owner(config: &SessionConfig) -> Result<String, Error> {
    let Some(options) = config.options().extensions.get::<PolarwayOptions>() else {
        return Ok(String::new());
    };
    let namespace = Namespace::parse(&options.namespace)?;
    Ok(Caller::new(options.user.as_str(), Role::Read).of(namespace).owner().to_owned())
}

/// Makes work under `config` part of a trace.
pub fn set_trace(config: &mut SessionConfig, trace: &str) {
    if let Some(options) = config.options_mut().extensions.get_mut::<PolarwayOptions>() {
        trace.clone_into(&mut options.trace);
    }
}

/// The trace that work under `config` belongs to; none if it is not traced.
pub fn trace(config: &SessionConfig) -> Option<&str> {
    let options = config.options().extensions.get::<PolarwayOptions>();
    options.map(|options| options.trace.as_str()).filter(|trace| !trace.is_empty())
}

/// When the output of a task that runs under `config` is copied.
pub fn shuffle_mode(config: &SessionConfig) -> ShuffleMode {
    let options = config.options().extensions.get::<PolarwayOptions>();
    options.and_then(|options| options.shuffle.parse().ok()).unwrap_or(ShuffleMode::Local)
}

/// What a session may decide otherwise than Ballista does: none of it makes an answer wrong.
const OVER_BALLISTA: [&str; 3] = [
    PREFER_HASH_JOIN,
    "datafusion.optimizer.hash_join_single_partition_threshold",
    "datafusion.optimizer.hash_join_single_partition_threshold_rows",
];

/// What a staged plan is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ground {
    /// Task slots of all executors.
    pub slots: u32,
    /// Whether all executors are on one machine, so that what they exchange crosses no network.
    pub one_host: bool,
    /// Whether the query ran out of memory before: joins sort and merge then, which takes longer and needs no memory
    /// for a whole build side.
    pub spilling: bool,
}

/// How often a reader tries again to fetch a partition, and how long it waits before.
const FETCH_RETRIES: u64 = 4;
const FETCH_RETRY_MILLIS: u64 = 250;
const MAX_PARTITIONS_PER_TASK: &str = "ballista.scheduler.max_partitions_per_task";

/// The configuration of plans that are split into stages: `base` with the session's settings, Ballista's restrictions
/// over them, and over these what a session may decide itself. Ballista would join by sorting, since hash joins do not
/// spill, and read text plainly, since its writer may write views with all that they were cut from; here the first is
/// the second choice and the second is not needed.
pub fn staged_config(
    base: &SessionConfig,
    session: &Settings,
    Ground { slots, spilling, .. }: Ground,
) -> Result<SessionConfig, Error> {
    let config = apply(base.clone(), session)?;
    let wanted = config.target_partitions();
    let chosen = session.contains_key(TARGET_PARTITIONS);
    let partitions = if chosen { wanted } else { wanted.max(slots as usize).max(2) };
    let views = [
        (VIEW_TYPES, config.options().execution.parquet.schema_force_view_types),
        (VIEW_TYPES_IN_SQL, config.options().sql_parser.map_string_types_to_utf8view),
    ];
    let mut config = config
        .upgrade_for_ballista()
        // The base knows Ballista's options, which counts as upgraded.
        .ballista_restricted_configuration()
        .with_target_partitions(partitions)
        .set_bool(PREFER_HASH_JOIN, true)
        // A reader must not wait three times three seconds for an executor that is gone. Each try goes to the executor
        // or, after one that failed, to the stored copy: the last ones come a second after the first.
        .set_u64("ballista.client.io_retries_times", FETCH_RETRIES)
        .set_u64("ballista.client.io_retry_wait_time_ms", FETCH_RETRY_MILLIS);
    if shuffle_mode(&config).stores() {
        // What a task covers must not depend on how many slots are free: another attempt could not use its output.
        config = config
            .set_u64(MAX_PARTITIONS_PER_TASK, 1)
            // Copies are given as the bytes that they are.
            .set_bool("ballista.shuffle.remote_read_prefer_flight", false);
    }
    for (name, value) in views {
        // As everywhere in the second try: each batch of views counts the whole of the buffers that it refers to.
        config = config.set_bool(name, value && !spilling);
    }
    let own: Settings = session
        .iter()
        .filter(|(name, _)| name.starts_with("ballista.") || OVER_BALLISTA.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let config = apply(config, &own)?;
    if !spilling {
        return Ok(config);
    }
    let config = config
        .set_bool(PREFER_HASH_JOIN, false)
        // With one partition DataFusion would choose a hash join all the same.
        .with_target_partitions(partitions.max(2));
    Ok(if session.contains_key(SORT_RESERVATION) {
        config
    } else {
        config.set_usize(SORT_RESERVATION, SMALL_SORT_RESERVATION)
    })
}

/// A plan that reads less exchanges what the page cache takes in its stride, and compressing it costs more time than it
/// saves. Of more, the half that another executor reads, and what the kernel begins to write to disk, weigh more.
const PLAIN_EXCHANGE: u64 = 1 << 30;

/// Leaves the shuffle of a plan that reads `bytes` of files uncompressed, where that is faster and the session has not
/// decided.
pub fn settle_shuffle(
    config: &mut SessionConfig,
    session: &Settings,
    ground: Ground,
    bytes: u64,
) -> Result<(), Error> {
    if ground.one_host && bytes < PLAIN_EXCHANGE && !session.contains_key(SHUFFLE_CODEC) {
        set(config.options_mut(), SHUFFLE_CODEC, "none")?;
    }
    Ok(())
}

/// What running plans look at.
const RUN_BY: [&str; 2] = ["datafusion.execution.", "datafusion.optimizer."];

/// The values that an executor may start from.
static STARTS: LazyLock<[HashMap<String, Option<String>>; 2]> = LazyLock::new(|| {
    [SessionConfig::new(), SessionConfig::new_with_ballista()]
        .map(|config| config.options().entries().into_iter().map(|entry| (entry.key, entry.value)).collect())
});

/// The settings that a plan made under `config` has to run under elsewhere, as far as an executor would not have them
/// anyway. Filters that joins pass to scans while they run stay off there, as Ballista has them: nobody has shown that
/// they find each other again in a plan that was encoded.
pub fn to_travel(config: &SessionConfig) -> Settings {
    let travels = |key: &str, value: &Option<String>| {
        RUN_BY.iter().any(|section| key.starts_with(section))
            && !key.ends_with("dynamic_filter_pushdown")
            // These differ from machine to machine, so that their defaults say nothing.
            && ([TARGET_PARTITIONS, BATCH_SIZE].contains(&key)
                || STARTS.iter().any(|start| start.get(key) != Some(value)))
    };
    config
        .options()
        .entries()
        .into_iter()
        .filter(|entry| travels(&entry.key, &entry.value))
        .filter_map(|entry| Some((entry.key, entry.value?)))
        .collect()
}

/// Applies a session's settings to `config`.
pub fn apply(mut config: SessionConfig, settings: &Settings) -> Result<SessionConfig, Error> {
    for (name, value) in settings {
        set(config.options_mut(), name, value)?;
    }
    Ok(config)
}

/// Sets one option.
///
/// # Errors
/// `InvalidSetting` with the nearest name, or with why the value does not fit.
pub(crate) fn set(options: &mut ConfigOptions, name: &str, value: &str) -> Result<(), Error> {
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

    fn session(settings: &[(&str, &str)]) -> Settings {
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn row_47_settings_tell_who_asks_and_in_which_namespace() {
        let acme = Namespace::parse("acme").unwrap();
        let (plain, other) =
            (Caller::new("ana", Role::Read), Caller::new("ana", Role::Read).of(acme.clone()));
        let callers = [Caller::anyone(), plain, other];
        for (at, caller) in callers.iter().enumerate() {
            let settings = of_caller(caller);
            for (of, other) in callers.iter().enumerate() {
                assert_eq!(are_of(&settings, other), at == of, "{caller:?} {other:?}");
            }
            assert_eq!(namespace(&settings).unwrap(), *caller.namespace());
            let config = apply(base(), &settings).unwrap();
            assert_eq!(owner(&config).unwrap(), caller.owner());
            // What a session has set beside it is nobody's business here.
            let more: Settings =
                [settings.clone(), session(&[("polarway.route", "direct")])].into_iter().flatten().collect();
            assert!(are_of(&more, caller));
            assert_eq!(from_wire(&to_wire(&settings)), settings);
        }
        assert_eq!(namespace(&of_caller(&callers[2])).unwrap(), acme);
    }

    #[test]
    fn the_schedulers_own_values_stand_where_a_session_says_nothing() {
        let scheduler = SchedulerConfig { max_attempts: 7, ..SchedulerConfig::default() };
        let config = with_scheduler_defaults(base(), &scheduler, ShuffleMode::Local);
        let typed = QuerySettings::of(&config).unwrap();
        assert_eq!((typed.max_attempts, typed.results), (Some(7), Some(ResultDelivery::Proxy)));
        assert_eq!(typed.stall_timeout, Some(scheduler.stall_timeout.0));
        assert_eq!(typed.executor_wait, Some(scheduler.executor_wait.0));
        let own = session(&[("polarway.max_attempts", "1"), ("polarway.results", "direct")]);
        let typed = QuerySettings::of(&apply(config, &own).unwrap()).unwrap();
        assert_eq!((typed.max_attempts, typed.results), (Some(1), Some(ResultDelivery::Direct)));
        assert_eq!(QuerySettings::of(&base()).unwrap().max_attempts, None);
    }

    #[test]
    fn a_session_decides_over_ballista_what_is_its_to_decide() {
        let hash_join = |config: &SessionConfig| config.options().optimizer.prefer_hash_join;
        let base = base().with_target_partitions(3);
        let ground = Ground { slots: 8, one_host: false, spilling: false };
        let views = |config: &SessionConfig| config.options().execution.parquet.schema_force_view_types;
        let codec = |config: &SessionConfig| {
            config
                .options()
                .extensions
                .get::<BallistaConfig>()
                .unwrap()
                .settings()
                .get(SHUFFLE_CODEC)
                .cloned()
        };
        let plain = staged_config(&base, &Settings::new(), ground).unwrap();
        assert_eq!((plain.target_partitions(), hash_join(&plain)), (8, true));
        assert_eq!((views(&plain), codec(&plain)), (true, None));
        let settled = |session: &Settings, one_host, bytes| {
            let ground = Ground { one_host, ..ground };
            let mut config = staged_config(&base, session, ground).unwrap();
            settle_shuffle(&mut config, session, ground, bytes).unwrap();
            codec(&config)
        };
        assert_eq!(settled(&Settings::new(), true, 1000).as_deref(), Some("none"));
        assert_eq!(settled(&Settings::new(), true, PLAIN_EXCHANGE), None);
        assert_eq!(settled(&Settings::new(), false, 1000), None);
        let zstd = session(&[(SHUFFLE_CODEC, "zstd")]);
        assert_eq!(settled(&zstd, true, 1000).as_deref(), Some("zstd"));
        // Ballista's restrictions hold although the base has Ballista's options already.
        assert!(!plain.options().optimizer.enable_round_robin_repartition);
        assert!(!plain.options().optimizer.enable_dynamic_filter_pushdown);

        let own = session(&[
            (TARGET_PARTITIONS, "1"),
            (PREFER_HASH_JOIN, "false"),
            ("ballista.shuffle.compression.codec", "zstd"),
            ("datafusion.optimizer.enable_dynamic_filter_pushdown", "true"),
        ]);
        let config = staged_config(&base, &own, Ground { one_host: true, ..ground }).unwrap();
        assert_eq!((config.target_partitions(), hash_join(&config)), (1, false));
        assert!(!config.options().optimizer.enable_dynamic_filter_pushdown);
        assert_eq!(codec(&config).as_deref(), Some("zstd"));

        let own = session(&[(PREFER_HASH_JOIN, "true")]);
        let spilling = staged_config(&base, &own, Ground { spilling: true, ..ground }).unwrap();
        assert!(!hash_join(&spilling), "the second try sorts, whatever the session prefers");
        assert!(!views(&spilling));
        assert_eq!(spilling.options().execution.sort_spill_reservation_bytes, SMALL_SORT_RESERVATION);
    }

    #[test]
    fn what_a_plan_was_made_under_travels_with_it() {
        let config = base().with_target_partitions(1).with_batch_size(1000);
        let own = session(&[(SORT_RESERVATION, "4096"), ("datafusion.execution.time_zone", "+02:00")]);
        let config = apply(config, &own).unwrap();
        let there = apply(
            SessionConfig::new_with_ballista().with_option_extension(PolarwayOptions::default()),
            &to_travel(&config),
        )
        .unwrap();
        let (ours, theirs) = (&config.options().execution, &there.options().execution);
        assert_eq!(theirs.batch_size.get(), 1000);
        assert_eq!(theirs.target_partitions, 1);
        assert_eq!(theirs.sort_spill_reservation_bytes, 4096);
        assert_eq!(theirs.time_zone.as_deref(), Some("+02:00"));
        assert_eq!(theirs.parquet.schema_force_view_types, ours.parquet.schema_force_view_types);
        let round_robin = |config: &SessionConfig| config.options().optimizer.enable_round_robin_repartition;
        assert_eq!(round_robin(&there), round_robin(&config));
    }
}
