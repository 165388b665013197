//! Planning. A statement is planned for one process first: that plan tells what would be read, on which the route
//! is decided. A staged plan is made from the same logical plan when it is needed.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use ballista_core::extension::{
    ballista_aggregate_functions, ballista_scalar_functions, ballista_window_functions,
};
use ballista_core::optimizer::with_ballista_optimizer_rules;
use chrono::{DateTime, Utc};
use datafusion::common::JoinType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::listing::ListingTable;
use datafusion::datasource::source_as_provider;
use datafusion::execution::{FunctionRegistry, SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::ChildrenPropertiesMode;
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, ReplaceChildrenOptions, displayable,
};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use parking_lot::RwLock;
use polarway_common::config::Route;
use polarway_common::{Error, ErrorKind, Namespace};
use polarway_engine::codec;
use polarway_engine::cooperative::with_yielding_joins;
use polarway_engine::errors::classify;
use polarway_engine::live::StreamHost;
use polarway_engine::output::plain_schema;
use polarway_engine::runtime::EngineRuntime;
use polarway_engine::settable::{DIALECT, RECURSION_LIMIT};
use polarway_engine::settings::{
    self, Ground, QuerySettings, SMALL_SORT_RESERVATION, SORT_RESERVATION, Settings, TARGET_PARTITIONS,
    VIEW_TYPES,
};
use polarway_engine::time_zone::localized;
use polarway_engine::write::WriteSpec;
use polarway_identity::Identity;
use polarway_storage::catalog::{CatalogStore, OwnCatalog};
use polarway_storage::fingerprint::Fingerprints;
use polarway_storage::policy::Reserved;
use polarway_storage::tables::Tables;
use polarway_storage::writes::Place;

use super::broadcast;
use super::cache::{PlanCache, PlanKey};
use super::compiled::{Compiled, Runnable, StagedPlan};
use super::route::{self, Target};
use super::statement::shows;
use super::writing::{query_of, writing};
use crate::catalog::{Bounds, ColumnTypes, Paths, PlanScope, ProviderCache, Sources, TableBuilder};
use crate::direct::EncodedPlan;

/// A table's reader remembers these options, as the session that looked it up first has them.
const READER_OPTIONS: &str = "datafusion.execution.parquet.";

/// Below this many bytes a plan runs with one partition: starting more costs more than it gives.
const TINY_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes of a plan's text that are kept to be shown.
const LONGEST_SHOWN: usize = 32 << 10;

/// What [`Planner::new`] needs.
pub struct PlannerOptions {
    pub catalog: Arc<CatalogStore>,
    pub runtime: EngineRuntime,
    pub base_config: SessionConfig,
    pub cached_plans: usize,
    /// The cores of this process, where the direct route runs in it.
    pub local_cores: Option<u32>,
    pub list_ttl: Duration,
    pub sources: Sources,
    /// Who knows what namespaces may reach.
    pub identity: Identity,
    /// What the server keeps itself.
    pub reserved: Reserved,
}

/// Plans statements against the catalog.
pub struct Planner {
    catalog: Arc<CatalogStore>,
    paths: Arc<Paths>,
    providers: ProviderCache,
    template: SessionState,
    fingerprints: Fingerprints,
    local_cores: Option<u32>,
    sources: Sources,
    pub cache: PlanCache,
}

impl Planner {
    pub fn new(options: PlannerOptions) -> Self {
        let writes = Arc::clone(&options.runtime.writes);
        // How plans that are run here reach what they write to.
        let config = options.base_config.with_extension(Arc::clone(&writes));
        let reading = Arc::clone(&options.runtime.policy);
        let catalog = Arc::clone(&options.catalog);
        let template = SessionStateBuilder::new()
            .with_default_features()
            .with_config(config)
            .with_runtime_env(Arc::clone(&options.runtime.env))
            .build();
        Self {
            catalog: options.catalog,
            paths: Arc::new(Paths::new(options.identity, reading, writes, options.reserved, catalog)),
            providers: ProviderCache::default(),
            template,
            local_cores: options.local_cores,
            sources: options.sources,
            fingerprints: Fingerprints::new(Arc::clone(&options.runtime.env), options.list_ttl),
            cache: PlanCache::new(options.cached_plans),
        }
    }

    pub fn tables(&self, namespace: &Namespace) -> TableBuilder {
        TableBuilder { paths: Arc::clone(&self.paths), namespace: namespace.clone() }
    }

    /// The catalog of all namespaces, by stored names.
    pub fn catalog(&self) -> &CatalogStore {
        &self.catalog
    }

