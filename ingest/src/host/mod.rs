//! The streams that this process holds.

mod door;
mod views;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::execution::object_store::ObjectStoreUrl;
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::RwLock;
use polarway_common::{Clock, Error, ErrorKind, Supervisor, TaskKind};
use polarway_engine::live::{StreamHost, StreamView};
use polarway_metastore::{Key, KeyPrefix, MetaStore};
use polarway_storage::catalog::{Definition, StreamDefinition};
use polarway_storage::streams::{Ownership, SealedStore};
use tokio::runtime::Handle;

use crate::decode::{DecodeOptions, Decoder};
use crate::feed::dead_letter_schema;
use crate::seal::Layout;
use crate::stream::{Live, LiveError, SealPolicy, StreamOptions};

/// Where sealed rows are.
#[derive(Debug, Clone)]
pub struct SealedRoot {
    pub store: Arc<dyn ObjectStore>,
    /// How scans find the store.
    pub url: ObjectStoreUrl,
    /// Below it each stream has a directory of its own.
    pub path: Path,
    /// The same on local disk, if it is there.
    pub local: Option<PathBuf>,
}

/// What a [`Host`] needs.
#[derive(Debug)]
pub struct HostOptions {
    pub meta: Arc<dyn MetaStore>,
    pub sealed: SealedRoot,
    /// Below it each stream has a log of its own.
    pub logs: PathBuf,
    /// Bytes that one stream's log may take on disk.
    pub log_limit: u64,
    /// Bytes of rows that one stream may hold in memory.
    pub hot_limit: usize,
    /// How long sealed rows stay in memory for queries that were planned before.
    pub grace: Duration,
    /// Where this process answers, `host:port`.
    pub address: String,
    pub clock: Arc<dyn Clock>,
}

/// See the module's page.
pub struct Host {
    options: HostOptions,
    supervisor: Supervisor,
    /// Where the streams' work goes on: a stream may be made by a statement, whose threads end before it.
    runtime: Handle,
    open: RwLock<HashMap<String, Arc<Open>>>,
    /// Held while a stream is opened, so that none is opened twice.
    opening: tokio::sync::Mutex<()>,
}

/// A stream and what it is called.
#[derive(Debug)]
struct Open {
    schema: String,
    name: String,
    definition: StreamDefinition,
    live: Arc<Live>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("address", &self.options.address).finish_non_exhaustive()
    }
}

impl Host {
    /// Opens all streams of the catalog. Their work runs under `supervisor`.
    ///
    /// # Errors
    /// When one of them cannot be opened: a server that left rows out would answer wrongly.
    pub async fn open(options: HostOptions, supervisor: Supervisor) -> Result<Arc<Self>, Error> {
        let host = Self {
            options,
            supervisor,
            runtime: Handle::current(),
            open: RwLock::default(),
            opening: tokio::sync::Mutex::default(),
        };
        let listed = host.options.meta.list(&KeyPrefix::Tables.encode()).await?;
        for (key, found) in listed.entries {
            if let Ok(Key::CatalogTable { schema, table }) = Key::decode(&key)
                && let Definition::Stream(definition) = definition(&schema, &table, &found.value)?
            {
                host.start(schema, table, definition).await?;
            }
        }
        Ok(Arc::new(host))
    }

    async fn start(&self, schema: String, name: String, definition: StreamDefinition) -> Result<(), Error> {
        let _one = self.opening.lock().await;
        if self.open.read().contains_key(&definition.id) {
            return Ok(());
        }
        let live = self.live(&schema, &name, &definition).await?;
        let id = definition.id.clone();
        let open = Open { schema, name, definition, live };
        self.open.write().insert(id, Arc::new(open));
        Ok(())
    }

