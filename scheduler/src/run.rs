//! A scheduler's life: build, serve, drain.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use arrow_flight::flight_service_server::FlightServiceServer;
use ballista_core::serde::protobuf::scheduler_grpc_server::{
    SERVICE_NAME as SCHEDULER_SERVICE, SchedulerGrpcServer,
};
use polarway_common::address::url_host;
use polarway_common::clock::unix_millis;
use polarway_common::config::{Callers, DirectOn};
use polarway_common::{
    Config, Error, ErrorKind, HostPort, Listening, Supervisor, SystemClock, TaskKind, bind, machine,
};
use polarway_engine::cpu::CpuRuntime;
use polarway_engine::live::StreamHost;
use polarway_engine::runtime::{EngineRuntime, MemoryBudget, RuntimeOptions};
use polarway_engine::settings::{SCHEMA, base_config, with_scheduler_defaults};
use polarway_identity::connection::{Acceptor, ConnectionInfo, incoming};
use polarway_identity::grpc::{self, Guard};
use polarway_identity::{Hosts, Security};
use polarway_metastore::membership::{Member, MemberState, Members, Registration, Role};
use polarway_metastore::remote::SERVICE as META_SERVICE;
use polarway_metastore::{
    EmbeddedMetaStore, Expect, Key, KeyPrefix, MetaDoor, MetaStore, Precondition, Rights, TracedMetaStore,
    Txn, Write, configured,
};
use polarway_proto::ticket::TicketSigner;
use polarway_storage::catalog::CatalogStore;
use polarway_storage::policy::Reserved;
use polarway_storage::tables::Tables;
use polarway_storage::writes::Writes;
use polarway_tls::{Protocol, Tls};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use url::Url;

use crate::admission::Admission;
use crate::catalog::Sources;
use crate::direct::{LocalRunner, RemoteRunner};
use crate::front::{Door, FrontDoor};
use crate::handles::Handles;
use crate::history::{self, Past};
use crate::http;
use crate::members::follow_executors;
use crate::peers::Peers;
use crate::plan::{Planner, PlannerOptions};
use crate::queries::Queries;
use crate::service::QueryService;
use crate::session::Sessions;
use crate::staged::ballista::{Ballista, BallistaOptions};
use crate::staged::janitor::Janitor;
use crate::staged::stored::StoredRuns;
use crate::staged::{ExecutorDoor, StagedOptions, StagedRunner};
use crate::submit::{self, Submissions};
use crate::write::{self, Writing};

const MESSAGE_BYTES: usize = 256 * 1024 * 1024;
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// A client that vanished without a word is noticed after twice this.
const KEEPALIVE: Duration = Duration::from_secs(10);
const MAX_STREAMS: u32 = 10_000;
/// How long open streams may last once everything else has ended.
const CUT_OFF: Duration = Duration::from_secs(3);
const LAST_STEPS: Duration = Duration::from_secs(10);

/// What a scheduler shares with other servers of its process.
#[derive(Default)]
pub struct Shared {
    pub memory: Option<MemoryBudget>,
    /// The metadata store; without it the scheduler opens its own.
    pub meta: Option<Arc<dyn MetaStore>>,
    /// Who holds the streams.
    pub streams: Option<Arc<dyn StreamHost>>,
    /// Whether processes that take rows of streams use the metadata store through this scheduler.
    pub members_use_meta: bool,
    /// Metrics of other parts of the process, in the text format of Prometheus.
    pub more_metrics: Option<MoreMetrics>,
    /// Whom the process knows and what it shows; without it the scheduler reads its own, by configuration.
    pub security: Option<Security>,
}

/// Gives metrics as text.
pub type MoreMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// The configured etcd, or else the metadata store in the data directory, which is made if it is not there.
///
/// # Errors
/// `Configuration` when the directory cannot be made; those of the store, for example when another process has it.
pub async fn open_meta(config: &Config) -> Result<Arc<dyn MetaStore>, Error> {
    if let Some(shared) = configured(&config.metastore).await? {
        return Ok(shared);
    }
    let data_dir = &config.data_dir;
    std::fs::create_dir_all(data_dir).map_err(|error| {
        Error::new(
            ErrorKind::Configuration,
            format!("cannot create the data directory `{}`: {error}", data_dir.display()),
        )
    })?;
    Ok(Arc::new(EmbeddedMetaStore::open(data_dir.join("metadata.redb")).await?))
}

