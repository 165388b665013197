//! The streams that this process holds.

mod door;
mod feeds;
mod identity;
mod logs;
mod metrics;
mod takeover;
mod views;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use polarway_common::{Clock, Error, ErrorKind, Supervisor, TaskKind};
use polarway_engine::live::{Held, PutAnswers, PutFrames, PutOptions, StreamHost, StreamStatus, StreamView};
use polarway_metastore::{Key, KeyPrefix, MetaStore};
use polarway_storage::StoreRoot;
use polarway_storage::catalog::{Definition, StreamDefinition};
use polarway_storage::directory::ObjectDirectory;
use polarway_storage::streams::{Claimant, Node, Owner, Ownership, Previous, StreamError};
use tokio::runtime::Handle;

use feeds::FeedTask;
pub use identity::node_name;
pub use views::{Seen, slices};

pub(crate) use door::{logged, split_name, the_stream, told};
pub(crate) use takeover::groups;

use crate::feed::{accepts, dead_letter_schema};
use crate::handover::directory_of;
use crate::ownership::Tenure;
use crate::pull::{FeedPolicy, gap_schema};
use crate::put;
use crate::seal::{Layout, ticks_per_second};
use crate::socket::SocketMetrics;
use crate::stream::{KeyOptions, Live, LiveError, Retention, SealPolicy, StreamOptions};

/// Which streams a process opens when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// All: there is no other process.
    All,
    /// Those that it had before.
    Own,
}

/// What a [`Host`] needs.
#[derive(Debug)]
pub struct HostOptions {
    pub meta: Arc<dyn MetaStore>,
    pub sealed: StoreRoot,
    /// Below it each stream has a log of its own.
    pub logs: PathBuf,
    /// Bytes that one stream's log may take on disk.
    pub log_limit: u64,
    /// Bytes of rows that one stream may hold in memory.
    pub hot_limit: usize,
    /// How long sealed rows stay in memory for queries that were planned before.
    pub grace: Duration,
    /// This process.
    pub node: Node,
    pub share: Share,
    /// Whether it may act as the owner of its streams.
    pub tenure: Tenure,
    /// What feeds may be dialled.
    pub feeds: Arc<FeedPolicy>,
    /// Counters of all senders.
    pub socket: Arc<SocketMetrics>,
    pub clock: Arc<dyn Clock>,
}

/// See the module's page.
pub struct Host {
    options: HostOptions,
    supervisor: Supervisor,
    /// Where the streams' work goes on: a stream may be made by a statement, whose threads end before it.
    runtime: Handle,
    open: RwLock<HashMap<String, Arc<Open>>>,
    /// Streams that others took from this process.
    moved: RwLock<HashSet<String>>,
    /// How many streams this process took from others that are gone.
    taken_over: AtomicU64,
    /// Held while a stream is opened, so that none is opened twice.
    opening: tokio::sync::Mutex<()>,
}

/// A stream of the catalog.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub schema: String,
    pub name: String,
    pub definition: StreamDefinition,
}

/// A stream and what it is called.
#[derive(Debug)]
struct Open {
    schema: String,
    name: String,
    definition: StreamDefinition,
    live: Arc<Live>,
    /// What fetches its rows, where that is done and all its tables are open.
    feed: Mutex<Option<FeedTask>>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("node", &self.options.node).finish_non_exhaustive()
    }
}

impl Host {
    /// Opens this process's share of the catalog's streams. Their work runs under `supervisor`.
    ///
    /// # Errors
    /// When one of them cannot be opened: a server that left rows out would answer wrongly.
    pub async fn open(options: HostOptions, supervisor: Supervisor) -> Result<Arc<Self>, Error> {
        let host = Self {
            options,
            supervisor,
            runtime: Handle::current(),
            open: RwLock::default(),
            moved: RwLock::default(),
            taken_over: AtomicU64::default(),
            opening: tokio::sync::Mutex::default(),
        };
        let owners = Owner::all(host.options.meta.as_ref()).await?;
        let owned = |id: &str| owners.get(id).is_some_and(|owner| owner.node == host.options.node.name);
        for Known { schema, name, definition } in host.known().await? {
            if host.options.share == Share::Own && !owned(&definition.id) {
                continue;
            }
            match host.claim(&definition.id).await {
                Ok(ownership) => host.start(schema, name, definition, Some(ownership)).await?,
                // What is this process's after all is opened when it is registered again.
                Err(error @ (StreamError::Fenced { .. } | StreamError::NotRegistered)) => {
                    tracing::info!(stream = name, %error, "is not opened");
                }
                Err(error) => return Err(error.into()),
            }
        }
        // What cannot be fetched any more can still be queried.
        for open in host.all() {
            if let Err(error) = host.start_feed(&open) {
                tracing::warn!(stream = open.name, %error, "is not fetched");
            }
        }
        Ok(Arc::new(host))
    }

    /// This process.
    pub fn node(&self) -> &Node {
        &self.options.node
    }

