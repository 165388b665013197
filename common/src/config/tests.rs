use std::fs;

use proptest::prelude::*;

use super::*;
use crate::units::{ByteSize, HumanDuration};

fn load(file: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("polarway.toml");
    fs::write(&path, file).unwrap();
    let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let loaded = Config::load(Some(&path), owned(env).into_iter(), &owned(flags))?;
    assert_eq!(loaded.file, Some(path));
    Ok(Config { file: None, ..loaded })
}

#[track_caller]
fn refused(loaded: Result<Config>, parts: &[&str]) {
    let error = loaded.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Configuration);
    for part in parts {
        assert!(error.message.contains(part), "`{part}` is missing in: {}", error.message);
    }
}

/// Every field spelt out, so that a new field does not compile until it is here.
fn everything_set() -> Config {
    Config {
        data_dir: "/data".into(),
        zone: Some("east".to_owned()),
        log: LogConfig { level: "debug".to_owned(), format: LogFormat::Json },
        telemetry: TelemetryConfig {
            otlp_endpoint: Some("http://collector:4317".to_owned()),
            sample: 0.5,
            slow_query: Some(HumanDuration::from_secs(18)),
            history: 500,
        },
        identity: IdentityConfig {
            tokens: Some("/tokens.toml".into()),
            process_secret: Some(Secret::new("process-secret-of-32-characters-")),
            trusted_network: true,
        },
        tls: TlsConfig {
            certificate: Some("/tls/certificate.pem".into()),
            key: Some("/tls/key.pem".into()),
            ca: Some("/tls/ca.pem".into()),
            process_name: "process.cluster".to_owned(),
            public_certificate: Some("/tls/public.pem".into()),
            public_key: Some("/tls/public-key.pem".into()),
        },
        scheduler: SchedulerConfig {
            listen: "0.0.0.0:1".parse().unwrap(),
            http_listen: "0.0.0.0:2".parse().unwrap(),
            advertise_host: Some("scheduler".to_owned()),
            results: ResultDelivery::Direct,
            direct: DirectOn::Local,
            executor_timeout: HumanDuration::from_secs(7),
            drain_timeout: HumanDuration::from_secs(8),
            ticket_secret: Some(Secret::new("ticket-secret-of-16")),
            ticket_ttl: HumanDuration::from_secs(9),
            max_attempts: 5,
            stall_timeout: HumanDuration::from_secs(10),
            executor_wait: HumanDuration::from_secs(11),
            result_parallelism: 6,
        },
        admission: AdmissionConfig {
            max_running: Some(3),
            max_queued: 7,
            queue_timeout: HumanDuration::from_secs(12),
            retry_after: HumanDuration::from_millis(250),
        },
        query: QueryConfig {
            route: Route::Staged,
            memory_limit: Some(ByteSize::gib(2)),
            per_query_memory: Some(ByteSize::gib(1)),
            timeout: Some(HumanDuration::from_secs(13)),
            target_partitions: Some(9),
            direct_max_bytes: ByteSize::mib(3),
            batch_size: 1000,
            spill_dir: Some("/spill".into()),
            spill_limit: ByteSize::gib(4),
        },
        ingest: IngestConfig {
            listen: Some("127.0.0.1:8".parse().unwrap()),
            directory: Some("/streams".into()),
            log_directory: Some("/log".into()),
            log_limit: ByteSize::mib(100),
            hot_limit: ByteSize::mib(10),
            grace: HumanDuration::from_secs(12),
            max_connections: 3,
            max_frame: ByteSize::mib(2),
            connection_rate: Some(ByteSize::mib(4)),
            idle_timeout: HumanDuration::from_secs(14),
            feeds: vec!["wss://feed.example/".into()],
            secrets: Some("/secrets".into()),
            certificates: Some("/certificates".into()),
        },
        executor: ExecutorConfig {
            listen: "0.0.0.0:3".parse().unwrap(),
            advertise_host: Some("executor".to_owned()),
            scheduler: "scheduler:1".parse().unwrap(),
            slots: Some(12),
            memory_limit: Some(ByteSize::gib(5)),
            work_dir: Some("/work".into()),
            heartbeat: HumanDuration::from_secs(2),
            drain_timeout: HumanDuration::from_secs(14),
            name: Some("executor-1".to_owned()),
            http_listen: Some("0.0.0.0:4".parse().unwrap()),
        },
        storage: StorageConfig {
            allowed: vec!["/tables".to_owned(), "s3://bucket/prefix".to_owned()],
            writable: vec!["/out".to_owned()],
            tables: Some("s3://bucket/tables".to_owned()),
            list_ttl: HumanDuration::from_secs(15),
            s3: S3Config {
                endpoint: Some("https://minio:9000".to_owned()),
                region: Some("eu-west-1".to_owned()),
                access_key_id: Some("key".to_owned()),
                secret_access_key: Some(Secret::new("s3-secret")),
                session_token: Some(Secret::new("s3-token")),
                allow_http: true,
                virtual_hosted: true,
                ca: Some("/s3-ca.pem".into()),
            },
        },
        cache: CacheConfig { plans: 1, metadata: ByteSize::mib(2), statistics: ByteSize::mib(3) },
        metastore: MetaStoreConfig {
            etcd: vec!["https://etcd-0:2379".into()],
            prefix: "one/".to_owned(),
            user: Some("polarway".to_owned()),
            password: Some(Secret::new("etcd-secret")),
            password_file: Some("/password".into()),
            ca: Some("/ca.pem".into()),
            certificate: Some("/cert.pem".into()),
            key: Some("/key.pem".into()),
            lease_ttl: HumanDuration::from_secs(7),
        },
        shuffle: ShuffleConfig {
            url: Some("s3://bucket/shuffle".to_owned()),
            mode: Some(ShuffleMode::Durable),
            object_size: ByteSize::mib(16),
            upload_after: HumanDuration::from_secs(16),
            orphan_after: HumanDuration::from_secs(17),
        },
        file: None,
    }
}