/// How often orphans are looked for, which nothing but a crash makes.
const SWEEP: Duration = Duration::from_secs(10);

/// Runs a scheduler until `shutdown`, then drains: new statements are refused, running ones end or are cut off after
/// `scheduler.drain_timeout`. What it shares with other
/// servers of its process is in `shared`; what is not there it has of its own, by configuration.
///
/// # Errors
/// `Configuration` when an address, directory or the metadata store cannot be used; the failure of a critical task.
pub async fn run(
    config: Config,
    shared: Shared,
    shutdown: CancellationToken,
    ready: oneshot::Sender<Listening>,
) -> Result<(), Error> {
    let options = &config.scheduler;
    let Shared { memory, meta, streams, members_use_meta, more_metrics, security } = shared;
    let security = match security {
        Some(security) => security,
        None => Security::load(&config).await?,
    };
    let (grpc_listener, grpc) = bind(&options.listen, "scheduler.listen").await?;
    let (http_listener, http_bound) = bind(&options.http_listen, "scheduler.http_listen").await?;
    let encrypted = security.tls.is_on();
    config.identity.may_listen(grpc, "scheduler.listen", Callers::Users, encrypted)?;
    config.identity.may_listen(http_bound, "scheduler.http_listen", Callers::Users, encrypted)?;
    let Security { identity, tls, credential } = security.clone();
    let meta = match meta {
        Some(meta) => meta,
        None => open_meta(&config).await?,
    };
    let meta = TracedMetaStore::over(meta);
    let secret = match &options.ticket_secret {
        Some(secret) => secret.expose().as_bytes().to_vec(),
        None => cluster_secret(meta.as_ref()).await?,
    };
    let signer = Arc::new(TicketSigner::from_secret(&secret)?);
    let catalog = Arc::new(CatalogStore::open(Arc::clone(&meta), SCHEMA).await?);
    let runtime = EngineRuntime::build(&RuntimeOptions {
        storage: &config.storage,
        cache: &config.cache,
        memory: memory.unwrap_or_else(|| MemoryBudget::new(config.query.resolved_memory_limit().as_usize())),
        spill_dir: config.query.resolved_spill_dir(&config.data_dir),
        spill_limit: config.query.spill_limit.0,
        private: config.private_files(),
    })?;
    // Its own, so that this process is a member, and tells how its queries ended, until all else has ended.
    let membership = Supervisor::new();
    let us = member(&config, grpc.port(), http_bound.port());
    let (clock, ttl) = (Arc::new(SystemClock), config.metastore.lease_ttl.0);
    let registration = Registration::start(Arc::clone(&meta), us.clone(), ttl, clock, &membership)
        .await
        .map_err(Error::from)?;
    let members = Members::follow(Arc::clone(&meta), &membership).await.map_err(Error::from)?;
    let handles = Handles::new(Arc::clone(&meta));
    let tables = runtime.tables.clone().map(|root| Tables::new(root, Arc::clone(&meta)));
    let writing = Writing {
        writes: Writes::new(Arc::clone(&meta), &us.incarnation),
        tables: tables.clone(),
        runtime: runtime.clone(),
        members: members.clone(),
        catalog: Arc::clone(&catalog),
        handles: handles.clone(),
    };
    let planner = Arc::new(Planner::new(PlannerOptions {
        catalog: Arc::clone(&catalog),
        runtime: runtime.clone(),
        base_config: with_scheduler_defaults(
            base_config(&config.query),
            options,
            config.shuffle.resolved_mode(),
        ),
        cached_plans: config.cache.plans,
        local_cores: (options.direct == DirectOn::Local).then(|| machine::cores() as u32),
        list_ttl: config.storage.list_ttl.0,
        sources: Sources { streams, members: Some(members.clone()), handles: handles.clone(), tables },
        identity: identity.clone(),
        reserved: Reserved::new(&kept_by_the_server(&config))?,
    }));
    let incarnation = us.incarnation.clone();
    let peers = Arc::new(Peers::new(credential));
    let ballista = Ballista::start(&BallistaOptions {
        // Ballista writes `host:port` of it as it stands.
        host: url_host(options.resolved_advertise_host()).into_owned(),
        port: grpc.port(),
        executor_timeout: options.executor_timeout.0,
        guard_graphs: true,
        peers: Arc::clone(&peers),
        tls: tls.clone(),
    })
    .await?;
    let supervisor = Supervisor::new();
    let stop = supervisor.token();
    let runs = StoredRuns::open(&config, Arc::clone(&meta), members.clone(), &us.incarnation).await?;
    let stored = runs.map(Arc::new);
    // An embedded store is one scheduler's.
    let several = !config.metastore.etcd.is_empty();
    let meta_door =
        members_use_meta.then(|| MetaDoor::new(Arc::clone(&meta), rights_of_members()).until(stop.clone()));
    if let Some(stored) = &stored {
        supervisor.spawn("stored output", TaskKind::Background, sweep(Arc::clone(stored), stop.clone()));
    }
    if several {
        let following = follow_executors(ballista.clone(), members.clone(), us.clone(), stop.clone());
        supervisor.spawn("executors", TaskKind::Background, following);
    }
    supervisor.spawn("tokens and certificates", TaskKind::Background, security.follow(stop.clone()));
    let (janitor, cleaning) =
        Janitor::new(ballista.clone(), Arc::clone(&peers), stored.clone(), stop.clone());
    supervisor.spawn("janitor", TaskKind::Background, cleaning);
    let follow = stop.clone();
    supervisor.spawn("catalog", TaskKind::Background, async move {
        catalog.follow(follow).await;
        Ok(())
    });
    supervisor.spawn(
        "peer list",
        TaskKind::Background,
        forget_lost_peers(ballista.clone(), Arc::clone(&peers), stop.clone()),
    );

    let sweeping = write::sweep(writing.clone(), stop.clone());
    supervisor.spawn("writes", TaskKind::Background, sweeping);
    let sessions = Arc::new(Sessions::new(several.then(|| Arc::clone(&meta))));
    let following = Arc::clone(&sessions);
    let until = stop.clone();
    supervisor.spawn("sessions", TaskKind::Background, async move { following.follow(until).await });

    let slow = config.telemetry.slow_query.map(|limit| limit.0);
    let past = Arc::new(Past::new(config.telemetry.history, &us.incarnation));
    let threads = machine::cores();
    let service = Arc::new(QueryService {
        us: us.clone(),
        planner: Arc::clone(&planner),
        handles,
        submissions: Submissions::new(Arc::clone(&meta), &incarnation, members.clone(), supervisor.clone()),
        writing,
        sessions,
        members,
        queries: Arc::new(Queries::new(slow, &us.name, Arc::clone(&past))),
        admission: Admission::new(&config.admission),
        local: LocalRunner {
            planner: Arc::clone(&planner),
            cpu: Arc::new(CpuRuntime::new("polarway-query", threads)?),
            runtime,
        },
        remote: RemoteRunner {
            planner: Arc::clone(&planner),
            ballista: ballista.clone(),
            peers: Arc::clone(&peers),
            signer: Arc::clone(&signer),
            executor_wait: options.executor_wait.0,
            ticket_ttl: options.ticket_ttl.0,
        },
        staged: StagedRunner {
            ballista: ballista.clone(),
            planner,
            peers,
            signer: Arc::clone(&signer),
            janitor,
            stored,
            shuffle: config.shuffle.resolved_mode(),
            options: StagedOptions {
                max_attempts: options.max_attempts,
                executor_wait: options.executor_wait.0,
                stall_timeout: options.stall_timeout.0,
                result_parallelism: options.result_parallelism,
                ticket_ttl: options.ticket_ttl.0,
            },
        },
        signer,
        direct_on: options.direct,
        results: options.results,
        ticket_ttl: options.ticket_ttl.0,
        draining: AtomicBool::new(false),
        supervisor: supervisor.clone(),
    });

    let keeping = match past.most() {
        0 => history::forget(Arc::clone(&meta), membership.token()),
        _ => history::keep(past, Arc::clone(&meta), Arc::new(SystemClock), membership.token()),
    };
    membership.spawn("history", TaskKind::Background, keeping);
    let taking_over = submit::take_over(Arc::clone(&service), stop.clone());
    supervisor.spawn("jobs", TaskKind::Background, taking_over);
    let front = Door::new(FrontDoor::new(Arc::clone(&service), identity.clone(), encrypted));
    let guard = Guard::new(identity.clone(), who_calls);
    let (grpc_stop, grpc_tls) = (stop.clone(), tls.clone());
    let door = ExecutorDoor::new(ballista.clone());
    supervisor.spawn("scheduler gRPC server", TaskKind::Critical, async move {
        let cut_off = grpc_stop.clone();
        let serving = Server::builder()
            .initial_connection_window_size(WINDOW_BYTES)
            .initial_stream_window_size(WINDOW_BYTES)
            .max_concurrent_streams(MAX_STREAMS)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .layer(guard)
            .add_service(
                SchedulerGrpcServer::new(door)
                    .max_decoding_message_size(MESSAGE_BYTES)
                    .max_encoding_message_size(MESSAGE_BYTES),
            )
            .add_service(
                FlightServiceServer::new(front)
                    .max_decoding_message_size(MESSAGE_BYTES)
                    .max_encoding_message_size(MESSAGE_BYTES),
            )
            .add_optional_service(meta_door)
            .serve_with_incoming_shutdown(incoming(grpc_listener, grpc_tls), grpc_stop.cancelled_owned());
        // Streams whose clients do not read would hold the end up for ever.
        let overdue = async {
            cut_off.cancelled().await;
            tokio::time::sleep(CUT_OFF).await;
        };
        tokio::select! {
            served = serving => served.map_err(|error| Error::internal(format!("scheduler gRPC server: {error}"))),
            () = overdue => Ok(()),
        }
    });
    let hosts = Hosts::of(&config.identity, options.resolved_advertise_host(), "scheduler.advertise_host");
    let routes = http::routes(Arc::clone(&service), with_tls(more_metrics, &tls), identity, hosts);
    let acceptor = Acceptor::new(http_listener, tls, Protocol::Http);
    let http_stop = stop.clone();
    supervisor.spawn("scheduler HTTP server", TaskKind::Critical, async move {
        axum::serve(acceptor, routes.into_make_service_with_connect_info::<ConnectionInfo>())
            .with_graceful_shutdown(http_stop.cancelled_owned())
            .await
            .map_err(|error| Error::internal(format!("scheduler HTTP server: {error}")))
    });
    let direct = if options.direct == DirectOn::Local { "this process" } else { "executors" };
    tracing::info!(%grpc, http = %http_bound, direct, "scheduler is listening");
    let _ = ready.send(Listening { grpc, http: Some(http_bound), ws: None });

    tokio::select! {
        () = shutdown.cancelled() => {
            let leaving = registration.update(|member| member.state = MemberState::Leaving).await;
            if let Err(error) = leaving {
                tracing::warn!(%error, "the cluster does not know that this process leaves");
            }
            service.drain(options.drain_timeout.0).await;
        }
        () = supervisor.stopping() => {}
    }
    let outcome = supervisor.shutdown(LAST_STEPS).await;
    registration.leave().await;
    outcome.and(membership.shutdown(LAST_STEPS).await)
}

