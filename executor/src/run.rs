//! An executor's life: build, serve, drain.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow_flight::flight_service_server::FlightServiceServer;
use ballista_core::extension::SessionConfigExt;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_core::serde::protobuf::executor_grpc_server::{
    ExecutorGrpcServer, SERVICE_NAME as EXECUTOR_SERVICE,
};
use ballista_executor::flight_service::BallistaFlightService;
use datafusion::execution::SessionStateDefaults;
use datafusion::prelude::SessionConfig;
use polarway_common::address::url_host;
use polarway_common::clock::unix_millis;
use polarway_common::config::Callers;
use polarway_common::{Config, Error, HostPort, Listening, Supervisor, SystemClock, TaskKind, bind};
use polarway_engine::cpu::CpuRuntime;
use polarway_engine::live::{LiveAccess, NodeChannels, RemoteRows};
use polarway_engine::runtime::{EngineRuntime, MemoryBudget, RuntimeOptions};
use polarway_engine::settings::PolarwayOptions;
use polarway_identity::connection::{Acceptor, incoming};
use polarway_identity::grpc::{self, Guard};
use polarway_identity::{Hosts, Identity, Security};
use polarway_metastore::membership::{Member, MemberState, Members, Presence, Role};
use polarway_metastore::{MetaStore, TracedMetaStore};
use polarway_tls::Protocol;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::budgets::JobBudgets;
use crate::flight::{ExecutorFlight, KeyHolders, TicketKey};
use crate::health::{self, Health};
use crate::heartbeat::{Heart, registration};
use crate::here::JobsHere;
use crate::launched::{Launched, Orphanage};
use crate::ledger::Ledger;
use crate::pool::PeerPool;
use crate::report;
use crate::service::TaskService;
use crate::shuffle::StageEngine;
use crate::stored::{self, Stored};
use crate::task::TaskEnv;
use crate::waits::SlotWaits;
use crate::workdir::{SPILL, WorkDir};

const MESSAGE_BYTES: usize = 256 * 1024 * 1024;
const KEEPALIVE: Duration = Duration::from_secs(10);
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// How long open streams may last once everything else has ended.
const CUT_OFF: Duration = Duration::from_secs(3);
const LAST_STEPS: Duration = Duration::from_secs(5);
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// What an executor shares with other servers of its process; what is not there it has of its own, by configuration.
#[derive(Default)]
pub struct Shared {
    pub memory: Option<MemoryBudget>,
    /// How tasks reach the rows of streams; else they come from the processes that hold them.
    pub streams: Option<LiveAccess>,
    /// Where it says which output has copies.
    pub meta: Option<Arc<dyn MetaStore>>,
    /// What the process shows and whom it trusts.
    pub security: Option<Security>,
}