fn leaves(section: &str, table: &toml::Table) -> Vec<(String, toml::Value)> {
    table
        .iter()
        .flat_map(|(name, value)| {
            let key = keys::join(section, name);
            value.as_table().map_or_else(|| vec![(key.clone(), value.clone())], |inner| leaves(&key, inner))
        })
        .collect()
}

#[test]
fn every_field_is_a_known_key_and_every_key_a_field() {
    let tree = toml::Table::try_from(everything_set()).unwrap();
    let mut names: Vec<_> = leaves("", &tree).into_iter().map(|(key, _)| key).collect();
    names.sort();
    assert_eq!(names, Config::keys().unwrap());
}

#[test]
fn every_key_can_be_set_by_each_source() {
    let expected = everything_set();
    let mut tree = toml::Table::try_from(&expected).unwrap();
    let secrets = [
        ("ticket_secret", "ticket-secret-of-16"),
        ("secret_access_key", "s3-secret"),
        ("session_token", "s3-token"),
        ("password", "etcd-secret"),
        ("process_secret", "process-secret-of-32-characters-"),
    ];
    tree["scheduler"]["ticket_secret"] = secrets[0].1.into();
    tree["storage"]["s3"]["secret_access_key"] = secrets[1].1.into();
    tree["storage"]["s3"]["session_token"] = secrets[2].1.into();
    tree["metastore"]["password"] = secrets[3].1.into();
    tree["identity"]["process_secret"] = secrets[4].1.into();
    assert_eq!(load(&tree.to_string(), &[], &[]).unwrap(), expected);

    let texts: Vec<(String, String)> = leaves("", &tree)
        .into_iter()
        .map(|(key, value)| {
            let text = match &value {
                toml::Value::String(text) => text.clone(),
                toml::Value::Array(items) => {
                    items.iter().filter_map(|item| item.as_str()).collect::<Vec<_>>().join(", ")
                }
                other => other.to_string(),
            };
            (key, text)
        })
        .collect();
    assert_eq!(Config::load(None, std::iter::empty(), &texts).unwrap(), expected);

    let env = texts
        .into_iter()
        .map(|(key, text)| (format!("POLARWAY_{}", key.replace('.', "__").to_uppercase()), text));
    assert_eq!(Config::load(None, env, &[]).unwrap(), expected);
}