    /// The catalog as statements of a namespace know it.
    pub fn catalog_of(&self, namespace: &Namespace) -> OwnCatalog<'_> {
        self.catalog.of(namespace)
    }

    /// The place that a statement of a namespace writes to by a path or URL.
    ///
    /// # Errors
    /// `PathNotAllowed` outside what it may write to; `Plan` for what is no place.
    pub fn place(&self, namespace: &Namespace, location: &str) -> Result<Place, Error> {
        self.paths.to_write(namespace, location)
    }

    /// Tables whose files are ours, if there is a place for them.
    pub fn own_tables(&self) -> Option<&Tables> {
        self.sources.tables.as_ref()
    }

    pub fn streams(&self) -> Option<&Arc<dyn StreamHost>> {
        self.sources.streams.as_ref()
    }

    pub fn base_config(&self) -> &SessionConfig {
        self.template.config()
    }

    /// A state with the session's settings that plans against the catalog as it is now, and the scope that
    /// remembers what it looks up.
    pub fn state(&self, settings: &Settings, now: DateTime<Utc>) -> Result<(SessionState, PlanScope), Error> {
        let mut template = self.template.clone();
        if !settings.is_empty() {
            *template.config_mut() = settings::apply(self.template.config().clone(), settings)?;
        }
        set_time_zone(&mut template)?;
        template.mark_start_execution();
        template.execution_props_mut().query_execution_start_time = Some(now);
        let types = ColumnTypes::of_one_process(template.config());
        self.scoped(template, settings, types)
    }

    /// A scope over the catalog as it is now for the namespace that the settings tell, and `template` made to plan in it.
    /// Whatever is planned sees names of that namespace and no others.
    fn scoped(
        &self,
        mut template: SessionState,
        settings: &Settings,
        types: ColumnTypes,
    ) -> Result<(SessionState, PlanScope), Error> {
        let namespace = settings::namespace(settings)?;
        let speaks = settings.contains_key(DIALECT) || settings.contains_key(RECURSION_LIMIT);
        let spoken = template.config().options().sql_parser.clone();
        if speaks {
            let base = &self.base_config().options().sql_parser;
            // The texts of views and tables were kept in the server's dialect, whatever the session speaks.
            let parser = &mut template.config_mut().options_mut().sql_parser;
            (parser.dialect, parser.recursion_limit) = (base.dialect, base.recursion_limit);
        }
        let of_readers = |name: &String| name.starts_with(READER_OPTIONS) && name != VIEW_TYPES;
        let providers =
            if settings.keys().any(of_readers) { ProviderCache::default() } else { self.providers.clone() };
        let scope = PlanScope::new(
            self.catalog.of(&namespace).snapshot(),
            self.tables(&namespace),
            providers,
            template,
            types,
            self.sources.clone(),
        );
        let mut state = scope.state();
        if speaks {
            state.config_mut().options_mut().sql_parser = spoken;
        }
        Ok((state, scope))
    }

    /// A plan for `sql` from the cache, if it is still good.
    pub async fn cached(&self, sql: &str, settings: &Settings) -> Option<Arc<Compiled>> {
        let key = self.key(sql, settings).ok()?;
        let found = self.cache.get(&key)?;
        if !found.is_current(&self.fingerprints).await {
            self.cache.forget(&key);
            return None;
        }
        self.cache.count(true);
        Some(found)
    }

    /// The plan that was made for a query when its flight info was asked for, if it is still good.
    pub async fn held(&self, query_id: &str) -> Option<Arc<Compiled>> {
        let held = self.cache.take(query_id)?;
        let same_catalog = held.catalog_version == self.catalog.snapshot().version;
        let same_bounds = self.bounds(&held.raw_settings).is_ok_and(|bounds| bounds == held.bounds);
        (same_catalog && same_bounds && held.is_current(&self.fingerprints).await).then_some(held)
    }

    fn key(&self, sql: &str, settings: &Settings) -> Result<PlanKey, Error> {
        Ok(PlanKey {
            sql: sql.to_owned(),
            settings: settings.clone(),
            catalog_version: self.catalog.snapshot().version,
            bounds: self.bounds(settings)?,
        })
    }

    fn bounds(&self, settings: &Settings) -> Result<Bounds, Error> {
        Ok(self.paths.bounds(&settings::namespace(settings)?))
    }

    /// Plans a query and keeps the plan where it may be used again.
    pub async fn compile(
        &self,
        sql: &str,
        statement: DfStatement,
        settings: &Settings,
        now: DateTime<Utc>,
        slots: u32,
    ) -> Result<Arc<Compiled>, Error> {
        let compiled = self.plan(statement, settings, now, slots, None).await?;
        let key = self.key(sql, settings)?;
        // A plan that was made while the catalog, or what paths may lead to, changed may be of either version.
        let unchanged = key.catalog_version == compiled.catalog_version && key.bounds == compiled.bounds;
        if compiled.cacheable && unchanged {
            self.cache.put(key, Arc::clone(&compiled));
        }
        Ok(compiled)
    }

    /// Plans a query once more, as of now.
    pub async fn plan_again(&self, query: &Compiled, slots: u32) -> Result<Arc<Compiled>, Error> {
        let Compiled { statement, raw_settings, now, write, .. } = query;
        self.plan(statement.clone(), raw_settings, *now, slots, write.clone()).await
    }

    /// Plans a query for this one time, or the statement whose rows are written as `write` says.
    pub async fn plan(
        &self,
        statement: DfStatement,
        settings: &Settings,
        now: DateTime<Utc>,
        slots: u32,
        write: Option<Arc<WriteSpec>>,
    ) -> Result<Arc<Compiled>, Error> {
        self.cache.count(false);
        let (catalog_version, bounds) = (self.catalog.snapshot().version, self.bounds(settings)?);
        let (mut state, scope) = if shows_types(&statement) {
            // What is shown is what clients get, not what is convenient within one process.
            let mut plain = settings.clone();
            plain.insert(VIEW_TYPES.to_owned(), "false".to_owned());
            self.state(&plain, now)?
        } else {
            self.state(settings, now)?
        };
        let query = QuerySettings::of(state.config())?;
        let logical = state
            .statement_to_plan(statement.clone())
            .await
            .map_err(|error| self.suggest(settings, classify(&error)))?;
        let logical = query_of(logical);
        // Taken before the plan is made: a file that changes in between makes the plan stale, not wrong.
        let mut dependencies = vec![];
        for url in scope.dependencies() {
            let print = self.fingerprints.of(&url).await.map_err(|error| classify(&error))?;
            dependencies.push((url, print));
        }
        let optimized = state.optimize(&logical).map_err(|error| classify(&error))?;
        let mut physical = plan_physically(&optimized, &state).await?;
        let mut facts = route::facts(&physical);
        if facts.bytes <= TINY_BYTES
            && state.config().target_partitions() > 1
            && query.route != Route::Staged
            && !settings.contains_key(TARGET_PARTITIONS)
        {
            state.config_mut().options_mut().execution.target_partitions = 1;
            physical = plan_physically(&optimized, &state).await?;
        }
        let physical = writing(physical, write.as_ref())?;
        let encoded = EncodedPlan::default();
        if self.local_cores.is_none() && facts.files > 0 && encoded.get(&physical, state.config()).is_err() {
            if codec::check_travels(&physical).is_err() {
                facts.unsplittable.get_or_insert("a part that has no encoding");
            }
            facts.local_only = true;
        }
        let decision = route::decide(&facts, query.route, query.direct_max_bytes, slots, self.local_cores)?;
        let text = displayable(physical.as_ref()).indent(false).to_string();
        Ok(Arc::new(Compiled {
            schema: plain_schema(&physical.schema()),
            cacheable: write.is_none() && is_repeatable(&logical) && !scope.moves(),
            decided_for_slots: (query.route == Route::Auto && facts.bytes > query.direct_max_bytes)
                .then_some(slots),
            local_only: facts.local_only,
            takes_place: decision.target != Target::Metadata || (facts.computes && !shows(&statement)),
            decision,
            settings: query,
            raw_settings: settings.clone(),
            statement,
            write,
            now,
            optimized,
            resettable: !["DynamicFilter", "RecursiveQuery", "ScalarSubqueryExec"]
                .iter()
                .any(|node| text.contains(node)),
            physical: RwLock::new(physical),
            runs: AtomicUsize::new(0),
            encoded,
            context: Arc::new(TaskContext::from(&as_shown(&state))),
            state: Arc::new(state),
            dependencies,
            catalog_version,
            bounds,
            shown: text.get(..text.floor_char_boundary(LONGEST_SHOWN)).unwrap_or_default().into(),
        }))
    }

    /// A plan of a compiled query that needs less memory: sort-merge joins, which spill, in place of hash joins; two
    /// partitions, so that few operators share the pool; and plain text, since each batch of views counts the whole of
    /// the buffers that it refers to, and would be written with them.
    pub async fn spilling(&self, query: &Compiled) -> Result<Runnable, Error> {
        let mut plain = query.raw_settings.clone();
        plain.insert(VIEW_TYPES.to_owned(), "false".to_owned());
        let (mut state, _scope) = self.state(&plain, query.now)?;
        let options = state.config_mut().options_mut();
        options.optimizer.prefer_hash_join = false;
        // With one partition DataFusion would choose a hash join all the same.
        options.execution.target_partitions = 2;
        if !plain.contains_key(SORT_RESERVATION) {
            options.execution.sort_spill_reservation_bytes = SMALL_SORT_RESERVATION;
        }
        let fault = |error| classify(&error);
        let logical = query_of(state.statement_to_plan(query.statement.clone()).await.map_err(fault)?);
        let optimized = state.optimize(&logical).map_err(fault)?;
        let plan = plan_physically(&optimized, &state).await?;
        let plan = writing(plan, query.write.as_ref())?;
        if plain_schema(&plan.schema()).fields() != query.schema.fields() {
            return Err(Error::new(
                ErrorKind::SchemaMismatch,
                "a table changed between planning and running the query",
            )
            .with_hint("run the statement again"));
        }
        let plan = with_one_input_a_repartition(plan).map_err(fault)?;
        Ok(Runnable::spilling(plan, state))
    }

    /// The plan of a compiled query for Ballista, for the executors there are. It is planned from the statement again:
    /// its tables have other types than those of a plan for one process.
    pub async fn staged(&self, query: &Compiled, ground: Ground) -> Result<StagedPlan, Error> {
        let base = self.template.config();
        let config = settings::staged_config(base, &query.raw_settings, ground)?;
        let rules = with_ballista_optimizer_rules(self.template.optimizers());
        let mut template = SessionStateBuilder::new_from_existing(self.template.clone())
            .with_config(config)
            .with_optimizer_rules(rules)
            .with_physical_optimizer_rules(broadcast::staged_rules())
            .with_scalar_functions(ballista_scalar_functions())
            .with_aggregate_functions(ballista_aggregate_functions())
            .with_window_functions(ballista_window_functions())
            .build();
        set_time_zone(&mut template)?;
        template.mark_start_execution();
        template.execution_props_mut().query_execution_start_time = Some(query.now);
        let types = ColumnTypes::of_stages(template.config());
        let (mut state, _scope) = self.scoped(template, &query.raw_settings, types)?;
        let fault = |error| classify(&error);
        let logical = query_of(state.statement_to_plan(query.statement.clone()).await.map_err(fault)?);
        let plan = state.create_physical_plan(&logical).await.map_err(fault)?;
        let plan = broadcast::settled(plan, state.config_options())?;
        let plan = collect_probe_sides(plan).and_then(with_yielding_joins).map_err(fault)?;
        let plan = writing(plan, query.write.as_ref())?;
        let facts = route::facts(&plan);
        if let Some(node) = facts.unsplittable {
            return Err(Error::new(ErrorKind::Unsupported, format!("{node} cannot be split into stages"))
                .with_hint("SET polarway.route = 'direct' lets one process run it"));
        }
        codec::check_travels(&plan)?;
        settings::settle_shuffle(state.config_mut(), &query.raw_settings, ground, facts.bytes)?;
        Ok(StagedPlan { plan, context: Arc::new(SessionContext::new_with_state(state)) })
    }

    /// Adds near names to an error about a table that a statement with these settings does not find.
    pub fn suggest(&self, settings: &Settings, mut error: Error) -> Error {
        let Ok(namespace) = settings::namespace(settings) else { return error };
        if error.kind != ErrorKind::TableNotFound || error.hint.is_some() {
            return error;
        }
        let wanted = error.message.split('`').nth(1).unwrap_or_default();
        let wanted = wanted.rsplit('.').next().unwrap_or_default().to_owned();
        let snapshot = self.catalog.of(&namespace).snapshot();
        let names: Vec<String> = snapshot
            .schemas
            .iter()
            .flat_map(|(schema, tables)| {
                tables.keys().map(move |table| match schema.as_str() {
                    settings::SCHEMA => table.clone(),
                    other => format!("{other}.{table}"),
                })
            })
            .collect();
        let near = polarway_common::nearest(
            &wanted,
            names.iter().map(|name| name.rsplit('.').next().unwrap_or(name)),
        );
        error.hint = match near {
            Some(near) => {
                let full = names.iter().find(|name| name.rsplit('.').next() == Some(near));
                Some(format!("did you mean `{}`?", full.map_or(near, String::as_str)))
            }
            None => Some(
                "SHOW TABLES lists what there is; CREATE EXTERNAL TABLE adds a table over files".to_owned(),
            ),
        };
        error
    }
}