/// Runs an executor until `shutdown`, then drains: running tasks end, and shuffle files stay readable until the jobs
/// that need them are over, until there are copies of all of them, or until `executor.drain_timeout` has passed.
///
/// # Errors
/// `Configuration` when an address or directory cannot be used, or the place for copies does not do; the failure of a
/// critical task.
pub async fn run(
    config: Config,
    shared: Shared,
    shutdown: CancellationToken,
    ready: oneshot::Sender<Listening>,
) -> Result<(), Error> {
    let Shared { memory, streams, meta, security } = shared;
    let options = &config.executor;
    let (security, is_own) = match security {
        Some(security) => (security, false),
        None => (Security::of_executor(&config).await?, true),
    };
    let Security { tls, credential, .. } = security.clone();
    let (listener, grpc) = bind(&options.listen, "executor.listen").await?;
    // Without TLS neither what schedulers send here nor what executors fetch from each other can say whom it is from.
    config.identity.may_listen(grpc, "executor.listen", Callers::Processes, tls.is_on())?;
    let slots = options.slots.unwrap_or_else(polarway_common::machine::cores).max(1) as u32;
    let incarnation = uuid::Uuid::now_v7().simple().to_string();
    let name = options.name.clone().unwrap_or_else(|| format!("executor-{}", grpc.port()));
    // A port alone is not unique in a cluster.
    let member_name = options
        .name
        .clone()
        .unwrap_or_else(|| format!("executor-{}-{}", options.resolved_advertise_host(), grpc.port()));
    let id = format!("{member_name}-{incarnation}");
    let base_dir = options.work_dir.clone().unwrap_or_else(|| config.data_dir.join("executor").join(&name));
    let work_dir = WorkDir::open(&base_dir, &incarnation)?;
    let memory_limit = config.executor_memory_limit();
    let runtime = EngineRuntime::build(&RuntimeOptions {
        storage: &config.storage,
        cache: &config.cache,
        memory: memory.unwrap_or_else(|| MemoryBudget::new(memory_limit.as_usize())),
        spill_dir: base_dir.join(SPILL),
        spill_limit: config.query.spill_limit.0,
        private: config.private_files(),
    })?;
    let cpu = Arc::new(CpuRuntime::new("polarway-task", slots as usize)?);
    let ledger = Arc::new(Ledger::default());
    let functions = Arc::new(all_functions());
    let mut base_config =
        SessionConfig::new_with_ballista().with_option_extension(PolarwayOptions::default());
    let streams = streams.unwrap_or_else(|| {
        LiveAccess(Arc::new(RemoteRows::new(Arc::new(NodeChannels::new(credential.clone())))))
    });
    base_config.set_extension(Arc::new(streams));
    base_config.set_extension(Arc::clone(&runtime.writes));
    let (reports, report_queue) = report::channel();
    let work_path = work_dir.path().to_string_lossy().into_owned();
    let scheduler = options.scheduler.to_string();

    let supervisor = Supervisor::new();
    // Of its own: what it has still to copy it copies when all else is over.
    let copying = Supervisor::new();
    let meta = match meta {
        Some(meta) => meta,
        None => stored::metadata(&config, credential.clone()).await?,
    };
    let meta = TracedMetaStore::over(meta);
    let (shuffle, s3, shared) = (&config.shuffle, &config.storage.s3, Arc::clone(&meta));
    let stored =
        Stored::start(shuffle, s3, shared, work_dir.path(), &incarnation, &copying).await?.map(Arc::new);
    // With etcd schedulers find executors there, and otherwise by their heartbeats.
    let members = match config.metastore.etcd.is_empty() {
        true => None,
        false => Some(Members::follow(Arc::clone(&meta), &supervisor).await?),
    };
    let launched = Arc::new(Launched::default());
    let free = Arc::new(Semaphore::new(slots as usize));
    let waits = Arc::new(SlotWaits::default());
    let copies = stored.is_some().then(|| (reachable(grpc), grpc.port()));

    let tasks = TaskService {
        env: TaskEnv {
            executor_id: id.clone(),
            engine: Arc::new(StageEngine::new(Arc::new(PeerPool::new(copies, tls.clone())))),
            budgets: Arc::new(JobBudgets::new(runtime.clone())),
            work_dir: work_path.clone(),
            stored: stored.clone(),
        },
        cpu: Arc::clone(&cpu),
        ledger: Arc::clone(&ledger),
        launched: Arc::clone(&launched),
        slots: Arc::clone(&free),
        slot_count: slots,
        waits: Arc::clone(&waits),
        reports,
        functions: Arc::clone(&functions),
        base_config: base_config.clone(),
        work_dir: work_dir.clone(),
        runtime: Arc::clone(&runtime.env),
    };
    let key_holders = match &members {
        Some(members) => KeyHolders::Members(members.clone()),
        None => KeyHolders::One(scheduler.clone()),
    };
    let flight = ExecutorFlight {
        shuffle: Arc::new(BallistaFlightService::new(work_path.clone())),
        work_dir: work_path,
        key: Arc::new(TicketKey::new(key_holders, credential.clone())),
        cpu: Arc::clone(&cpu),
        runtime: runtime.clone(),
        base_config,
        functions,
        ledger: Arc::clone(&ledger),
        stored: stored.clone(),
        slots,
        free: Arc::clone(&free),
    };
    let here = JobsHere { ledger: Arc::clone(&ledger), work_dir: work_dir.clone(), stored: stored.clone() };
    let draining = CancellationToken::new();
    // Ballista writes `host:port` of it as it stands.
    let host = url_host(options.resolved_advertise_host());
    let heart = Heart {
        scheduler,
        credential: credential.clone(),
        registration: registration(&id, &host, grpc.port(), slots),
        interval: options.heartbeat.0,
        draining: draining.clone(),
        connected: Arc::default(),
        here: here.clone(),
    };

    let stop = supervisor.token();
    supervisor.spawn("work directory", TaskKind::Background, work_dir.clone().sweep(stop.clone()));
    if is_own {
        supervisor.spawn("certificates", TaskKind::Background, security.follow(stop.clone()));
    }
    // Users come with tickets, and are not asked for more.
    let guard = Guard::new(Identity::open(), who_calls);
    let (grpc_stop, grpc_tls) = (stop.clone(), tls.clone());
    supervisor.spawn("executor gRPC server", TaskKind::Critical, async move {
        let cut_off = grpc_stop.clone();
        let serving = Server::builder()
            .initial_connection_window_size(WINDOW_BYTES)
            .initial_stream_window_size(WINDOW_BYTES)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .layer(guard)
            .add_service(
                ExecutorGrpcServer::new(tasks)
                    .max_decoding_message_size(MESSAGE_BYTES)
                    .max_encoding_message_size(MESSAGE_BYTES),
            )
            .add_service(
                FlightServiceServer::new(flight)
                    .max_decoding_message_size(MESSAGE_BYTES)
                    .max_encoding_message_size(MESSAGE_BYTES),
            )
            .serve_with_incoming_shutdown(incoming(listener, grpc_tls), grpc_stop.cancelled_owned());
        // Streams whose clients do not read would hold the end up for ever.
        let overdue = async {
            cut_off.cancelled().await;
            tokio::time::sleep(CUT_OFF).await;
        };
        tokio::select! {
            served = serving => served.map_err(|error| Error::internal(format!("executor gRPC server: {error}"))),
            () = overdue => Ok(()),
        }
    });
    supervisor.spawn(
        "task reports",
        TaskKind::Background,
        report::deliver(id.clone(), credential, report_queue, stop.clone()),
    );
    let http = match &options.http_listen {
        None => None,
        Some(address) => {
            let (listener, bound) = bind(address, "executor.http_listen").await?;
            let routes = health::routes(Health {
                connected: Arc::clone(&heart.connected),
                ledger: Arc::clone(&ledger),
                runtime: runtime.clone(),
                slots,
                free: Arc::clone(&free),
                waits,
                stored: stored.clone(),
                tls: tls.clone(),
            });
            let host = options.resolved_advertise_host();
            let routes = Hosts::of(&config.identity, host, "executor.advertise_host").guard(routes);
            let http_stop = stop.clone();
            supervisor.spawn("executor HTTP server", TaskKind::Critical, async move {
                axum::serve(Acceptor::new(listener, tls, Protocol::Http), routes)
                    .with_graceful_shutdown(http_stop.cancelled_owned())
                    .await
                    .map_err(|error| Error::internal(format!("executor HTTP server: {error}")))
            });
            Some(bound)
        }
    };
    let connected = Arc::clone(&heart.connected);
    let by_etcd = members.is_some();
    let presence = Presence {
        store: meta,
        member: Member {
            name: member_name,
            incarnation,
            role: Role::Executor,
            zone: config.zone.clone(),
            address: HostPort::new(options.resolved_advertise_host(), grpc.port()),
            http: http.map(|http| HostPort::new(options.resolved_advertise_host(), http.port())),
            ws: None,
            slots,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state: MemberState::Active,
            since: unix_millis(SystemTime::now()),
        },
        ttl: config.metastore.lease_ttl.0,
        clock: Arc::new(SystemClock),
        draining: draining.clone(),
    };
    let tell = move |registered| {
        if by_etcd {
            connected.set(registered);
        }
    };
    supervisor.spawn("membership", TaskKind::Critical, presence.keep(stop.clone(), tell));
    match members {
        Some(members) => {
            let orphanage = Orphanage { members, launched, here };
            supervisor.spawn("orphans", TaskKind::Background, orphanage.watch(stop.clone()));
        }
        None => {
            supervisor.spawn("heartbeat", TaskKind::Critical, heart.clone().beat(stop.clone()));
        }
    }
    let of = if by_etcd { "the cluster's" } else { heart.scheduler.as_str() };
    tracing::info!(%id, %grpc, slots, memory = %memory_limit, scheduler = of, "executor is listening");
    let _ = ready.send(Listening { grpc, http, ws: None });

    tokio::select! {
        () = shutdown.cancelled() => {
            draining.cancel();
            drain(&ledger, &work_dir, stored.as_deref(), options.drain_timeout.0).await;
            if !by_etcd {
                heart.leave("shutdown").await;
            }
        }
        () = supervisor.stopping() => {}
    }
    let outcome = supervisor.shutdown(LAST_STEPS).await;
    let copied = copying.shutdown(LAST_STEPS).await;
    work_dir.close();
    outcome.and(copied)
}

