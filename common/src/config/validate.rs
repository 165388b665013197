//! Values that fit their keys but cannot work, alone or together.

use url::Url;

use super::{
    Config, DirectOn, ExecutorConfig, IngestConfig, MetaStoreConfig, QueryConfig, S3Config, SchedulerConfig,
    ShuffleConfig, StorageConfig, TelemetryConfig,
};
use crate::address::{HostPort, is_host, is_wildcard};
use crate::error::{Error, ErrorKind, Result};
use crate::log_filter;
use crate::units::{ByteSize, HumanDuration};

/// Below this not even a small query has room.
const MIN_MEMORY: ByteSize = ByteSize::mib(64);

/// Below this a stream does little but seal.
const MIN_STREAM: ByteSize = ByteSize::mib(1);

/// The metadata store is no place for more, and every scheduler has all of it in memory.
const LONGEST_HISTORY: usize = 10_000;

/// Schemes that a root in `storage.allowed` may have.
const SCHEMES: [&str; 4] = ["s3", "gs", "az", "https"];

impl Config {
    /// Looks for settings that cannot work or contradict each other.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] that names all of them.
    pub fn validate(&self) -> Result<()> {
        log_filter::filter(&self.log.level)?;
        let mut faults = Faults::default();
        scheduler(&self.scheduler, &mut faults);
        query(&self.query, &mut faults);
        executor(&self.executor, &mut faults);
        storage(&self.storage, &mut faults);
        ingest(&self.ingest, &mut faults);
        metastore(&self.metastore, &mut faults);
        shuffle(&self.shuffle, &mut faults);
        telemetry(&self.telemetry, &mut faults);
        if self.identity.process_secret.as_ref().is_some_and(|secret| !is_process_secret(secret.expose())) {
            faults.add("`identity.process_secret` must have 32 visible ASCII characters or more".to_owned());
        }
        if let Err(error) = self.tls.check() {
            faults.add(error.message);
        }
        faults.some_zero("admission.max_running", self.admission.max_running);
        if self.executor.heartbeat >= self.scheduler.executor_timeout {
            faults.add(format!(
                "`executor.heartbeat` ({}) must be shorter than `scheduler.executor_timeout` ({}), or every executor counts as lost",
                self.executor.heartbeat, self.scheduler.executor_timeout
            ));
        }
        faults.into_result()
    }
}

fn telemetry(telemetry: &TelemetryConfig, faults: &mut Faults) {
    if !(0.0..=1.0).contains(&telemetry.sample) {
        faults.add(format!("`telemetry.sample` ({}) must be from 0 to 1", telemetry.sample));
    }
    if telemetry.history > LONGEST_HISTORY {
        faults.add(format!("`telemetry.history` ({}) must be {LONGEST_HISTORY} or less", telemetry.history));
    }
    if let Some(endpoint) = &telemetry.otlp_endpoint
        && !matches!(Url::parse(endpoint), Ok(url) if ["http", "https"].contains(&url.scheme()) && url.has_host())
    {
        faults.add(format!(
            "`telemetry.otlp_endpoint` ({endpoint}) must be a URL such as http://collector:4317"
        ));
    }
}