    /// What a query sees of a stream.
    ///
    /// # Errors
    /// `TableNotFound` when the stream is not here.
    pub fn seen(&self, id: &str) -> Result<Seen, Error> {
        Ok(views::seen(&self.by_id(id)?.live))
    }

    /// How scans find the store of sealed rows.
    pub fn sealed(&self) -> &StoreRoot {
        &self.options.sealed
    }

    /// What each stream holds, by identity.
    pub fn held(&self) -> Vec<(String, Held)> {
        let held = |open: Arc<Open>| {
            let view = open.live.view();
            let manifest = view.manifest();
            let recent = open.live.recent();
            let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            let held = Held {
                hot_rows: view.hot.rows(),
                hot_bytes: open.live.hot_bytes() as u64,
                log_bytes: open.live.log_bytes(),
                sealed_rows: manifest.rows(),
                sealed_bytes: manifest.bytes(),
                files: manifest.segments.len() as u64,
                end: view.hot.to,
                recent_rows: recent.rows,
                recent_ms: millis(recent.within),
                idle_ms: recent.idle.map(millis),
                latest_event_ms: views::latest_event(&open.live, &view),
                feed: open.feed_state(),
            };
            (open.definition.id.clone(), held)
        };
        self.all().into_iter().map(held).collect()
    }

    /// Schema of a stream.
    ///
    /// # Errors
    /// `TableNotFound` when the stream is not here.
    pub fn schema(&self, id: &str) -> Result<SchemaRef, Error> {
        Ok(Arc::clone(&self.by_id(id)?.live.options().schema))
    }

    /// All streams of the catalog whose definitions can be read.
    pub(crate) async fn known(&self) -> Result<Vec<Known>, Error> {
        let mut known = vec![];
        for (key, found) in self.options.meta.list(&KeyPrefix::Tables.encode()).await?.entries {
            let Ok(Key::CatalogTable { schema, table: name }) = Key::decode(&key) else { continue };
            match definition(&schema, &name, &found.value) {
                Ok(Definition::Stream(definition)) => known.push(Known { schema, name, definition }),
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "left out"),
            }
        }
        Ok(known)
    }

    /// Where the sealed rows of a stream are.
    pub(crate) fn sealed_store(&self, id: &str) -> ObjectDirectory {
        self.options.sealed.directory(id)
    }

    /// This process as a claimant.
    fn claimant(&self) -> Result<Claimant, StreamError> {
        let HostOptions { node, tenure, .. } = &self.options;
        let fence = tenure.fence();
        if fence.is_none() && !tenure.is_alone() {
            return Err(StreamError::NotRegistered);
        }
        Ok(Claimant { node: node.name.clone(), address: node.address.clone(), fence })
    }

    async fn claim(&self, id: &str) -> Result<Ownership, StreamError> {
        let previous = match self.options.share {
            Share::All => Previous::Anyone,
            Share::Own => Previous::Own,
        };
        let meta = Arc::clone(&self.options.meta);
        Ownership::claim(meta, self.sealed_store(id), id, &self.claimant()?, previous).await
    }

    /// Opens a stream, which is claimed if there is no ownership yet.
    async fn start(
        &self,
        schema: String,
        name: String,
        definition: StreamDefinition,
        ownership: Option<Ownership>,
    ) -> Result<(), Error> {
        let _one = self.opening.lock().await;
        if self.open.read().contains_key(&definition.id) {
            return Ok(());
        }
        let ownership = match ownership {
            Some(ownership) => ownership,
            None => self.claim(&definition.id).await?,
        };
        let live = self.live(&schema, &name, &definition, ownership).await?;
        let id = definition.id.clone();
        let open = Open { schema, name, definition, live, feed: Mutex::default() };
        self.moved.write().remove(&id);
        self.open.write().insert(id, Arc::new(open));
        Ok(())
    }

    async fn live(
        &self,
        schema: &str,
        name: &str,
        definition: &StreamDefinition,
        ownership: Ownership,
    ) -> Result<Arc<Live>, Error> {
        let HostOptions { logs, log_limit, hot_limit, grace, .. } = &self.options;
        let id = definition.id.as_str();
        let columns = definition.schema()?;
        let wanted = &definition.options;
        let place =
            |column: &String| columns.index_of(column).map_err(|error| Error::internal(error.to_string()));
        let column = wanted.event_time.as_ref().map(place).transpose()?;
        let partition_by = wanted.partition_by.iter().map(place).collect::<Result<_, Error>>()?;
        let mut dedup: Vec<usize> = wanted.dedup.iter().map(place).collect::<Result<_, Error>>()?;
        dedup.sort_unstable();
        let options = StreamOptions {
            id: id.to_owned(),
            // Senders are told it.
            name: told(schema, name),
            layout: Layout { event_time: column, partition_by },
            seal: SealPolicy {
                rows: wanted.seal_rows,
                bytes: wanted.seal_bytes.0,
                age: wanted.seal_age.get(),
            },
            log: directory_of(logs, id, ownership.log()),
            log_limit: *log_limit,
            hot_limit: *hot_limit,
            grace: *grace,
            key: (!dedup.is_empty()).then(|| KeyOptions {
                columns: dedup,
                rows: usize::try_from(wanted.dedup_rows).unwrap_or(usize::MAX),
            }),
            retention: wanted.retention.map(|keep| Retention {
                keep: keep.get(),
                ticks: column.map(|column| ticks_per_second(columns.field(column).data_type())),
            }),
            clock: Arc::clone(&self.options.clock),
            tenure: self.options.tenure.clone(),
            schema: columns,
        };
        let (live, following) = Live::open(options, ownership).await.map_err(error)?;
        let (follower, keeper) = (Arc::clone(&live), Arc::clone(&live));
        let _here = self.runtime.enter();
        let logged = logged(schema, name);
        self.supervisor.spawn(format!("log of {logged}"), TaskKind::Background, async move {
            follower.follow(following).await;
            Ok(())
        });
        self.supervisor.spawn(format!("sealing of {logged}"), TaskKind::Background, async move {
            keeper.keep().await;
            Ok(())
        });
        Ok(live)
    }

    fn by_id(&self, id: &str) -> Result<Arc<Open>, Error> {
        self.open.read().get(id).cloned().ok_or_else(|| {
            match self.moved.read().contains(id) {
                true => Error::new(ErrorKind::StoreUnavailable, "the stream has another owner by now"),
                false => Error::new(ErrorKind::TableNotFound, "the stream was dropped"),
            }
            .with_hint("run the statement again")
        })
    }

    fn by_name(&self, schema: &str, name: &str) -> Option<Arc<Open>> {
        self.open.read().values().find(|open| open.schema == schema && open.name == name).cloned()
    }

    fn dead_letters_of(&self, open: &Open) -> Option<Arc<Open>> {
        let of = |other: &&Arc<Open>| {
            other.schema == open.schema && other.definition.dead_letters_of.as_ref() == Some(&open.name)
        };
        self.open.read().values().find(of).cloned()
    }

    fn all(&self) -> Vec<Arc<Open>> {
        self.open.read().values().cloned().collect()
    }

    /// Takes no more rows; those that were taken are in the logs when this returns.
    pub async fn close(&self) {
        for open in self.all() {
            if let Err(error) = open.live.close().await {
                tracing::warn!(stream = open.name, %error, "not closed as it should be");
            }
        }
    }
}