/// All metrics but the scheduler's own.
fn with_tls(more: Option<MoreMetrics>, tls: &Tls) -> MoreMetrics {
    let tls = tls.clone();
    Arc::new(move || more.as_ref().map(|more| more()).unwrap_or_default() + &tls.metrics())
}

/// Who calls what on the gRPC port: users and processes share it.
fn who_calls(path: &str) -> grpc::Callers {
    let service =
        path.strip_prefix('/').and_then(|path| path.split_once('/')).map_or("", |(service, _)| service);
    match service {
        "arrow.flight.protocol.FlightService" => grpc::Callers::All,
        SCHEDULER_SERVICE | META_SERVICE => grpc::Callers::Processes,
        _ => grpc::Callers::Nobody,
    }
}

/// Where processes of the cluster keep what is of all namespaces, as far as this one's configuration tells.
fn kept_by_the_server(config: &Config) -> Vec<String> {
    let Config { data_dir, storage, ingest, query, executor, shuffle, .. } = config;
    let text = |path: &Path| path.display().to_string();
    let mut kept = vec![as_stores_read(&ingest.resolved_directory(data_dir))];
    kept.extend(storage.tables.as_deref().map(as_stores_read));
    kept.extend(shuffle.url.as_deref().map(as_stores_read));
    kept.push(text(&ingest.resolved_log_directory(data_dir)));
    kept.push(text(&query.resolved_spill_dir(data_dir)));
    kept.extend(executor.work_dir.as_deref().map(text));
    kept.extend(["executor", "executors", "metadata.redb"].map(|name| text(&data_dir.join(name))));
    kept
}

