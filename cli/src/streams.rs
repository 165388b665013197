//! The streams of a process: their host, and the doors that senders come through.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use polarway_common::address::url_host;
use polarway_common::clock::unix_millis;
use polarway_common::config::{Callers, IngestConfig};
use polarway_common::{
    Config, Error, ErrorKind, HostPort, Listening, Supervisor, SystemClock, TaskKind, bind,
};
use polarway_engine::live::{LiveAccess, StreamHost};
use polarway_identity::{Credential, Hosts, Security};
use polarway_ingest::host::{Host, HostOptions, Share, node_name};
use polarway_ingest::node;
use polarway_ingest::ownership::{Keeper, KeeperOptions, Tenure};
use polarway_ingest::pull::{FeedPolicy, NoSecrets, SecretFiles, Secrets};
use polarway_ingest::socket::{Options, SocketMetrics, serve};
use polarway_metastore::membership::{MemberState, Role};
use polarway_metastore::{Member, Members, MetaStore, Registration, RemoteMetaStore, configured};
use polarway_storage::StoreRoot;
use polarway_storage::streams::{Node, Owners};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What acknowledgements may take once clients have been told to go, and logs to be flushed.
const GRACE: Duration = Duration::from_secs(45);
/// Between two tries to reach the scheduler.
const RETRY: Duration = Duration::from_millis(500);

/// See the module's page.
pub struct Streams {
    meta: Arc<dyn MetaStore>,
    host: Arc<Host>,
    directory: String,
    listening: Listening,
    tenure: Tenure,
    /// What makes it a member of the cluster: it is one until its streams are closed.
    membership: Supervisor,
    /// Takes streams, and gives them up.
    keeping: Supervisor,
    door: Supervisor,
    work: Supervisor,
    grpc: Supervisor,
}

/// The addresses of a process that takes rows.
struct Doors {
    ws: TcpListener,
    /// For a process of its own.
    grpc: Option<TcpListener>,
    http: Option<TcpListener>,
    listening: Listening,
}

impl Doors {
    async fn open(config: &Config, security: &Security, own_process: bool) -> Result<Self, Error> {
        let encrypted = security.tls.is_on();
        let nowhere = || Error::internal("streams without an address");
        let listen = config.ingest.listen.as_ref().ok_or_else(nowhere)?;
        let (ws, ws_bound) = bind(listen, "ingest.listen").await?;
        config.identity.may_listen(ws_bound, "ingest.listen", Callers::Users, encrypted)?;
        let grpc = match own_process {
            true => Some(bind(&config.executor.listen, "executor.listen").await?),
            false => None,
        };
        let (grpc, grpc_bound) = grpc.unzip();
        if let Some(bound) = grpc_bound {
            // Unlike that of an executor it asks who calls.
            config.identity.may_listen(bound, "executor.listen", Callers::Users, encrypted)?;
        }
        let http = match config.executor.http_listen.as_ref().filter(|_| own_process) {
            Some(listen) => Some(bind(listen, "executor.http_listen").await?),
            None => None,
        };
        let (http, http_bound) = http.unzip();
        let listening =
            Listening { grpc: grpc_bound.unwrap_or(ws_bound), http: http_bound, ws: Some(ws_bound) };
        Ok(Self { ws, grpc, http, listening })
    }

    /// The process as others reach it.
    fn node(&self, config: &Config, name: String) -> Node {
        let host = url_host(config.executor.resolved_advertise_host());
        let at = |address: SocketAddr| format!("{host}:{}", address.port());
        let Listening { grpc, ws, .. } = self.listening;
        Node { name, address: at(grpc), ws: at(ws.unwrap_or(grpc)) }
    }
}

impl Streams {
    /// Opens all streams in this process, which holds the metadata store too, and listens for their senders, as far as
    /// `security` knows them.
    ///
    /// # Errors
    /// `Configuration` when an address or a directory cannot be used; whatever keeps a stream from being opened.
    pub async fn in_process(config: &Config, security: Security) -> Result<Self, Error> {
        let doors = Doors::open(config, &security, false).await?;
        let meta = polarway_scheduler::open_meta(config).await?;
        Self::start(config, security, doors, meta, Share::All).await
    }

