//! The streams of a process: their host, and the doors that senders come through.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use polarway_common::address::url_host;
use polarway_common::config::IngestConfig;
use polarway_common::{Config, Error, ErrorKind, HostPort, Listening, Supervisor, SystemClock, TaskKind};
use polarway_engine::live::{LiveAccess, StreamHost};
use polarway_ingest::host::{Host, HostOptions, SealedRoot, Share, node_name};
use polarway_ingest::node;
use polarway_ingest::pull::{FeedPolicy, NoSecrets, SecretFiles, Secrets};
use polarway_ingest::socket::{Options, SocketMetrics, serve};
use polarway_metastore::{MetaStore, RemoteMetaStore, configured};
use polarway_storage::streams::Node;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;

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
    /// Whether the process is in the list of those that take streams.
    listed: bool,
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
    async fn open(config: &Config, own_process: bool) -> Result<Self, Error> {
        let nowhere = || Error::internal("streams without an address");
        let listen = config.ingest.listen.as_ref().ok_or_else(nowhere)?;
        let (ws, ws_bound) = bind(listen, "ingest.listen").await?;
        let grpc = match own_process {
            true => Some(bind(&config.executor.listen, "executor.listen").await?),
            false => None,
        };
        let (grpc, grpc_bound) = grpc.unzip();
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
    /// Opens all streams in this process, which holds the metadata store too, and listens for their senders.
    ///
    /// # Errors
    /// `Configuration` when an address or a directory cannot be used; whatever keeps a stream from being opened.
    pub async fn in_process(config: &Config) -> Result<Self, Error> {
        let doors = Doors::open(config, false).await?;
        let meta = polarway_scheduler::open_meta(config).await?;
        Self::start(config, doors, meta, Share::All).await
    }

    /// Opens the streams that this process had before, serves them to the others of the cluster, and listens for their
    /// senders. Without an etcd it waits for the scheduler, whose metadata store it uses.
    ///
    /// # Errors
    /// As [`Streams::in_process`].
    pub async fn own_process(config: &Config) -> Result<Self, Error> {
        let doors = Doors::open(config, true).await?;
        let meta = match configured(&config.metastore).await? {
            Some(etcd) => etcd,
            None => of_scheduler(config).await?,
        };
        let streams = Self::start(config, doors, meta, Share::Own).await?;
        streams.host.node().enter(streams.meta.as_ref()).await?;
        Ok(streams)
    }

    async fn start(
        config: &Config,
        doors: Doors,
        meta: Arc<dyn MetaStore>,
        share: Share,
    ) -> Result<Self, Error> {
        let logs = config.ingest.resolved_log_directory(&config.data_dir);
        let place = config.ingest.resolved_directory(&config.data_dir);
        let sealed = SealedRoot::open(&place, &config.storage.s3)?;
        let directory = sealed.name.clone();
        let wanted = match share {
            Share::All => None,
            Share::Own => config.executor.name.as_deref(),
        };
        let node = doors.node(config, node_name(Path::new(&logs), wanted)?);
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
            clock: Arc::new(SystemClock),
        };
        let Doors { ws, grpc, http, listening } = doors;
        let (door, work, servers) = (Supervisor::new(), Supervisor::new(), Supervisor::new());
        let host = Host::open(options, work.clone()).await?;
        let (streams, stop) = (Arc::clone(&host), door.token());
        let limits = limits(&config.ingest);
        door.spawn("streams", TaskKind::Critical, async move {
            serve(ws, streams, limits, socket, stop).await.map_err(|error| Error::internal(error.to_string()))
        });
        let listed = grpc.is_some();
        if let Some(listener) = grpc {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let max_frame = config.ingest.max_frame.as_usize();
            let serving = node::serve(incoming, Arc::clone(&host), max_frame, servers.token());
            servers.spawn("streams by gRPC", TaskKind::Critical, serving);
        }
        if let Some(listener) = http {
            let serving = node::serve_http(listener, Arc::clone(&host), servers.token());
            servers.spawn("HTTP server of streams", TaskKind::Critical, serving);
        }
        tracing::info!(
            node = host.node().name,
            address = host.node().address,
            sealed = directory,
            "takes rows of streams"
        );
        Ok(Self { meta, host, directory, listening, listed, door, work, grpc: servers })
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
    pub fn supervisors(&self) -> [&Supervisor; 2] {
        [&self.door, &self.grpc]
    }

    /// Takes no more rows from anybody; what was taken is acknowledged first.
    pub async fn close_door(&self) -> Result<(), Error> {
        if self.listed
            && let Err(error) = self.host.node().leave(self.meta.as_ref()).await
        {
            tracing::warn!(%error, "still in the list of those that take streams");
        }
        self.host.stop_feeds().await;
        self.door.shutdown(GRACE).await
    }

    /// Ends the streams, with all their rows in files or in their logs.
    pub async fn stop(&self) -> Result<(), Error> {
        self.host.close().await;
        let work = self.work.shutdown(GRACE).await;
        work.and(self.grpc.shutdown(GRACE).await)
    }
}

/// The metadata store of the scheduler, once that answers.
async fn of_scheduler(config: &Config) -> Result<Arc<dyn MetaStore>, Error> {
    let meta = Arc::new(RemoteMetaStore::connect(&format!("http://{}", config.executor.scheduler))?);
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

async fn bind(listen: &HostPort, key: &str) -> Result<(TcpListener, SocketAddr), Error> {
    let fault = |error: std::io::Error| {
        Error::new(ErrorKind::Configuration, format!("cannot listen on {listen} for streams: {error}"))
            .with_hint(format!("`{key}` names the address"))
    };
    let listener = TcpListener::bind((listen.host.as_str(), listen.port)).await.map_err(fault)?;
    let bound = listener.local_addr().map_err(fault)?;
    Ok((listener, bound))
}
