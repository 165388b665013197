//! The streams of a process: their host and the door that WebSocket clients come through.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::object_store::ObjectStoreUrl;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use polarway_common::{Config, Error, ErrorKind, HostPort, Supervisor, SystemClock, TaskKind};
use polarway_engine::live::{LiveAccess, StreamHost};
use polarway_ingest::host::{Host, HostOptions, SealedRoot};
use polarway_ingest::socket::{Options, SocketMetrics, serve};
use polarway_metastore::MetaStore;
use tokio::net::TcpListener;

/// What acknowledgements may take once clients have been told to go, and logs to be flushed.
const GRACE: Duration = Duration::from_secs(45);

/// See the module's page.
pub struct Streams {
    meta: Arc<dyn MetaStore>,
    host: Arc<Host>,
    directory: PathBuf,
    listening: SocketAddr,
    door: Supervisor,
    work: Supervisor,
}

impl Streams {
    /// Opens all streams and listens for their senders.
    ///
    /// # Errors
    /// `Configuration` when an address or a directory cannot be used; whatever keeps a stream from being opened.
    pub async fn start(config: &Config) -> Result<Self, Error> {
        let listen =
            config.ingest.listen.as_ref().ok_or_else(|| Error::internal("streams without an address"))?;
        let listener = bind(listen).await?;
        let listening = listener.local_addr().map_err(|error| cannot_listen(listen, &error))?;
        let meta = polarway_scheduler::open_meta(&config.data_dir).await?;
        let (directory, sealed) = sealed(config.ingest.resolved_directory(&config.data_dir))?;
        let options = HostOptions {
            meta: Arc::clone(&meta),
            sealed,
            logs: config.ingest.resolved_log_directory(&config.data_dir),
            log_limit: config.ingest.log_limit.0,
            hot_limit: config.ingest.hot_limit.as_usize(),
            grace: config.ingest.grace.get(),
            address: listening.to_string(),
            clock: Arc::new(SystemClock),
        };
        let work = Supervisor::new();
        let host = Host::open(options, work.clone()).await?;
        let door = Supervisor::new();
        let (streams, stop) = (Arc::clone(&host), door.token());
        door.spawn("streams", TaskKind::Critical, async move {
            let metrics = Arc::new(SocketMetrics::default());
            serve(listener, streams, Options::default(), metrics, stop)
                .await
                .map_err(|error| Error::internal(error.to_string()))
        });
        Ok(Self { meta, host, directory, listening, door, work })
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
        self.directory.display().to_string()
    }

    pub fn listening(&self) -> SocketAddr {
        self.listening
    }

    pub fn supervisor(&self) -> &Supervisor {
        &self.door
    }

    /// Takes no more rows from anybody; what was taken is acknowledged first.
    pub async fn close_door(&self) -> Result<(), Error> {
        self.door.shutdown(GRACE).await
    }

    /// Ends the streams, with all their rows in files or in their logs.
    pub async fn stop(&self) -> Result<(), Error> {
        self.host.close().await;
        self.work.shutdown(GRACE).await
    }
}

/// The directory of sealed rows, made if it is not there, and the store over it.
fn sealed(directory: PathBuf) -> Result<(PathBuf, SealedRoot), Error> {
    let fault = |error: &dyn std::fmt::Display| {
        Error::new(
            ErrorKind::Configuration,
            format!("cannot use `{}` for the rows of streams: {error}", directory.display()),
        )
    };
    std::fs::create_dir_all(&directory).map_err(|error| fault(&error))?;
    let directory = directory.canonicalize().map_err(|error| fault(&error))?;
    let path = Path::from_absolute_path(&directory).map_err(|error| {
        Error::new(ErrorKind::Configuration, format!("`{}` cannot be a path: {error}", directory.display()))
    })?;
    let root = SealedRoot {
        store: Arc::new(LocalFileSystem::new()),
        url: ObjectStoreUrl::local_filesystem(),
        path,
        local: Some(directory.clone()),
    };
    Ok((directory, root))
}

async fn bind(listen: &HostPort) -> Result<TcpListener, Error> {
    TcpListener::bind((listen.host.as_str(), listen.port))
        .await
        .map_err(|error| cannot_listen(listen, &error))
}

fn cannot_listen(listen: &HostPort, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Configuration, format!("cannot listen on {listen} for streams: {error}"))
        .with_hint("`ingest.listen` names the address")
}
