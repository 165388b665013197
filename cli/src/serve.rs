//! `polarway up`, `scheduler` and `executor`: starts servers, says when they are ready, and drains them on a signal.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, select_all};
use polarway_common::config::{ExecutorConfig, Secret};
use polarway_common::signal::shutdown_signal;
use polarway_common::{Config, Error, ErrorKind, HostPort, Listening, Supervisor, TaskKind, machine};
use polarway_engine::runtime::MemoryBudget;
use polarway_engine::spawned::stays_in_its_span;
use polarway_identity::Security;
use polarway_ingest::remote::RemoteStreams;
use polarway_telemetry::Telemetry;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::allocator;
use crate::args::{DataArgs, DoorArgs, ExecutorArgs, ExecutorRole, GlobalArgs, SchedulerArgs, UpArgs};
use crate::ready;
use crate::sql::exit;
use crate::streams::Streams;
use crate::terminal;

/// What a server may take for its last steps after its drain timeout before it is aborted.
const MARGIN: Duration = Duration::from_secs(15);
/// Where processes that take rows listen for WebSocket clients.
const WS_HOST: &str = "127.0.0.1";
const WS_PORT: u16 = 8081;

pub async fn up(args: UpArgs, global: &GlobalArgs) -> Result<u8, Error> {
    // Nothing is nearer to the scheduler than its own process.
    let of_command = vec![("scheduler.direct".to_owned(), "local".to_owned())];
    let mut flags = door_settings(&args.door);
    flags.extend(setting("ingest.listen", args.ws_listen.as_ref()));
    let (mut config, telemetry) = load("up", global, of_command, flags, &args.door.data)?;
    let tables = config.data_dir.join("tables").display().to_string();
    config.storage.tables.get_or_insert(tables);
    if !config.metastore.etcd.is_empty() {
        return Err(Error::new(
            ErrorKind::Configuration,
            "`polarway up` is all there is of its cluster, and does not share a metadata store",
        )
        .with_hint("leave `metastore.etcd` out, or start `polarway scheduler` and `polarway executor`"));
    }
    let streams = config.ingest.listen.is_some();
    allocator::suit(config.query.resolved_memory_limit(), streams);
    // Its executors reach its scheduler, and nobody else has to know by what.
    config.identity.process_secret.get_or_insert_with(random_secret);
    let executors = share_machine(&config, usize::from(args.executors));
    let memory = MemoryBudget::new(config.query.resolved_memory_limit().as_usize());
    let plan =
        Plan { role: "up", scheduler: Some(config), executors, memory: Some(memory), streams, ingest: None };
    Box::pin(run(plan, telemetry)).await
}

pub async fn scheduler(args: SchedulerArgs, global: &GlobalArgs) -> Result<u8, Error> {
    let (config, telemetry) = load("scheduler", global, vec![], door_settings(&args.door), &args.door.data)?;
    allocator::suit(config.query.resolved_memory_limit(), false);
    let plan = Plan { role: "scheduler", scheduler: Some(config), ..Plan::default() };
    Box::pin(run(plan, telemetry)).await
}

pub async fn executor(args: ExecutorArgs, global: &GlobalArgs) -> Result<u8, Error> {
    let role = match args.role {
        ExecutorRole::Query => "executor",
        ExecutorRole::Ingest => "ingest",
    };
    let (mut config, telemetry) = load(role, global, vec![], executor_settings(&args), &args.data)?;
    allocator::suit(config.executor_memory_limit(), matches!(args.role, ExecutorRole::Ingest));
    let plan = Plan { role: "executor", ..Plan::default() };
    let plan = match args.role {
        ExecutorRole::Query => Plan { executors: vec![config], ..plan },
        ExecutorRole::Ingest => {
            config.ingest.listen.get_or_insert_with(|| HostPort::new(WS_HOST, WS_PORT));
            Plan { ingest: Some(config), ..plan }
        }
    };
    Box::pin(run(plan, telemetry)).await
}

type Settings = Vec<(String, String)>;

fn setting(key: &str, value: Option<impl ToString>) -> Option<(String, String)> {
    value.map(|value| (key.to_owned(), value.to_string()))
}