/// Lets `now()` and its like answer in the session's time zone.
fn set_time_zone(state: &mut SessionState) -> Result<(), Error> {
    let functions: Vec<_> =
        localized(state.scalar_functions(), state.config().options()).map(|(_, function)| function).collect();
    for function in functions {
        state.register_udf(function).map_err(|error| classify(&error))?;
    }
    Ok(())
}

pub(super) async fn plan_physically(
    optimized: &LogicalPlan,
    state: &SessionState,
) -> Result<Arc<dyn ExecutionPlan>, Error> {
    let plan = state.query_planner().create_physical_plan(optimized, state).await;
    plan.and_then(with_yielding_joins).map_err(|error| classify(&error))
}

/// Repartitions with one input each: those with several wait for ever when two of them spill at the same time
/// (`polarway_engine::memory`).
fn with_one_input_a_repartition(
    plan: Arc<dyn ExecutionPlan>,
) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let Some(repartition) = node.downcast_ref::<RepartitionExec>() else {
            return Ok(Transformed::no(node));
        };
        let input = Arc::clone(repartition.input());
        if repartition.preserve_order() || input.output_partitioning().partition_count() == 1 {
            return Ok(Transformed::no(node));
        }
        let input: Arc<dyn ExecutionPlan> = Arc::new(CoalescePartitionsExec::new(input));
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        Ok(Transformed::yes(Arc::clone(&node).replace_children(vec![input], options)?))
    })
    .map(|transformed| transformed.data)
}