/// A place without the encodings of a `file:` URL, which paths do not have.
fn as_stores_read(place: &str) -> String {
    let url = Url::parse(place).ok().filter(|url| url.scheme() == "file");
    let path = url.and_then(|url| url.to_file_path().ok());
    path.map_or_else(|| place.to_owned(), |path| path.display().to_string())
}

/// What other processes may do: say that they are there; read the streams' definitions, say who takes which and what is
/// sealed; and, as long as a query runs, say which output of its tasks is stored.
fn rights_of_members() -> Rights {
    let write = [KeyPrefix::Members, KeyPrefix::Streams, KeyPrefix::Shuffle].map(|prefix| prefix.encode());
    let read = [KeyPrefix::Tables, KeyPrefix::Jobs].map(|prefix| prefix.encode());
    Rights { read: [&read[..], &write[..]].concat(), write: write.into() }
}

/// Removes stored output that no query will.
async fn sweep(stored: Arc<StoredRuns>, stop: CancellationToken) -> Result<(), Error> {
    let mut rounds = tokio::time::interval(SWEEP);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut listed: Option<Instant> = None;
    loop {
        tokio::select! {
            _ = rounds.tick() => {}
            () = stop.cancelled() => return Ok(()),
        }
        if let Err(error) = stored.sweep_runs().await {
            tracing::warn!(%error, "queries of schedulers that are gone were not looked for");
        }
        // A list of all objects is not for every round.
        if listed.is_none_or(|listed| listed.elapsed() >= stored.orphan_after / 2) {
            listed = Some(Instant::now());
            if let Err(error) = stored.sweep_objects().await {
                tracing::warn!(%error, "stored output of queries that are over was not looked for");
            }
        }
    }
}