    /// Opens the streams that this process had before, serves them to the others of the cluster, and listens for their
    /// senders. Without an etcd it waits for the scheduler, whose metadata store it uses.
    ///
    /// # Errors
    /// As [`Streams::in_process`].
    pub async fn own_process(config: &Config) -> Result<Self, Error> {
        let security = Security::load(config).await?;
        let doors = Doors::open(config, &security, true).await?;
        let meta = match configured(&config.metastore).await? {
            Some(etcd) => etcd,
            // Files that keep it from being let in may be mended meanwhile.
            None => tokio::select! {
                meta = of_scheduler(config, security.credential.clone()) => meta?,
                ended = security.clone().follow(CancellationToken::new()) => {
                    return Err(ended.err().unwrap_or_else(|| Error::internal("files are not followed")));
                }
            },
        };
        let streams = Self::start(config, security.clone(), doors, meta, Share::Own).await?;
        let following = security.follow(streams.grpc.token());
        streams.grpc.spawn("tokens and certificates", TaskKind::Background, following);
        Ok(streams)
    }

    async fn start(
        config: &Config,
        security: Security,
        doors: Doors,
        meta: Arc<dyn MetaStore>,
        share: Share,
    ) -> Result<Self, Error> {
        let logs = config.ingest.resolved_log_directory(&config.data_dir);
        let place = config.ingest.resolved_directory(&config.data_dir);
        let sealed = StoreRoot::open(&place, &config.storage.s3, "ingest.directory")?;
        let directory = sealed.name.clone();
        let wanted = match share {
            Share::All => None,
            Share::Own => config.executor.name.as_deref(),
        };
        let node = doors.node(config, node_name(Path::new(&logs), wanted)?);
        let (membership, keeping) = (Supervisor::new(), Supervisor::new());
        let lease_ttl = config.metastore.lease_ttl.get();
        let tenure = match share {
            Share::All => Tenure::alone(),
            Share::Own => {
                let member = member(&node, doors.listening, config.zone.clone())?;
                let clock = Arc::new(SystemClock);
                let registering =
                    Registration::start(Arc::clone(&meta), member, lease_ttl, clock, &membership);
                Tenure::of(registering.await?)
            }
        };
        let socket = Arc::new(SocketMetrics::default());
        let options = HostOptions {
            meta: Arc::clone(&meta),
            feeds: Arc::new(feeds(&config.ingest)?),
            socket: Arc::clone(&socket),
            sealed,
            logs,
            log_limit: config.ingest.log_limit.0,
            hot_limit: config.ingest.hot_limit.as_usize(),
            grace: config.ingest.grace.get(),
            node,
            share,
            tenure: tenure.clone(),
            clock: Arc::new(SystemClock),
        };
        let Doors { ws, grpc, http, listening } = doors;
        let (door, work, servers) = (Supervisor::new(), Supervisor::new(), Supervisor::new());
        let host = Host::open(options, work.clone()).await?;
        if !tenure.is_alone() {
            let keeper = KeeperOptions {
                host: Arc::clone(&host),
                tenure: tenure.clone(),
                members: Members::follow(Arc::clone(&meta), &keeping).await?,
                owners: Owners::follow(Arc::clone(&meta), &keeping).await?,
                grace: grace(lease_ttl),
                credential: security.credential.clone(),
                clock: Arc::new(SystemClock),
            };
            Keeper::start(keeper, &keeping).await?;
        }
        let (streams, known, stop) = (Arc::clone(&host), security.clone(), door.token());
        let limits = limits(&config.ingest);
        door.spawn("streams", TaskKind::Critical, async move {
            let served = serve(ws, streams, known, limits, socket, stop).await;
            served.map_err(|error| Error::internal(error.to_string()))
        });
        if let Some(listener) = grpc {
            let max_frame = config.ingest.max_frame.as_usize();
            let serving =
                node::serve(listener, Arc::clone(&host), max_frame, security.clone(), servers.token());
            servers.spawn("streams by gRPC", TaskKind::Critical, serving);
        }
        if let Some(listener) = http {
            let hosts = Hosts::of(
                &config.identity,
                config.executor.resolved_advertise_host(),
                "executor.advertise_host",
            );
            let serving = node::serve_http(listener, Arc::clone(&host), security.tls, hosts, servers.token());
            servers.spawn("HTTP server of streams", TaskKind::Critical, serving);
        }
        tracing::info!(
            node = host.node().name,
            address = host.node().address,
            sealed = directory,
            "takes rows of streams"
        );
        Ok(Self { meta, host, directory, listening, tenure, membership, keeping, door, work, grpc: servers })
    }