/// Joins that remember which left rows found a partner must see all right rows in one task: each task would report
/// the left rows that its own slice of the right side did not match. Ballista minds this for hash joins only.
fn collect_probe_sides(plan: Arc<dyn ExecutionPlan>) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let remembers_left = match node.downcast_ref::<NestedLoopJoinExec>() {
            Some(join) => matches!(
                join.join_type(),
                JoinType::Left
                    | JoinType::Full
                    | JoinType::LeftSemi
                    | JoinType::LeftAnti
                    | JoinType::LeftMark
            ),
            None => node.name() == "PiecewiseMergeJoinExec",
        };
        let children = node.children();
        if !remembers_left || children.len() != 2 || children[1].output_partitioning().partition_count() == 1
        {
            return Ok(Transformed::no(node));
        }
        let left = Arc::clone(children[0]);
        let right: Arc<dyn ExecutionPlan> = Arc::new(CoalescePartitionsExec::new(Arc::clone(children[1])));
        Ok(Transformed::yes(Arc::clone(&node).replace_children(
            vec![left, right],
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )?))
    })
    .map(|transformed| transformed.data)
}

/// Whether the statement's answer names columns' types.
fn shows_types(statement: &DfStatement) -> bool {
    match statement {
        DfStatement::Statement(inner) => match inner.as_ref() {
            SqlStatement::ShowColumns { .. } | SqlStatement::ExplainTable { .. } => true,
            SqlStatement::Query(query) => query.to_string().to_lowercase().contains("information_schema"),
            _ => false,
        },
        _ => false,
    }
}

/// Whether the plan means the same each time: no `now()`, no `random()`.
fn is_repeatable(plan: &LogicalPlan) -> bool {
    let mut repeatable = true;
    let walked = plan.apply_with_subqueries(|node| {
        // A table function has its arguments folded into it already: they may have been now().
        if let LogicalPlan::TableScan(scan) = node
            && !source_as_provider(&scan.source)
                .is_ok_and(|table| table.downcast_ref::<ListingTable>().is_some())
        {
            repeatable = false;
            return Ok(TreeNodeRecursion::Stop);
        }
        node.apply_expressions(|expression| {
            expression.apply(|expression| {
                let volatile = match expression {
                    Expr::ScalarFunction(function) => {
                        function.func.signature().volatility != Volatility::Immutable
                    }
                    _ => false,
                };
                if volatile {
                    repeatable = false;
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    repeatable && walked.is_ok()
}
/// With the settings as `SHOW` tells them: that the information schema is not DataFusion's own is nobody's matter.
fn as_shown(state: &SessionState) -> SessionState {
    let mut shown = state.clone();
    shown.config_mut().options_mut().catalog.information_schema = true;
    shown
}