fn door_settings(args: &DoorArgs) -> Settings {
    [
        setting("scheduler.listen", args.listen.as_ref()),
        setting("scheduler.http_listen", args.http_listen.as_ref()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn executor_settings(args: &ExecutorArgs) -> Settings {
    [
        setting("executor.scheduler", args.scheduler.as_ref()),
        setting("executor.slots", args.slots),
        setting("executor.listen", args.listen.as_ref()),
        setting("executor.http_listen", args.http_listen.as_ref()),
        setting("executor.work_dir", args.work_dir.as_ref().map(|path| path.display())),
        setting("executor.memory_limit", args.memory_limit),
        setting("executor.name", args.name.as_ref()),
        setting("ingest.listen", args.ws_listen.as_ref()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn load(
    role: &str,
    global: &GlobalArgs,
    of_command: Settings,
    mut flags: Settings,
    data: &DataArgs,
) -> Result<(Config, Telemetry), Error> {
    flags.extend(setting("data_dir", data.data_dir.as_ref().map(|path| path.display())));
    let mut config = global.load_over(of_command, flags)?;
    if !data.allow.is_empty() {
        // Set directly: a list among the textual settings splits at commas, which a path may contain.
        config.storage.allowed.clone_from(&data.allow);
        config.validate()?;
    }
    if !data.writable.is_empty() {
        config.storage.writable.clone_from(&data.writable);
        config.validate()?;
    }
    let telemetry = polarway_telemetry::init(&config.log, &config.telemetry, role)?;
    if config.telemetry.otlp_endpoint.is_some() {
        stays_in_its_span();
    }
    if config.tls.is_on() && config.metastore.etcd.iter().any(|member| !member.starts_with("https://")) {
        tracing::warn!(
            "`metastore.etcd`: what goes to a member that is not `https` can be read on the way, the secret that signs tickets among it"
        );
    }
    if config.identity.trusted_network {
        tracing::warn!(
            "`identity.trusted_network`: on ports where callers are not told apart, whoever reaches this process is believed"
        );
    }
    Ok((config, telemetry))
}

/// The configurations of `count` executors in this process: cores are divided among them, memory is shared.
fn share_machine(config: &Config, count: usize) -> Vec<Config> {
    let ExecutorConfig { slots, name, work_dir, .. } = &config.executor;
    let slots = slots.unwrap_or_else(|| (machine::cores() / count).max(1));
    let base_dir = work_dir.clone().unwrap_or_else(|| config.data_dir.join("executors"));
    let name = name.as_deref().unwrap_or("executor");
    (1..=count)
        .map(|number| {
            let mut config = config.clone();
            config.executor.listen.port = 0;
            config.executor.http_listen = None;
            config.executor.slots = Some(slots);
            config.executor.name = Some(format!("{name}-{number}"));
            config.executor.work_dir = Some(base_dir.join(number.to_string()));
            config
        })
        .collect()
}

/// The servers of one process.
#[derive(Default)]
struct Plan {
    /// What the ready line calls the process.
    role: &'static str,
    scheduler: Option<Config>,
    /// They register with `scheduler` if there is one here.
    executors: Vec<Config>,
    /// What they share; without it each has its own by configuration.
    memory: Option<MemoryBudget>,
    /// Whether the process holds streams beside its scheduler.
    streams: bool,
    /// For a process that holds streams and does nothing else.
    ingest: Option<Config>,
}

async fn run(plan: Plan, telemetry: Telemetry) -> Result<u8, Error> {
    let outcome = Box::pin(served(plan)).await;
    telemetry.end().await;
    outcome
}

async fn served(plan: Plan) -> Result<u8, Error> {
    let mut servers = Servers::default();
    let outcome = tokio::select! {
        started = servers.start(plan) => started,
        signal = shutdown_signal() => {
            tracing::info!(%signal, "stopping before the start was complete");
            Err(None)
        }
    };
    let outcome = match outcome {
        Ok(ready) => {
            // The servers work on for a parent that does not listen.
            let _ = terminal::print(&ready);
            tokio::select! {
                () = servers.failed() => {}
                signal = shutdown_signal() => tracing::info!(%signal, "draining; a second signal ends the process at once"),
            }
            Ok(())
        }
        Err(None) => Ok(()),
        Err(Some(error)) => Err(error),
    };
    tokio::select! {
        stopped = servers.stop() => outcome.and(stopped).map(|()| exit::OK),
        signal = shutdown_signal() => {
            tracing::warn!(%signal, "ending at once");
            Ok(exit::INTERRUPTED)
        }
    }
}

#[derive(Default)]
struct Servers {
    streams: Option<Streams>,
    scheduler: Option<Server>,
    executors: Vec<Server>,
}

/// One server's tasks, and how long their end may take.
struct Server {
    supervisor: Supervisor,
    grace: Duration,
}

impl Servers {
    /// Starts everything in `plan` and returns the line that says so. `Err(Some(_))` says why a server did not start.
    async fn start(&mut self, mut plan: Plan) -> Result<String, Option<Error>> {
        if let Some(config) = &plan.ingest {
            let streams = self.streams.insert(Streams::own_process(config).await?);
            return Ok(format!("{}\n", ready::format(plan.role, streams.listening())));
        }
        let mut front = None;
        let mut shared = polarway_scheduler::Shared { memory: plan.memory.clone(), ..Default::default() };
        if plan.streams
            && let Some(config) = &plan.scheduler
        {
            let streams = Streams::in_process(config, security(&mut shared, config).await?).await?;
            shared.meta = Some(streams.meta());
            shared.streams = Some(streams.host());
            shared.more_metrics = Some(streams.metrics());
            let directory = streams.directory();
            for config in plan.scheduler.iter_mut().chain(&mut plan.executors) {
                config.storage.allowed.push(directory.clone());
            }
            self.streams = Some(streams);
        }
        if plan.role == "scheduler"
            && let Some(config) = &plan.scheduler
        {
            let meta = polarway_scheduler::open_meta(config).await?;
            let credential = security(&mut shared, config).await?.credential;
            shared.streams = Some(Arc::new(RemoteStreams::new(Arc::clone(&meta), credential)));
            shared.meta = Some(meta);
            // Others reach etcd as this process does.
            shared.members_use_meta = config.metastore.etcd.is_empty();
        }
        // Without a scheduler here it is found by configuration.
        let mut meta = shared.meta.clone();
        if let (Some(config), None) = (&plan.scheduler, &meta) {
            meta = Some(polarway_scheduler::open_meta(config).await?);
            shared.meta = meta.clone();
        }
        let known = match &plan.scheduler {
            Some(config) => Some(security(&mut shared, config).await?),
            None => None,
        };
        if let Some(config) = plan.scheduler {
            let grace = config.scheduler.drain_timeout.get() + MARGIN;
            let (server, ready) = Server::spawn("scheduler", grace, |stop, ready| {
                polarway_scheduler::run(config, shared, stop, ready)
            });
            front = Some(self.scheduler.insert(server).ready(ready).await?);
        }
        for mut config in plan.executors {
            if let Some(scheduler) = front {
                config.executor.scheduler = reachable(scheduler);
            }
            let grace = config.executor.drain_timeout.get() + MARGIN;
            let shared = polarway_executor::Shared {
                memory: plan.memory.clone(),
                streams: self.streams.as_ref().map(Streams::access),
                meta: meta.clone(),
                security: known.clone(),
            };
            let name = config.executor.name.clone().unwrap_or_else(|| "executor".to_owned());
            let (server, ready) = Server::spawn(&name, grace, |stop, ready| {
                polarway_executor::run(config, shared, stop, ready)
            });
            // Kept before it is awaited, so that an interrupted start stops it too.
            self.executors.push(server);
            if let Some(server) = self.executors.last() {
                let listening = server.ready(ready).await?;
                if plan.role == "executor" {
                    front = Some(listening);
                }
            }
        }
        let mut listening = front.ok_or_else(|| Some(Error::internal("there is no server to start")))?;
        listening.ws = self.streams.as_ref().and_then(|streams| streams.listening().ws);
        Ok(format!("{}\n", ready::format(plan.role, listening)))
    }

    /// Completes when a server has failed.
    async fn failed(&self) {
        let servers = self.scheduler.iter().chain(&self.executors).map(|server| &server.supervisor);
        let all = servers.chain(self.streams.iter().flat_map(Streams::supervisors));
        select_all(all.map(|supervisor| Box::pin(supervisor.stopping()))).await;
    }

    /// Stops the doors of streams, then the scheduler, whose running queries still need the executors, then those, and at
    /// last the streams themselves.
    async fn stop(&self) -> Result<(), Error> {
        let door = match &self.streams {
            Some(streams) => streams.close_door().await,
            None => Ok(()),
        };
        let scheduler = match &self.scheduler {
            Some(server) => server.stop().await,
            None => Ok(()),
        };
        let executors = join_all(self.executors.iter().map(Server::stop)).await;
        let streams = match &self.streams {
            Some(streams) => streams.stop().await,
            None => Ok(()),
        };
        executors.into_iter().fold(door.and(scheduler).and(streams), Result::and)
    }
}

impl Server {
    fn spawn<F>(
        name: &str,
        grace: Duration,
        run: impl FnOnce(CancellationToken, oneshot::Sender<Listening>) -> F,
    ) -> (Self, oneshot::Receiver<Listening>)
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let (sender, ready) = oneshot::channel();
        let supervisor = Supervisor::new();
        let server = run(supervisor.token(), sender);
        supervisor.spawn(name, TaskKind::Critical, Box::pin(server));
        (Self { supervisor, grace }, ready)
    }

    async fn ready(&self, ready: oneshot::Receiver<Listening>) -> Result<Listening, Option<Error>> {
        match ready.await {
            Ok(listening) => Ok(listening),
            Err(_) => {
                self.supervisor.stopping().await;
                Err(self.supervisor.failure())
            }
        }
    }

    async fn stop(&self) -> Result<(), Error> {
        self.supervisor.shutdown(self.grace).await
    }
}

/// What the servers of a process share, loaded when it is first needed.
async fn security(shared: &mut polarway_scheduler::Shared, config: &Config) -> Result<Security, Error> {
    match &shared.security {
        Some(security) => Ok(security.clone()),
        None => Ok(shared.security.insert(Security::load(config).await?).clone()),
    }
}

/// What the servers of this process know each other by, if nothing is configured.
fn random_secret() -> Secret {
    Secret::new(format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()))
}

/// The address under which a server of this process is reached from inside it: one that listens everywhere is reached
/// over the loopback interface.
fn reachable(server: Listening) -> HostPort {
    let ip = match server.grpc.ip() {
        ip if !ip.is_unspecified() => ip,
        std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    HostPort::new(ip.to_string(), server.grpc.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executors_of_one_process_share_its_cores() {
        let mut config = Config::default();
        config.executor.slots = None;
        let shares = share_machine(&config, 4);
        let executor = |number: usize| &shares[number - 1].executor;
        assert_eq!(shares.len(), 4);
        assert_eq!(executor(1).slots, Some((machine::cores() / 4).max(1)));
        assert_eq!(executor(4).name.as_deref(), Some("executor-4"));
        assert_eq!(executor(1).listen.port, 0);
        assert_ne!(executor(1).work_dir, executor(2).work_dir);
    }

    #[test]
    fn what_the_operator_set_for_executors_is_kept() {
        let mut config = Config::default();
        config.executor.slots = Some(3);
        config.executor.work_dir = Some("/work".into());
        let shares = share_machine(&config, 2);
        assert_eq!(shares[1].executor.slots, Some(3));
        assert_eq!(shares[1].executor.work_dir.as_deref(), Some(std::path::Path::new("/work/2")));
    }

    #[test]
    fn a_server_that_listens_everywhere_is_reached_over_loopback() {
        let at = |address: &str| {
            reachable(Listening { grpc: address.parse().unwrap(), http: None, ws: None }).to_string()
        };
        assert_eq!(at("0.0.0.0:7"), "127.0.0.1:7");
        assert_eq!(at("[::]:7"), "[::1]:7");
        assert_eq!(at("10.0.0.1:7"), "10.0.0.1:7");
    }

    #[tokio::test]
    async fn a_server_that_does_not_start_says_why() {
        let failure = Error::new(polarway_common::ErrorKind::Configuration, "port is taken");
        let told = failure.clone();
        let (server, ready) = Server::spawn("server", MARGIN, |_, _ready| async move { Err(told) });
        assert_eq!(server.ready(ready).await, Err(Some(failure.clone())));
        assert_eq!(server.stop().await, Err(failure));
    }

    #[tokio::test]
    async fn a_server_that_starts_is_stopped_by_its_token() {
        let listening = Listening { grpc: "127.0.0.1:1".parse().unwrap(), http: None, ws: None };
        let (server, ready) = Server::spawn("server", MARGIN, |stop, ready| async move {
            let _ = ready.send(listening);
            stop.cancelled().await;
            Ok(())
        });
        assert_eq!(server.ready(ready).await, Ok(listening));
        assert_eq!(server.stop().await, Ok(()));
    }
}