#[test]
fn later_layers_win() {
    let file = "[scheduler]\nlisten = '1.1.1.1:1'\nhttp_listen = '1.1.1.1:2'\nmax_attempts = 7\n";
    let env = [("POLARWAY_SCHEDULER__LISTEN", "2.2.2.2:1"), ("POLARWAY_SCHEDULER__HTTP_LISTEN", "2.2.2.2:2")];
    let config = load(file, &env, &[("scheduler.listen", "3.3.3.3:1")]).unwrap();
    assert_eq!(config.scheduler.listen.to_string(), "3.3.3.3:1");
    assert_eq!(config.scheduler.http_listen.to_string(), "2.2.2.2:2");
    assert_eq!(config.scheduler.max_attempts, 7);
    assert_eq!(config.scheduler.result_parallelism, 4);
}

#[test]
fn the_defaults_are_valid() {
    assert_eq!(Config::default().validate(), Ok(()));
}

#[test]
fn the_data_directory_follows_the_given_environment() {
    let data_dir = |env: &[(&str, &str)]| load("", env, &[]).unwrap().data_dir;
    assert_eq!(data_dir(&[("XDG_DATA_HOME", "/xdg"), ("HOME", "/home/a")]), Path::new("/xdg/polarway"));
    assert_eq!(data_dir(&[("HOME", "/home/a")]), Path::new("/home/a/.local/share/polarway"));
    assert_eq!(
        data_dir(&[("XDG_DATA_HOME", "relative"), ("HOME", "/h")]),
        Path::new("/h/.local/share/polarway")
    );
    assert_eq!(data_dir(&[]), Path::new(".polarway"));
}

#[test]
fn an_unknown_key_in_the_file_is_refused_with_the_nearest() {
    let loaded = load("[scheduler]\nlisen = '1.1.1.1:1'\n", &[], &[]);
    refused(
        loaded,
        &["unknown key `scheduler.lisen` in ", "polarway.toml, did you mean `scheduler.listen`?"],
    );
    refused(
        load("[schduler]\nlisten = 'x:1'\n", &[], &[]),
        &["section `schduler`", "did you mean `scheduler`?"],
    );
    refused(load("slots = 3\n", &[], &[]), &["unknown key `slots`", "did you mean `executor.slots`?"]);
    refused(load("[storage.s4]\n", &[], &[]), &["`storage.s4`", "did you mean `storage.s3`?"]);
    let error = load("zzzzzz = 3\n", &[], &[]).unwrap_err();
    assert!(!error.message.contains("did you mean"), "{error}");
}

#[test]
fn an_unknown_variable_is_refused_with_the_nearest() {
    let loaded = load("", &[("POLARWAY_SCHEDULER__LISEN", "x:1")], &[]);
    refused(
        loaded,
        &["unknown variable `POLARWAY_SCHEDULER__LISEN`", "did you mean `POLARWAY_SCHEDULER__LISTEN`?"],
    );
    let loaded = load("", &[("POLARWAY_SCHEDULER_LISTEN", "x:1")], &[]);
    refused(loaded, &["did you mean `POLARWAY_SCHEDULER__LISTEN`?"]);
    let loaded = load("", &[("POLARWAY_scheduler__listen", "x:1")], &[]);
    refused(loaded, &["did you mean `POLARWAY_SCHEDULER__LISTEN`?"]);
}

#[test]
fn an_unknown_flag_key_is_refused_with_the_nearest() {
    refused(
        load("", &[], &[("query.rout", "auto")]),
        &["`query.rout` on the command line", "`query.route`?"],
    );
}

#[test]
fn reserved_and_foreign_variables_are_left_alone() {
    let env = [
        ("POLARWAY_CONFIG", "a.toml"),
        ("POLARWAY_ENDPOINT", "http://localhost:1"),
        ("POLARWAY_BIN", "/bin/polarway"),
        ("POLARWAY_HISTORY", "/tmp/history"),
        // Of clients: that of servers is POLARWAY_TLS__CA.
        ("POLARWAY_TLS_CA", "/etc/ca.pem"),
        ("PATH", "/bin"),
        ("POLARWAYS", "x"),
    ];
    assert_eq!(load("", &env, &[]).unwrap().scheduler, SchedulerConfig::default());
}

