//! DataFusion's catalog traits over one snapshot, for the planning of one statement. Tables are built when they are
//! looked up; what a statement looked up is remembered, so that its cached plan can be checked later.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use datafusion::catalog::information_schema::{INFORMATION_SCHEMA, InformationSchemaProvider};
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::datasource::ViewTable;
use datafusion::datasource::listing::{ListingTable, ListingTableUrl};
use datafusion::execution::SessionState;
use datafusion::logical_expr::TableType;
use futures::future::BoxFuture;
use lru::LruCache;
use parking_lot::Mutex;
use polarway_common::{Error, ErrorKind, Namespace};
use polarway_engine::live::StreamHost;
use polarway_engine::settings::{CATALOG, SCHEMA, owner};
use polarway_metastore::membership::Members;
use polarway_proto::handle::HANDLE_SCHEMA;
use polarway_storage::catalog::{Definition, ManagedDefinition, Snapshot, TableDefinition, ViewDefinition};
use polarway_storage::tables::Tables;

use super::managed::{ManagedTable, Version};
use super::streams::{Moment, StreamTable};
use super::system::{SYSTEM, SystemSchema};
use super::tables::{ColumnTypes, TableBuilder, expect_present};
use crate::handles::{Handles, Leased};
use crate::opaque::Opaque;

/// Views inside views inside views; more is taken for a cycle.
const MAX_VIEW_DEPTH: usize = 32;
const CACHED_TABLES: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// A location that a plan was made from.
pub type Dependency = ListingTableUrl;

type ProviderKey = (Namespace, String, String, u64, ColumnTypes);

/// Listing tables by namespace, schema, name, revision of their definition and kind of types, shared by all statements.
#[derive(Debug, Clone)]
pub struct ProviderCache(Arc<Mutex<LruCache<ProviderKey, Arc<ListingTable>>>>);

impl Default for ProviderCache {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(LruCache::new(CACHED_TABLES))))
    }
}

/// What there is to read beside the tables of the catalog.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Who holds the streams, if there are any.
    pub streams: Option<Arc<dyn StreamHost>>,
    /// The processes of the cluster, for the table of them.
    pub members: Option<Members>,
    /// Queries that clients have leased.
    pub handles: Handles,
    /// Tables whose files are ours, if there is a place for them.
    pub tables: Option<Tables>,
}

/// The catalog for the planning of one statement.
#[derive(Clone)]
pub struct PlanScope {
    shared: Opaque<Shared>,
    view_depth: usize,
    /// Whether tables are looked up to be listed: one that cannot be opened is none then.
    lists: bool,
}

struct Shared {
    /// What the namespace of `tables` has.
    snapshot: Arc<Snapshot>,
    tables: TableBuilder,
    cache: ProviderCache,
    /// Plans views and reads formats; its own catalog is never used.
    template: SessionState,
    types: ColumnTypes,
    dependencies: Mutex<Vec<Dependency>>,
    sources: Sources,
    /// What is seen of each stream, by its identity.
    moments: Mutex<HashMap<String, Moment>>,
    /// The same of tables of our own.
    versions: Mutex<HashMap<String, Version>>,
    /// Whether a stream was looked up, whose rows are others the next moment, or a handle, which may have gone by then.
    moves: AtomicBool,
}

impl fmt::Debug for PlanScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlanScope(version {})", self.shared.snapshot.version)
    }
}

impl PlanScope {
    pub fn new(
        snapshot: Arc<Snapshot>,
        tables: TableBuilder,
        cache: ProviderCache,
        template: SessionState,
        types: ColumnTypes,
        sources: Sources,
    ) -> Self {
        let (dependencies, moments, versions) = (Mutex::default(), Mutex::default(), Mutex::default());
        let moves = AtomicBool::new(false);
        let shared = Shared {
            snapshot,
            tables,
            cache,
            template,
            types,
            dependencies,
            sources,
            moments,
            versions,
            moves,
        };
        Self { shared: Opaque::new(Arc::new(shared)), view_depth: 0, lists: false }
    }

    /// The locations of all tables that were looked up so far.
    pub fn dependencies(&self) -> Vec<Dependency> {
        let mut urls = self.shared.dependencies.lock().clone();
        let mut seen = std::collections::HashSet::new();
        urls.retain(|url| seen.insert(url.to_string()));
        urls
    }

    /// Whether a plan made in this scope is out of date at once.
    pub fn moves(&self) -> bool {
        self.shared.moves.load(Ordering::Relaxed)
    }