/// Whether it can be sent in a header, and is not guessed.
fn is_process_secret(text: &str) -> bool {
    text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn scheduler(scheduler: &SchedulerConfig, faults: &mut Faults) {
    faults.zero("scheduler.max_attempts", scheduler.max_attempts == 0);
    faults.zero("scheduler.result_parallelism", scheduler.result_parallelism == 0);
    faults.zero("scheduler.executor_timeout", scheduler.executor_timeout.is_zero());
    faults.zero("scheduler.stall_timeout", scheduler.stall_timeout.is_zero());
    faults.zero("scheduler.ticket_ttl", scheduler.ticket_ttl.is_zero());
    let http = Some(&scheduler.http_listen);
    faults.same_address("scheduler.listen", &scheduler.listen, "scheduler.http_listen", http);
    // `polarway up` has its executors in the same process: any address of this machine will do.
    let others = scheduler.direct == DirectOn::Executor;
    faults.announced("scheduler", &scheduler.listen, scheduler.advertise_host.as_deref(), others);
    if scheduler.ticket_secret.as_ref().is_some_and(|secret| secret.expose().len() < 16) {
        faults.add("`scheduler.ticket_secret` must have 16 characters or more".to_owned());
    }
}

fn query(query: &QueryConfig, faults: &mut Faults) {
    faults.zero("query.batch_size", query.batch_size == 0);
    faults.some_zero("query.target_partitions", query.target_partitions);
    faults.zero("query.timeout", query.timeout.is_some_and(|timeout| timeout.is_zero()));
    faults.zero("query.per_query_memory", query.per_query_memory == Some(ByteSize(0)));
    faults.memory("query.memory_limit", query.memory_limit);
    if let (Some(one), Some(all)) = (query.per_query_memory, query.memory_limit)
        && one > all
    {
        faults.add(format!("`query.per_query_memory` ({one}) is more than `query.memory_limit` ({all})"));
    }
}

fn executor(executor: &ExecutorConfig, faults: &mut Faults) {
    faults.some_zero("executor.slots", executor.slots);
    faults.zero("executor.heartbeat", executor.heartbeat.is_zero());
    faults.zero("executor.scheduler's port", executor.scheduler.port == 0);
    faults.memory("executor.memory_limit", executor.memory_limit);
    let http = executor.http_listen.as_ref();
    faults.same_address("executor.listen", &executor.listen, "executor.http_listen", http);
    faults.announced("executor", &executor.listen, executor.advertise_host.as_deref(), true);
}

fn ingest(ingest: &IngestConfig, faults: &mut Faults) {
    for (name, limit) in [("ingest.log_limit", ingest.log_limit), ("ingest.hot_limit", ingest.hot_limit)] {
        if limit < MIN_STREAM {
            faults.add(format!("`{name}` ({limit}) must be {MIN_STREAM} or more"));
        }
    }
    let zeros = [
        ("ingest.max_connections", ingest.max_connections == 0),
        ("ingest.max_frame", ingest.max_frame.0 == 0),
        ("ingest.connection_rate", ingest.connection_rate.is_some_and(|rate| rate.0 == 0)),
        ("ingest.idle_timeout", ingest.idle_timeout.is_zero()),
    ];
    for (name, _) in zeros.into_iter().filter(|(_, zero)| *zero) {
        faults.add(format!("`{name}` must be above zero"));
    }
}

/// What more there is to say of a member's URL is said where it is dialled.
fn metastore(metastore: &MetaStoreConfig, faults: &mut Faults) {
    let MetaStoreConfig { etcd, user, password, password_file, certificate, key, .. } = metastore;
    if user.is_some() != (password.is_some() || password_file.is_some()) {
        faults.add("`metastore.user` goes together with a password or a file with it".to_owned());
    }
    if certificate.is_some() != key.is_some() {
        faults.add("`metastore.certificate` and `metastore.key` go together".to_owned());
    }
    let ttls = HumanDuration::from_secs(2)..=HumanDuration::from_secs(3600);
    if !ttls.contains(&metastore.lease_ttl) {
        faults.add(format!("`metastore.lease_ttl` ({}) must be from 2s to 1h", metastore.lease_ttl));
    }
    if etcd.is_empty() && (user.is_some() || certificate.is_some() || metastore.ca.is_some()) {
        faults.add("`[metastore]` says how to reach etcd, and `metastore.etcd` names no member".to_owned());
    }
}

fn shuffle(shuffle: &ShuffleConfig, faults: &mut Faults) {
    let ShuffleConfig { url, mode, object_size, orphan_after, .. } = shuffle;
    faults.zero("shuffle.orphan_after", orphan_after.is_zero());
    if let (None, Some(mode)) = (url, mode)
        && mode.stores()
    {
        faults
            .add(format!("`shuffle.mode` ({mode}) needs `shuffle.url`, the place for copies of the output"));
    }
    let sizes = ByteSize::mib(1)..=ByteSize::gib(1);
    if !sizes.contains(object_size) {
        faults.add(format!("`shuffle.object_size` ({object_size}) must be from 1MiB to 1GiB"));
    }
}

fn storage(storage: &StorageConfig, faults: &mut Faults) {
    let allowed = storage.allowed.iter().map(|root| ("storage.allowed", root));
    for (key, root) in allowed.chain(storage.writable.iter().map(|root| ("storage.writable", root))) {
        // A path has no scheme; it is looked at where the file system is.
        if let Some((scheme, _)) = root.split_once("://") {
            let host = Url::parse(root).ok().and_then(|url| url.host_str().map(str::to_owned));
            if !SCHEMES.contains(&scheme) || host.is_none_or(|host| host.is_empty()) {
                faults.add(format!(
                    "`{root}` in `{key}` is no root; write the path of a directory, or a URL such as s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or https://host/prefix"
                ));
            }
        }
    }
    s3(&storage.s3, faults);
}

fn s3(s3: &S3Config, faults: &mut Faults) {
    if s3.access_key_id.is_some() != s3.secret_access_key.is_some() {
        faults.add("`storage.s3.access_key_id` and `storage.s3.secret_access_key` go together".to_owned());
    }
    if s3.session_token.is_some() && s3.access_key_id.is_none() {
        faults.add("`storage.s3.session_token` needs `storage.s3.access_key_id`".to_owned());
    }
    let Some(endpoint) = &s3.endpoint else { return };
    match Url::parse(endpoint) {
        Ok(url) if url.scheme() == "https" => {}
        Ok(url) if url.scheme() == "http" => {
            if !s3.allow_http {
                faults
                    .add(format!("`storage.s3.endpoint` ({endpoint}) needs `storage.s3.allow_http = true`"));
            }
            if s3.ca.is_some() {
                faults.add(format!(
                    "`storage.s3.ca` is of no use: `storage.s3.endpoint` ({endpoint}) is not https"
                ));
            }
        }
        _ => {
            faults.add(format!("`storage.s3.endpoint` ({endpoint}) must be a URL such as https://host:9000"))
        }
    }
}

#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, fault: String) {
        self.0.push(fault);
    }

    fn zero(&mut self, key: &str, is_zero: bool) {
        if is_zero {
            self.add(format!("`{key}` must not be zero"));
        }
    }

    fn some_zero(&mut self, key: &str, value: Option<usize>) {
        self.zero(key, value == Some(0));
    }

    fn memory(&mut self, key: &str, limit: Option<ByteSize>) {
        if let Some(limit) = limit.filter(|limit| *limit < MIN_MEMORY) {
            self.add(format!("`{key}` ({limit}) must be {MIN_MEMORY} or more"));
        }
    }

    /// Port 0 lets the system choose, so two of them do not collide.
    fn same_address(&mut self, key: &str, address: &HostPort, other_key: &str, other: Option<&HostPort>) {
        if let Some(other) = other
            && address.port == other.port
            && address.port != 0
            && (address.host == other.host || is_wildcard(&address.host) || is_wildcard(&other.host))
        {
            self.add(format!("`{key}` ({address}) and `{other_key}` ({other}) use the same port"));
        }
    }

    /// What a server announces has to lead others to it, if there are `others`.
    fn announced(&mut self, section: &str, listen: &HostPort, host: Option<&str>, others: bool) {
        match host {
            None if others && is_wildcard(&listen.host) => self.add(format!(
                "`{section}.listen` ({listen}) is no address that others reach it by; set `{section}.advertise_host` to this machine's name or address"
            )),
            Some(host) if is_wildcard(host) || !is_host(host) => self.add(format!(
                "`{section}.advertise_host` ({host}) must be a name or address of this machine, without a port"
            )),
            _ => {}
        }
    }

    fn into_result(self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let message = format!("the configuration cannot work: {}", self.0.join("; "));
        Err(Error::new(ErrorKind::Configuration, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ShuffleMode;

    fn executor_at(listen: &str, advertise_host: Option<&str>) -> Result<()> {
        let mut config = Config::default();
        config.executor.listen = listen.parse().unwrap();
        config.executor.advertise_host = advertise_host.map(str::to_owned);
        config.validate()
    }

    #[test]
    fn a_server_on_all_interfaces_has_to_say_where_it_is() {
        for listen in ["0.0.0.0:50052", "[::]:50052"] {
            let message = executor_at(listen, None).unwrap_err().message;
            assert!(message.contains(listen), "{message}");
            assert!(message.contains("set `executor.advertise_host`"), "{message}");
            assert_eq!(executor_at(listen, Some("executor-1")), Ok(()));
            assert_eq!(executor_at(listen, Some("fe80::1")), Ok(()));
        }
        assert_eq!(executor_at("10.0.0.1:50052", None), Ok(()));
        for host in ["0.0.0.0", "[::]", "executor-1:50052", "http://executor-1"] {
            let message = executor_at("0.0.0.0:50052", Some(host)).unwrap_err().message;
            assert!(message.contains(&format!("`executor.advertise_host` ({host})")), "{message}");
        }
    }

    #[test]
    fn row_48_traces_need_a_share_and_an_address() {
        let mut config = Config::default();
        for (sample, fits) in [(0.0, true), (1.0, true), (-0.1, false), (1.5, false), (f64::NAN, false)] {
            config.telemetry.sample = sample;
            assert_eq!(config.validate().is_ok(), fits, "{sample}");
        }
        config.telemetry.sample = 0.5;
        for address in ["collector:4317", "ftp://collector", "http://"] {
            config.telemetry.otlp_endpoint = Some(address.to_owned());
            let message = config.validate().unwrap_err().message;
            assert!(message.contains(&format!("`telemetry.otlp_endpoint` ({address})")), "{message}");
        }
        config.telemetry.otlp_endpoint = Some("https://collector:4317".to_owned());
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn row_48_a_history_has_an_end() {
        let mut config = Config::default();
        for (history, fits) in [(0, true), (1, true), (10_000, true), (10_001, false)] {
            config.telemetry.history = history;
            assert_eq!(config.validate().is_ok(), fits, "{history}");
        }
    }

    #[test]
    fn copies_of_shuffle_output_need_a_place() {
        let mut config = Config::default();
        assert_eq!(config.shuffle.resolved_mode(), ShuffleMode::Local);
        config.shuffle.mode = Some(ShuffleMode::Durable);
        let message = config.validate().unwrap_err().message;
        assert!(message.contains("`shuffle.mode` (durable) needs `shuffle.url`"), "{message}");
        config.shuffle.url = Some("s3://bucket/shuffle".to_owned());
        assert_eq!(config.validate(), Ok(()));
        config.shuffle.mode = None;
        assert_eq!(config.shuffle.resolved_mode(), ShuffleMode::WriteBehind);
        config.shuffle.object_size = ByteSize::gib(2);
        let message = config.validate().unwrap_err().message;
        assert!(message.contains("`shuffle.object_size` (2GiB)"), "{message}");
    }

    #[test]
    fn a_scheduler_on_all_interfaces_has_to_say_where_it_is_unless_its_executors_are_here() {
        let mut config = Config::default();
        config.scheduler.listen = HostPort::new("0.0.0.0", 50051);
        let message = config.validate().unwrap_err().message;
        assert!(message.contains("set `scheduler.advertise_host`"), "{message}");
        config.scheduler.direct = DirectOn::Local;
        assert_eq!(config.validate(), Ok(()));
        config.scheduler.direct = DirectOn::Executor;
        config.scheduler.advertise_host = Some("scheduler".to_owned());
        assert_eq!(config.validate(), Ok(()));
    }
}