#[test]
fn a_bad_value_is_refused_with_key_source_text_and_form() {
    let file = |text: &str| load(text, &[], &[]);
    refused(
        file("[cache]\nplans = 'many'\n"),
        &["`cache.plans` in ", "polarway.toml", "`many`", "whole number"],
    );
    refused(file("[cache]\nplans = -1\n"), &["`cache.plans`", "`-1`", "not negative"]);
    refused(
        file("[storage.s3]\nallow_http = 'yes'\n"),
        &["`storage.s3.allow_http`", "`yes`", "true or false"],
    );
    refused(file("[query]\ntimeout = 5\n"), &["`query.timeout`", "`5`", "with its unit"]);
    refused(file("[storage]\nallowed = '.'\n"), &["`storage.allowed`", "expected a list"]);
    refused(file("scheduler = 5\n"), &["`scheduler`", "[scheduler]"]);
    refused(file("data_dir = ' '\n"), &["`data_dir`", "must not be empty"]);
    refused(file("[log.level]\na = 1\n"), &["`log.level`"]);

    let env = |name: &str, text: &str| load("", &[(name, text)], &[]);
    let name = "POLARWAY_ADMISSION__QUEUE_TIMEOUT";
    refused(env(name, "soon"), &[name, "in the environment", "`soon`", "\"5s\""]);
    refused(env("POLARWAY_EXECUTOR__SLOTS", "2.5"), &["`2.5`", "whole number"]);
    refused(env("POLARWAY_QUERY__MEMORY_LIMIT", "lots"), &["`lots`", "512MiB"]);
    refused(env("POLARWAY_SCHEDULER__LISTEN", ""), &["must not be empty"]);

    let flag = load("", &[], &[("query.route", "fast")]);
    refused(flag, &["`query.route` on the command line", "`fast`", "auto", "direct", "staged"]);
    refused(load("", &[], &[("executor.scheduler", "host")]), &["`host`", "scheduler:50051"]);
}