    /// A session state that plans against this scope.
    pub fn state(&self) -> SessionState {
        let mut state = self.shared.template.clone();
        // It would list what this scope has as statements look it up.
        state.config_mut().options_mut().catalog.information_schema = false;
        state.register_catalog_list(Arc::new(self.clone()));
        state
    }

    async fn provider(&self, definition: &TableDefinition) -> Result<Arc<ListingTable>, Error> {
        let Shared { tables, template, types, .. } = self.shared.as_ref();
        tables.provider(template, definition, *types).await
    }

    fn lookup<'a>(
        &'a self,
        schema: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<dyn TableProvider>>, Error>> {
        Box::pin(async move {
            let Some(entry) = self.shared.snapshot.entry(schema, name) else {
                self.shared.snapshot.expect_readable(schema, name)?;
                if schema == SCHEMA && looks_like_path(name) {
                    let definition = self.shared.tables.define_path(&self.shared.template, name).await?;
                    let table = self.provider(&definition).await?;
                    return self.depend(table).await.map(Some);
                }
                return Ok(None);
            };
            match &entry.definition {
                Definition::Table(definition) => {
                    let of = self.shared.tables.namespace.clone();
                    let key = (of, schema.to_owned(), name.to_owned(), entry.revision, self.shared.types);
                    let cached = self.shared.cache.0.lock().get(&key).cloned();
                    let table = match cached {
                        Some(table) => {
                            self.shared.tables.recheck(definition)?;
                            table
                        }
                        None => {
                            let table = self.provider(definition).await?;
                            self.shared.cache.0.lock().put(key, Arc::clone(&table));
                            table
                        }
                    };
                    self.depend(table).await.map(Some)
                }
                Definition::View(view) => self.view(name, view).await.map(Some),
                Definition::Managed(table) => self.managed(name, table).await.map(Some),
                Definition::Stream(stream) => {
                    let host = self.shared.sources.streams.as_ref().ok_or_else(no_streams)?;
                    self.shared.moves.store(true, Ordering::Relaxed);
                    let moment = Arc::clone(self.shared.moments.lock().entry(stream.id.clone()).or_default());
                    Ok(Some(Arc::new(StreamTable::new(stream, Arc::clone(host), moment)?)))
                }
            }
        })
    }

    fn managed<'a>(
        &'a self,
        name: &'a str,
        table: &'a ManagedDefinition,
    ) -> BoxFuture<'a, Result<Arc<dyn TableProvider>, Error>> {
        Box::pin(async move {
            let tables = self.shared.sources.tables.as_ref().ok_or_else(no_tables)?;
            self.shared.moves.store(true, Ordering::Relaxed);
            let version = Arc::clone(self.shared.versions.lock().entry(table.id.clone()).or_default());
            let views = self.shared.types.views();
            let table = ManagedTable::open(name, table, tables, &version, views).await?;
            Ok(Arc::new(table) as Arc<dyn TableProvider>)
        })
    }

    async fn depend(&self, table: Arc<ListingTable>) -> Result<Arc<dyn TableProvider>, Error> {
        for url in table.table_paths() {
            expect_present(&self.shared.template, url).await?;
        }
        self.shared.dependencies.lock().extend(table.table_paths().iter().cloned());
        Ok(table)
    }

    fn view<'a>(
        &'a self,
        name: &'a str,
        view: &'a ViewDefinition,
    ) -> BoxFuture<'a, Result<Arc<dyn TableProvider>, Error>> {
        Box::pin(async move {
            if self.view_depth >= MAX_VIEW_DEPTH {
                return Err(Error::new(
                    ErrorKind::Plan,
                    format!("view `{name}` leads to itself, or views nest deeper than {MAX_VIEW_DEPTH}"),
                ));
            }
            let inner = Self { view_depth: self.view_depth + 1, lists: false, ..self.clone() };
            let plan = Box::pin(inner.state().create_logical_plan(&view.query)).await.map_err(|error| {
                let mut error = polarway_engine::errors::classify(&error);
                error.message = format!("in view `{name}`: {}", error.message);
                error.place = None;
                error
            })?;
            Ok(Arc::new(ViewTable::new(plan, Some(view.ddl.clone()))) as Arc<dyn TableProvider>)
        })
    }
}

/// What a process without streams says of them.
pub fn no_streams() -> Error {
    Error::new(ErrorKind::Unsupported, "this server holds no streams").with_hint(
        "`polarway up` does, with `ingest.listen` set, and so do `polarway scheduler` and its executors",
    )
}