/// This process, for the others.
fn member(config: &Config, grpc: u16, http: u16) -> Member {
    let host = config.scheduler.resolved_advertise_host();
    Member {
        name: format!("scheduler-{host}-{grpc}"),
        incarnation: uuid::Uuid::now_v7().simple().to_string(),
        role: Role::Scheduler,
        zone: config.zone.clone(),
        address: HostPort::new(host, grpc),
        http: Some(HostPort::new(host, http)),
        ws: None,
        slots: 0,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: MemberState::Active,
        since: unix_millis(SystemTime::now()),
    }
}

async fn forget_lost_peers(
    ballista: Ballista,
    peers: Arc<Peers>,
    stop: CancellationToken,
) -> Result<(), Error> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(30)) => {}
            () = stop.cancelled() => return Ok(()),
        }
        let registered = ballista.registered().await;
        peers.retain(|address| registered.contains(address));
    }
}

/// The secret that tickets are signed with, made by the first scheduler of the cluster.
async fn cluster_secret(meta: &dyn MetaStore) -> Result<Vec<u8>, Error> {
    let key = Key::ClusterSecret.encode();
    if let Some(found) = meta.get(&key).await? {
        return Ok(found.value.to_vec());
    }
    let fresh: [u8; 32] = rand::random();
    let txn = Txn {
        preconditions: vec![Precondition { key: key.clone(), expect: Expect::Absent }],
        writes: vec![Write::Put { key: key.clone(), value: fresh.to_vec().into() }],
    };
    meta.txn(txn).await?;
    match meta.get(&key).await? {
        Some(found) => Ok(found.value.to_vec()),
        None => Err(Error::internal("the cluster's secret was removed while it was made")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_48_other_processes_neither_read_nor_write_the_history() {
        let rights = rights_of_members();
        let history = KeyPrefix::History.encode();
        let touches = |prefix: &String| history.starts_with(prefix.as_str()) || prefix.starts_with(&history);
        assert!(!rights.read.iter().chain(&rights.write).any(touches));
    }

    #[test]
    fn row_47_places_are_kept_under_the_names_that_stores_have_for_them() {
        for (written, read) in [
            ("file:///data/my%20tables", "/data/my tables"),
            ("/data/my%20tables", "/data/my%20tables"),
            ("tables", "tables"),
            ("s3://lake/my%20tables", "s3://lake/my%20tables"),
        ] {
            assert_eq!(as_stores_read(written), read);
        }
    }
}