#[test]
fn a_file_that_is_no_toml_is_refused_with_its_place() {
    let loaded = load("[scheduler]\nticket_secret = \"hunter2-hunter2\n", &[], &[]);
    let message = loaded.unwrap_err().message;
    assert!(message.contains("polarway.toml, line 2, column "), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn a_missing_file_is_refused_by_name() {
    let loaded = Config::load(Some(Path::new("/no/such/polarway.toml")), std::iter::empty(), &[]);
    refused(loaded, &["/no/such/polarway.toml"]);
}

#[test]
fn contradictions_are_refused() {
    let flags = |flags: &[(&str, &str)]| load("", &[], flags);
    refused(flags(&[("executor.slots", "0")]), &["`executor.slots` must not be zero"]);
    refused(flags(&[("query.memory_limit", "63MiB")]), &["`query.memory_limit` (63MiB)", "64MiB"]);
    refused(flags(&[("executor.memory_limit", "1MiB")]), &["`executor.memory_limit`"]);
    refused(flags(&[("scheduler.http_listen", "127.0.0.1:50051")]), &["`scheduler.listen`", "same port"]);
    refused(flags(&[("scheduler.http_listen", "0.0.0.0:50051")]), &["same port"]);
    refused(flags(&[("executor.http_listen", "127.0.0.1:50052")]), &["`executor.http_listen`", "same port"]);
    refused(flags(&[("executor.heartbeat", "5s")]), &["`scheduler.executor_timeout` (5s)"]);
    refused(flags(&[("storage.allowed", "ftp://host/x")]), &["`ftp://host/x`", "s3://bucket/prefix"]);
    refused(flags(&[("storage.allowed", "s3:///x")]), &["`s3:///x`"]);
    refused(flags(&[("storage.s3.endpoint", "http://minio:9000")]), &["allow_http"]);
    refused(flags(&[("storage.s3.access_key_id", "key")]), &["secret_access_key"]);
    let trusted = [
        ("storage.s3.endpoint", "http://h:1"),
        ("storage.s3.allow_http", "true"),
        ("storage.s3.ca", "ca.pem"),
    ];
    refused(flags(&trusted), &["`storage.s3.ca`", "http://h:1"]);
    refused(flags(&[("log.level", "inof")]), &["`inof`"]);
    refused(flags(&[("metastore.user", "polarway")]), &["`metastore.user`", "names no member"]);
    refused(flags(&[("metastore.lease_ttl", "1s")]), &["`metastore.lease_ttl` (1s)", "2s to 1h"]);
    refused(flags(&[("metastore.key", "key.pem")]), &["`metastore.certificate`"]);
    refused(flags(&[("shuffle.mode", "durable")]), &["`shuffle.mode` (durable)", "`shuffle.url`"]);
    refused(flags(&[("scheduler.ticket_secret", "short")]), &["16 characters"]);
    let two = flags(&[
        ("query.memory_limit", "1GiB"),
        ("query.per_query_memory", "2GiB"),
        ("query.batch_size", "0"),
    ]);
    refused(two, &["`query.per_query_memory` (2GiB)", "`query.batch_size`"]);
}

#[test]
fn ports_chosen_by_the_system_do_not_collide() {
    let flags = [("scheduler.listen", "127.0.0.1:0"), ("scheduler.http_listen", "127.0.0.1:0")];
    assert!(load("", &[], &flags).is_ok());
}

#[test]
fn secrets_never_show() {
    let config = everything_set();
    let printed = config.to_toml().unwrap();
    for shown in [printed.clone(), format!("{config:?}"), serde_json::to_string(&config).unwrap()] {
        for secret in [
            "ticket-secret-of-16",
            "s3-secret",
            "s3-token",
            "etcd-secret",
            "process-secret-of-32-characters-",
        ] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(shown.contains("***"), "{shown}");
    }
    assert_eq!(config.storage.s3.secret_access_key.unwrap().expose(), "s3-secret");
    assert_eq!(Secret::new("x").to_string(), "***");
    refused(
        load("[scheduler]\nticket_secret = 1234567\n", &[], &[]),
        &["`scheduler.ticket_secret`", "`***`"],
    );
}

#[test]
fn row_47_files_with_secrets_are_private() {
    let config = Config { file: Some("/polarway.toml".into()), ..everything_set() };
    let private = config.private_files();
    for path in [
        "/polarway.toml",
        "/tokens.toml",
        "/tls/key.pem",
        "/tls/public-key.pem",
        "/tls/ca.pem",
        "/password",
        "/key.pem",
        "/secrets",
        "/data/metadata.redb",
    ] {
        assert!(private.contains(&PathBuf::from(path)), "{path}: {private:?}");
    }
    assert!(!config.to_toml().unwrap().contains("polarway.toml"));
}

#[test]
fn the_printed_configuration_reads_back() {
    let mut config = everything_set();
    config.scheduler.ticket_secret = None;
    config.storage.s3.secret_access_key = None;
    config.storage.s3.access_key_id = None;
    config.storage.s3.session_token = None;
    config.metastore.password = None;
    config.identity.process_secret = None;
    assert_eq!(load(&config.to_toml().unwrap(), &[], &[]).unwrap(), config);
}

#[test]
fn a_hidden_secret_is_not_taken_for_one() {
    let printed = everything_set().to_toml().unwrap();
    refused(load(&printed, &[], &[]), &["`identity.process_secret`", "write the secret itself"]);
}

#[test]
fn what_is_not_set_is_taken_from_the_machine() {
    let config = Config::default();
    assert_eq!(config.admission.resolved_max_running(), 4 * crate::machine::cores());
    assert!(config.query.resolved_memory_limit() < crate::machine::memory());
    assert_eq!(config.query.resolved_spill_dir(Path::new("/d")), Path::new("/d/spill"));
    let set = everything_set();
    assert_eq!(set.admission.resolved_max_running(), 3);
    assert_eq!(set.query.resolved_target_partitions(), 9);
    assert_eq!(set.executor.resolved_advertise_host(), "executor");
}

proptest! {
    /// One slip of the finger in a key's name is always put right.
    #[test]
    fn a_slip_in_a_key_finds_a_key(index: prop::sample::Index, at: prop::sample::Index) {
        let names = Config::keys().unwrap();
        let name = &names[index.index(names.len())];
        let mut slipped: Vec<char> = name.chars().collect();
        slipped.remove(at.index(slipped.len()));
        let slipped: String = slipped.into_iter().collect();
        let keys = keys::Keys::of(&Config::default()).unwrap();
        prop_assert!(keys.nearest(&slipped).is_some());
    }

    /// Whatever stands in the file, reading it ends in a configuration or in a message.
    #[test]
    fn no_file_makes_loading_panic(text in "(\\[?[a-z_.]{0,12}\\]? ?=? ?['\"0-9a-z]{0,8}\n?){0,6}") {
        if let Err(error) = load(&text, &[], &[]) {
            prop_assert_eq!(error.kind, ErrorKind::Configuration);
        }
    }
}