/// Who calls what on the gRPC port.
fn who_calls(path: &str) -> grpc::Callers {
    let service =
        path.strip_prefix('/').and_then(|path| path.split_once('/')).map_or("", |(service, _)| service);
    match service {
        "arrow.flight.protocol.FlightService" => grpc::Callers::All,
        EXECUTOR_SERVICE => grpc::Callers::Processes,
        _ => grpc::Callers::Nobody,
    }
}

/// Ballista's functions and those of DataFusion that it leaves out: the ones on lists, maps and structs.
fn all_functions() -> BallistaFunctionRegistry {
    let mut functions = BallistaFunctionRegistry::default();
    for function in SessionStateDefaults::default_scalar_functions() {
        for alias in function.aliases() {
            functions.scalar_functions.entry(alias.clone()).or_insert_with(|| Arc::clone(&function));
        }
        functions.scalar_functions.entry(function.name().to_owned()).or_insert(function);
    }
    functions
}

/// Waits until nobody needs this executor.
async fn drain(ledger: &Ledger, work_dir: &WorkDir, stored: Option<&Stored>, limit: Duration) {
    let idle = async {
        while ledger.running() > 0 {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        while work_dir.has_jobs() {
            // Copies may have been made of all that is here, or there will be when these are made.
            if let Some(stored) = stored
                && stored.flush_all(limit).await == 0
                && stored.has_copies_of(&work_dir.jobs())
            {
                return;
            }
            tokio::time::sleep(DRAIN_POLL).await;
        }
    };
    if tokio::time::timeout(limit, idle).await.is_err() {
        tracing::warn!(
            tasks = ledger.running(),
            "drain timed out; jobs that need this executor will run again"
        );
    }
}

/// A host under which this process reaches what listens at `address`.
fn reachable(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    url_host(&ip.to_string()).into_owned()
}