#[async_trait]
impl StreamHost for Host {
    fn accepts(&self, schema: &SchemaRef) -> Result<(), Error> {
        accepts(schema)
    }

    fn dead_letter_schema(&self) -> SchemaRef {
        dead_letter_schema()
    }

    fn gap_schema(&self) -> SchemaRef {
        gap_schema()
    }

    async fn status(&self) -> Result<Vec<StreamStatus>, Error> {
        let owner = (self.options.node.name.clone(), self.options.node.address.clone());
        let held = self.held().into_iter();
        Ok(held.map(|(id, held)| StreamStatus { id, owner: Some(owner.clone()), held: Some(held) }).collect())
    }

    async fn view(&self, id: &str) -> Result<StreamView, Error> {
        Ok(self.seen(id)?.into_view(&self.options.sealed.url, id, &self.options.node.address))
    }

    async fn made(&self, schema: &str, name: &str) -> Result<(), Error> {
        let definition = the_stream(self.options.meta.as_ref(), schema, name).await?;
        // A feed that cannot be is told before there is anything.
        if definition.options.feed.is_some() {
            self.pull_feed(schema, name, &definition)?;
        }
        let of = definition.companion_of().unwrap_or(name).to_owned();
        self.start(schema.to_owned(), name.to_owned(), definition, None).await?;
        self.by_name(schema, &of).map_or(Ok(()), |stream| self.start_feed(&stream))
    }

    async fn dropped(&self, id: &str) -> Result<(), Error> {
        let Some(open) = self.open.write().remove(id) else { return Ok(()) };
        open.stop_feed().await;
        open.live.close().await.map_err(error)?;
        open.live.remove().await.map_err(error)
    }

    async fn put(&self, options: PutOptions, frames: PutFrames) -> Result<PutAnswers, Error> {
        put::put(self, options, frames, Arc::clone(&self.options.socket)).await
    }
}

fn definition(schema: &str, name: &str, value: &[u8]) -> Result<Definition, Error> {
    serde_json::from_slice(value).map_err(|error| {
        Error::internal(format!("the definition of `{}` cannot be read: {error}", logged(schema, name)))
    })
}

/// What a user is told.
fn error(error: LiveError) -> Error {
    let kind = match &error {
        LiveError::Sealed(_)
        | LiveError::Closed { .. }
        | LiveError::Suspended { .. }
        | LiveError::Moved { .. }
        | LiveError::TakenBack { .. } => ErrorKind::StoreUnavailable,
        LiveError::NotOwed { .. } => ErrorKind::InvalidTicket,
        LiveError::Log { .. } => ErrorKind::CorruptFile,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, error.to_string())
}