    async fn live(
        &self,
        schema: &str,
        name: &str,
        definition: &StreamDefinition,
    ) -> Result<Arc<Live>, Error> {
        let HostOptions { meta, sealed, logs, log_limit, hot_limit, grace, address, .. } = &self.options;
        let id = definition.id.as_str();
        let columns = definition.schema()?;
        let local = sealed.local.as_ref().map(|root| root.join(id));
        let store = SealedStore::new(Arc::clone(&sealed.store), sealed.path.clone().join(id), local);
        let ownership = Ownership::claim(Arc::clone(meta), store, id, address).await?;
        let wanted = &definition.options;
        let column = wanted.event_time.as_ref().map(|column| columns.index_of(column)).transpose();
        let column = column.map_err(|error| Error::internal(error.to_string()))?;
        let options = StreamOptions {
            id: id.to_owned(),
            name: format!("{schema}.{name}"),
            layout: column.map_or(Layout::Arrival, |column| Layout::ByDay { column }),
            seal: SealPolicy {
                rows: wanted.seal_rows,
                bytes: wanted.seal_bytes.0,
                age: wanted.seal_age.get(),
            },
            schema: columns,
            log: logs.join(id),
            log_limit: *log_limit,
            hot_limit: *hot_limit,
            grace: *grace,
        };
        let (live, following) = Live::open(options, ownership).await.map_err(error)?;
        let (follower, keeper) = (Arc::clone(&live), Arc::clone(&live));
        let _here = self.runtime.enter();
        self.supervisor.spawn(format!("log of {schema}.{name}"), TaskKind::Background, async move {
            follower.follow(following).await;
            Ok(())
        });
        self.supervisor.spawn(format!("sealing of {schema}.{name}"), TaskKind::Background, async move {
            keeper.keep().await;
            Ok(())
        });
        Ok(live)
    }

    fn by_id(&self, id: &str) -> Result<Arc<Open>, Error> {
        self.open.read().get(id).cloned().ok_or_else(|| {
            Error::new(ErrorKind::TableNotFound, "the stream was dropped")
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

    /// Takes no more rows; those that were taken are in the logs when this returns.
    pub async fn close(&self) {
        let all: Vec<_> = self.open.read().values().cloned().collect();
        for open in all {
            if let Err(error) = open.live.close().await {
                tracing::warn!(stream = open.name, %error, "not closed as it should be");
            }
        }
    }
}

#[async_trait]
impl StreamHost for Host {
    fn accepts(&self, schema: &SchemaRef) -> Result<(), Error> {
        Decoder::new(Arc::clone(schema), DecodeOptions::default())
            .map(drop)
            .map_err(|error| Error::new(ErrorKind::Unsupported, error.to_string()))
    }

    fn dead_letter_schema(&self) -> SchemaRef {
        dead_letter_schema()
    }

    async fn view(&self, id: &str) -> Result<StreamView, Error> {
        let open = self.by_id(id)?;
        Ok(views::view(&open.live, &self.options.sealed.url, &self.options.address))
    }

    async fn made(&self, schema: &str, name: &str) -> Result<(), Error> {
        let key = Key::CatalogTable { schema: schema.to_owned(), table: name.to_owned() }.encode();
        let found = self.options.meta.get(&key).await?;
        match found.map(|found| definition(schema, name, &found.value)).transpose()? {
            Some(Definition::Stream(definition)) => {
                self.start(schema.to_owned(), name.to_owned(), definition).await
            }
            _ => Err(Error::new(ErrorKind::TableNotFound, format!("there is no stream `{schema}.{name}`"))),
        }
    }

    async fn dropped(&self, id: &str) -> Result<(), Error> {
        let Some(open) = self.open.write().remove(id) else { return Ok(()) };
        open.live.close().await.map_err(error)?;
        open.live.remove().await.map_err(error)
    }
}

fn definition(schema: &str, name: &str, value: &[u8]) -> Result<Definition, Error> {
    serde_json::from_slice(value).map_err(|error| {
        Error::internal(format!("the definition of `{schema}.{name}` cannot be read: {error}"))
    })
}

/// What a user is told.
fn error(error: LiveError) -> Error {
    let kind = match &error {
        LiveError::Sealed(_) | LiveError::Closed { .. } | LiveError::TakenBack { .. } => {
            ErrorKind::StoreUnavailable
        }
        LiveError::Log { .. } => ErrorKind::CorruptFile,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, error.to_string())
}