/// What a process says that has no place for tables.
pub fn no_tables() -> Error {
    Error::new(ErrorKind::Unsupported, "this server has no place for tables of its own")
        .with_hint("an operator sets `storage.tables`, the same for the scheduler and every executor")
}

/// Whether a name that is no table's may be a path: it has a directory or a known file extension.
fn looks_like_path(name: &str) -> bool {
    name.contains('/') || super::formats::by_file_name(name).is_some()
}

impl CatalogProviderList for PlanScope {
    fn register_catalog(
        &self,
        _name: String,
        _catalog: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::new(self.clone()) as Arc<dyn CatalogProvider>)
    }
}

impl CatalogProvider for PlanScope {
    fn schema_names(&self) -> Vec<String> {
        let Sources { streams, members, .. } = &self.shared.sources;
        let system = (streams.is_some() || members.is_some()).then(|| SYSTEM.to_owned());
        let reserved = [SYSTEM, HANDLE_SCHEMA];
        let schemas = self.shared.snapshot.schemas.keys();
        let schemas = schemas.filter(|schema| !reserved.contains(&schema.as_str())).cloned();
        schemas.chain(system).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let Sources { streams, members, .. } = &self.shared.sources;
        if name == SYSTEM && (streams.is_some() || members.is_some()) {
            self.shared.moves.store(true, Ordering::Relaxed);
            let snapshot = Arc::clone(&self.shared.snapshot);
            return Some(Arc::new(SystemSchema {
                snapshot,
                host: streams.clone(),
                members: members.clone(),
            }));
        }
        if name == HANDLE_SCHEMA {
            self.shared.moves.store(true, Ordering::Relaxed);
            return Some(Arc::new(HandleSchema { scope: self.clone() }));
        }
        if name == INFORMATION_SCHEMA {
            let listed = Arc::new(Self { lists: true, ..self.clone() });
            let functions = self.shared.template.table_functions().clone();
            return Some(Arc::new(InformationSchemaProvider::new(listed).with_table_functions(functions)));
        }
        self.shared.snapshot.schemas.contains_key(name).then(|| {
            Arc::new(ScopedSchema { scope: self.clone(), schema: name.to_owned() }) as Arc<dyn SchemaProvider>
        })
    }
}

/// The queries that clients have leased. They are not listed: who has a handle knows its name.
#[derive(Debug)]
struct HandleSchema {
    scope: PlanScope,
}

#[async_trait]
impl SchemaProvider for HandleSchema {
    fn table_names(&self) -> Vec<String> {
        vec![]
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        let external = |error: Error| DataFusionError::External(Box::new(error));
        let owner = owner(self.scope.shared.template.config()).map_err(external)?;
        let query = match self.scope.shared.sources.handles.leased(&owner, name).await.map_err(external)? {
            Leased::Query(query) => query,
            Leased::Table(table) => {
                return self.scope.managed(name, &table).await.map(Some).map_err(external);
            }
        };
        let view = ViewDefinition { ddl: query.clone(), query };
        self.scope.view(name, &view).await.map(Some).map_err(external)
    }

    fn table_exist(&self, _name: &str) -> bool {
        false
    }
}

#[derive(Debug)]
struct ScopedSchema {
    scope: PlanScope,
    schema: String,
}

#[async_trait]
impl SchemaProvider for ScopedSchema {
    fn table_names(&self) -> Vec<String> {
        let tables = self.scope.shared.snapshot.schemas.get(&self.schema);
        tables.map(|tables| tables.keys().cloned().collect()).unwrap_or_default()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        match self.scope.lookup(&self.schema, name).await {
            // What may be there in a moment is not left out without a word.
            Err(error) if self.scope.lists && !error.is_retryable() && error.kind != ErrorKind::Cancelled => {
                tracing::debug!(schema = self.schema, table = name, %error, "is listed without its columns");
                Ok(None)
            }
            found => found.map_err(|error| DataFusionError::External(Box::new(error))),
        }
    }

    /// By its definition: a table that cannot be opened is there, too.
    async fn table_type(&self, name: &str) -> DfResult<Option<TableType>> {
        let entry = self.scope.shared.snapshot.entry(&self.schema, name);
        Ok(entry.map(|entry| match &entry.definition {
            Definition::View(_) => TableType::View,
            Definition::Table(_) | Definition::Managed(_) | Definition::Stream(_) => TableType::Base,
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.scope.shared.snapshot.entry(&self.schema, name).is_some()
    }
}