    pub fn meta(&self) -> Arc<dyn MetaStore> {
        Arc::clone(&self.meta)
    }

    pub fn host(&self) -> Arc<dyn StreamHost> {
        Arc::clone(&self.host) as Arc<dyn StreamHost>
    }

    /// How plans that were sent reach rows in memory.
    pub fn access(&self) -> LiveAccess {
        LiveAccess(Arc::clone(&self.host) as _)
    }

    /// Where sealed rows are.
    pub fn directory(&self) -> String {
        self.directory.clone()
    }

    /// Where senders connect, and others of the cluster if it is a process of its own.
    pub fn listening(&self) -> Listening {
        self.listening
    }

    /// Metrics of all streams, as text.
    pub fn metrics(&self) -> Arc<dyn Fn() -> String + Send + Sync> {
        let host = Arc::clone(&self.host);
        Arc::new(move || host.metrics())
    }

    /// What ends when the process cannot do its work any more.
    pub fn supervisors(&self) -> [&Supervisor; 3] {
        [&self.door, &self.grpc, &self.keeping]
    }

    /// Takes no more rows from anybody; what was taken is acknowledged first.
    pub async fn close_door(&self) -> Result<(), Error> {
        self.tenure.leaving().await;
        let keeping = self.keeping.shutdown(GRACE).await;
        self.host.stop_feeds().await;
        keeping.and(self.door.shutdown(GRACE).await)
    }

    /// Ends the streams, with all their rows in files or in their logs.
    pub async fn stop(&self) -> Result<(), Error> {
        self.host.close().await;
        let work = self.work.shutdown(GRACE).await;
        let grpc = self.grpc.shutdown(GRACE).await;
        work.and(grpc).and(self.membership.shutdown(GRACE).await)
    }
}

/// How long a process that is gone has to come back before others take its streams. With the time in which its death shows,
/// one time to live and what the store takes to notice, it stays below two of them.
fn grace(lease_ttl: Duration) -> Duration {
    lease_ttl * 3 / 4
}

/// What the process says of itself to the others.
fn member(node: &Node, listening: Listening, zone: Option<String>) -> Result<Member, Error> {
    let address = |text: &str| {
        text.parse::<HostPort>().map_err(|error| Error::new(ErrorKind::Configuration, error.to_string()))
    };
    let address_of = address(&node.address)?;
    let http = listening.http.map(|http| HostPort::new(address_of.host.clone(), http.port()));
    Ok(Member {
        name: node.name.clone(),
        incarnation: Uuid::now_v7().simple().to_string(),
        role: Role::Ingest,
        zone,
        address: address_of,
        http,
        ws: Some(address(&node.ws)?),
        slots: 0,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state: MemberState::Active,
        since: unix_millis(SystemTime::now()),
    })
}

/// The metadata store of the scheduler, once that answers.
async fn of_scheduler(config: &Config, credential: Credential) -> Result<Arc<dyn MetaStore>, Error> {
    let address = format!("http://{}", config.executor.scheduler);
    let meta = Arc::new(RemoteMetaStore::connect(&address, credential)?);
    while let Err(error) = meta.revision().await {
        tracing::warn!(scheduler = %config.executor.scheduler, %error, "waiting for the scheduler");
        tokio::time::sleep(RETRY).await;
    }
    Ok(meta)
}

/// What senders may do.
fn limits(config: &IngestConfig) -> Options {
    let idle_timeout = config.idle_timeout.get();
    Options {
        max_connections: config.max_connections,
        max_frame_bytes: config.max_frame.as_usize(),
        max_bytes_per_second: config.connection_rate.and_then(|rate| NonZeroU64::new(rate.0)),
        // Two pings may be lost.
        ping_interval: idle_timeout / 3,
        idle_timeout,
        ..Options::default()
    }
}

/// What streams may be fetched from.
fn feeds(config: &IngestConfig) -> Result<FeedPolicy, Error> {
    let secrets: Arc<dyn Secrets> = match &config.secrets {
        Some(directory) => Arc::new(SecretFiles::new(directory)),
        None => Arc::new(NoSecrets),
    };
    let policy =
        FeedPolicy { allowed: config.feeds.clone(), secrets, certificates: config.certificates.clone() };
    policy.check()?;
    Ok(policy)
}
